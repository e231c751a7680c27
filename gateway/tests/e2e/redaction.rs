//! A secret planted in every place of a request is found in nothing that the binary shows of it.

use std::sync::{Arc, Mutex};

use http_body_util::BodyExt as _;
use serde_json::json;

use crate::binary::{Gateway, HEAD};
use crate::client::{Client, full, request};
use crate::origin::{Origin, json as say};
use crate::support::eventually;

/// A collector that keeps what it is sent, as bytes: texts stand in protobuf as they are.
async fn collector() -> (Origin, Arc<Mutex<Vec<u8>>>) {
    let received = Arc::new(Mutex::new(Vec::new()));
    let keep = Arc::clone(&received);
    let origin = Origin::start(move |request| {
        let keep = Arc::clone(&keep);
        async move {
            let body = request.into_body().collect().await.expect("a batch is whole").to_bytes();
            keep.lock().expect("nobody panics with it").extend_from_slice(&body);
            http::Response::new(full(""))
        }
    })
    .await;
    (origin, received)
}

#[tokio::test]
async fn a_planted_secret_is_in_no_log_span_timeline_or_answer_of_debug() {
    let origin = Origin::start(|request| async move {
        match request.uri().path() {
            "/me" => say(200, &json!({ "name": "ada", "session_token": "s3cret-slotfield" })),
            "/pin" => say(200, &json!({ "value": "s3cret-sensitive" })),
            _ => say(200, &json!({ "ok": true })),
        }
    })
    .await;
    let (collector, received) = collector().await;
    let folder = tempfile::tempdir().expect("the temporary folder can be written");
    let path = |name: &str| folder.path().join(name);
    let page = format!(
        "{HEAD}debug: {{ token: debugging }}
log: {{ level: 'debug,zerver::steps=debug', format: json, to: '{app}' }}
access_log: {{ to: '{access}' }}
redact:
  headers: [x-internal-*]
  query: [promo]
  path: [invite, '/reset/{{code}}']
  fields: [mood]
telemetry: {{ otlp: {{ enabled: true, endpoint: 'http://{collector}', sample: 1.0 }} }}
upstreams: {{ web: {{ peers: ['{web}'] }}, gone: {{ peers: ['127.0.0.1:1'] }} }}
flows:
  - flow: ask
    steps:
      user: {{ get: 'web:/me' }}
      pin:  {{ get: 'web:/pin', sensitive: true }}
      call: {{ get: 'web:/internal/${{request.params.invite}}?token=${{request.query.token}}', after: [user, pin] }}
    respond: {{ json: {{ hello: '${{user.name}}', mood: 's3cret-ofbody' }} }}
routes:
  - {{ name: ask, match: {{ path: '/ask/{{invite}}' }}, to: {{ flow: ask }}, note_headers: [authorization, x-internal-id, x-tier], tenant: 'header:x-api-key' }}
  - {{ name: web, match: {{ path: '/web/{{*rest}}' }}, to: {{ upstream: web }}, note_headers: [cookie] }}
  - {{ name: gone, match: {{ path: '/gone/{{token}}' }}, to: {{ upstream: gone }} }}
",
        app = path("app.log").display(),
        access = path("access.log").display(),
        collector = collector.address,
        web = origin.address,
    );
    let gateway = Gateway::start_with(&page, &[("OTEL_BSP_SCHEDULE_DELAY", "20")]).await;
    let client = Client::http1();
    let jwt = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJzM2NyZXQifQ.c2lnbmF0dXJl";
    let bearer = format!("Bearer {jwt}");
    let headers = [
        ("authorization", bearer.as_str()),
        ("cookie", "sid=s3cret-cookie"),
        ("x-internal-id", "s3cret-header"),
        ("x-api-key", "s3cret-tenant"),
        ("x-tier", "gold"),
        ("referer", "https://ada:s3cret-user@shop/?code=s3cret-referer"),
        ("user-agent", "agent token=s3cret-agent"),
        ("zerver-debug", "debugging"),
    ];
    let ask = "/ask/s3cret-param?page=2&token=s3cret-query&sig=s3cret-signature&promo=s3cret-promo";
    let shown = client.send(request("GET", gateway.address, ask, &headers, "")).await;
    assert_eq!(shown.status, 200, "{}", shown.text());
    for path in [
        "/web/a?access_token=s3cret-query",
        "/reset/s3cret-unrouted?x-api-key=s3cret-query",
        "/web/b;jsessionid=s3cret-matrix/c",
        "/gone/s3cret-param",
    ] {
        client.send(request("GET", gateway.address, path, &headers[..7], "")).await;
    }
    let access = eventually("five lines of the access log", async || {
        let text = std::fs::read_to_string(path("access.log")).unwrap_or_default();
        (text.lines().count() == 5).then_some(text)
    })
    .await;
    let spans = eventually("the collector has the spans", async || {
        let bytes = received.lock().expect("nobody panics with it").clone();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        ["/gone/REDACTED", "/web/b;jsessionid=REDACTED"].iter().all(|path| text.contains(path)).then_some(text)
    })
    .await;
    let app = eventually("the log has the steps and the failure", async || {
        let text = std::fs::read_to_string(path("app.log")).unwrap_or_default();
        (text.contains("call web ended") && text.contains("request failed")).then_some(text)
    })
    .await;
    let mut outputs = vec![
        ("access log", access),
        ("application log", app),
        ("spans", spans),
        ("debug answer", shown.text()),
        ("standard streams", gateway.log()),
    ];
    let trace = shown.header("x-request-id").to_owned();
    let one = format!("/timelines/{trace}");
    for admin in [
        "/timelines?limit=100",
        &one,
        "/compare",
        "/in-flight",
        "/stuck",
        "/metrics",
        "/config",
        "/upstreams",
        "/limits",
    ] {
        outputs.push(("admin page", gateway.ask(admin).await.text()));
    }
    for (name, text) in &outputs {
        assert!(!text.contains("s3cret") && !text.contains("eyJ"), "the {name} shows a secret:\n{text}");
    }
    // They are not empty either: what is no secret stands there.
    let text = |name: &str| &outputs.iter().find(|(known, _)| *known == name).expect("it is there").1;
    for (name, expected) in [
        ("access log", "\"path\":\"/ask/REDACTED\",\"query\":\"page=2&token=REDACTED&sig=REDACTED&promo=REDACTED\""),
        ("access log", "\"referer\":\"https://REDACTED:REDACTED@shop/?code=REDACTED\""),
        ("access log", "\"header.x-tier\":\"gold\""),
        ("access log", "\"header.cookie\":\"‹masked›\""),
        ("access log", "\"path\":\"/reset/REDACTED\""),
        // Tenants by their API key are told apart by a fingerprint of it.
        ("access log", "\"tenant\":\"#"),
        ("spans", "page=2&token=REDACTED"),
        ("spans", "/internal/REDACTED"),
        ("debug answer", "\"name\":\"ada\""),
        ("debug answer", "\"mood\":\"‹masked›\""),
    ] {
        assert!(text(name).contains(expected), "the {name} has no {expected}:\n{}", text(name));
    }
    // The services behind get all of it: showing is not sending.
    let seen: Vec<String> = origin.seen().into_iter().map(|seen| seen.path).collect();
    assert!(seen.contains(&"/internal/s3cret-param?token=s3cret-query".to_owned()), "{seen:?}");
}

#[tokio::test]
async fn rules_change_with_the_page() {
    let page = |redact: &str| {
        format!(
            "{HEAD}{redact}\nroutes: [{{ name: hi, match: {{ path: '/{{*rest}}' }}, to: {{ reply: {{ body: hi }} }} }}]\n"
        )
    };
    let gateway = Gateway::start(&page("")).await;
    let client = Client::http1();
    let shown = async || {
        let answer = client.get(gateway.address, "/a?colour=red&token=x").await;
        let timeline = gateway.timeline_of(&answer).await;
        let attr = |key: &str| timeline.root().attr(key).expect("it is noted").to_string();
        (attr("url.query"), attr("client.address"))
    };
    assert_eq!(shown().await, ("colour=red&token=REDACTED".into(), "127.0.0.1".into()));
    gateway.rewrite(&page("redact: { query: [colour], show: [token], client: network }"));
    eventually("the page is taken", async || {
        (gateway.ask("/health/ready").await.json()["config_version"] == 2).then_some(())
    })
    .await;
    assert_eq!(shown().await, ("colour=REDACTED&token=x".into(), "127.0.0.0".into()));
}

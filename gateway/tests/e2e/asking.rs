//! A request that asks to see itself: its values and its timeline in place of the flow's answer, and no secret among them.

use serde_json::{Value, json};

use crate::binary::{Gateway, HEAD};
use crate::client::{Client, request};
use crate::origin::{Origin, json as say};

#[tokio::test]
async fn who_has_the_token_sees_what_each_step_gave_and_nobody_sees_a_secret() {
    let origin = Origin::start(|request| async move {
        assert!(request.headers().get("zerver-debug").is_none(), "the token is not for upstreams");
        match request.uri().path() {
            "/me" => say(200, &json!({ "name": "ada", "session_token": "s3cr3t" })),
            "/profile" => say(503, &json!({})),
            _ => say(200, &json!({ "cents": 990 })),
        }
    })
    .await;
    let gateway = Gateway::start(&format!(
        "{HEAD}debug: {{ token: hunter2 }}
upstreams: {{ web: {{ peers: ['{}'] }} }}
flows:
  - flow: checkout
    steps:
      user:    {{ get: 'web:/me' }}
      profile: {{ get: 'web:/profile', optional: true }}
      pin:     {{ get: 'web:/pin', sensitive: true, after: [profile] }}
    respond: {{ status: 201, headers: {{ set-cookie: 'a=b' }}, json: {{ hello: '${{user.name}}', pin: '${{pin.cents}}' }} }}
routes:
  - {{ name: checkout, match: {{ path: /checkout }}, to: {{ flow: checkout }} }}
  - {{ name: proxied, match: {{ path: /pin }}, to: {{ upstream: web }} }}
",
        origin.address
    ))
    .await;
    let client = Client::http1();
    let call =
        async |headers: &[(&str, &str)]| client.send(request("GET", gateway.address, "/checkout", headers, "")).await;

    for headers in [&[][..], &[("zerver-debug", "hunter3")]] {
        let plain = call(headers).await;
        assert_eq!((plain.status, plain.json()), (201, json!({ "hello": "ada", "pin": 990 })), "{headers:?}");
    }
    let shown = call(&[("zerver-debug", "hunter2")]).await;
    assert_eq!((shown.status, shown.header("cache-control")), (201, "no-store"));
    let page = shown.json();
    assert_eq!(page["answer"]["status"], 201);
    assert_eq!(page["answer"]["body"], json!({ "hello": "ada", "pin": 990 }));
    assert_eq!(page["answer"]["headers"]["set-cookie"], "‹masked›");
    let value = |slot: &str| {
        page["values"].as_array().expect("a list").iter().find(|it| it["slot"] == slot).map(|it| &it["value"])
    };
    assert_eq!(value("user"), Some(&json!({ "name": "ada", "session_token": "‹masked›" })));
    assert_eq!((value("pin"), value("profile")), (Some(&json!("‹masked›")), None));
    assert_eq!(page["optional_failures"][0]["step"], "profile");
    assert_eq!(page["failure"], Value::Null);
    let nodes = page["timeline"]["nodes"].as_array().expect("its nodes");
    assert!(["user", "profile", "pin", "respond"].iter().all(|name| nodes.iter().any(|node| node["name"] == *name)));
    assert!(!shown.text().contains("s3cr3t"));

    // A proxied request cannot be shown; the origin's own assertion holds that the token stays here all the same.
    let proxied = client.send(request("GET", gateway.address, "/pin", &[("zerver-debug", "hunter2")], "")).await;
    assert_eq!((proxied.status, proxied.json()), (200, json!({ "cents": 990 })));

    let kept = gateway.timeline_of(&shown).await;
    assert_eq!(kept.trace_id.to_string(), page["timeline"]["trace_id"].as_str().expect("a text"), "it is its own");
}

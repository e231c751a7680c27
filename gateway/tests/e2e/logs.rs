//! What the binary logs: a line for each request, its own words with the trace they belong to, and nothing that holds it up.

use std::path::Path;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::binary::{Gateway, HEAD, command, page};
use crate::client::{Client, ask, get, request};
use crate::origin::{Origin, answer};
use crate::support::{Guard, PATIENCE, eventually, turn};

/// The lines of a file, as JSON, once there are so many.
async fn lines(file: &Path, count: usize) -> Vec<Value> {
    eventually(&format!("{count} lines in {}", file.display()), async || {
        let text = std::fs::read_to_string(file).unwrap_or_default();
        let found: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("a line is JSON")).collect();
        (found.len() >= count).then_some(found)
    })
    .await
}

fn logged(origin: &Origin, logs: &str) -> String {
    format!(
        "{HEAD}{logs}
upstreams: {{ web: {{ peers: ['{}'] }}, gone: {{ peers: ['127.0.0.1:1'] }} }}
rate_limits: [{{ name: one, requests: 1, window: 1h, key: route }}]
flows:
  - flow: ask
    steps: {{ said: {{ get: 'web:/flow' }} }}
    respond: {{ text: 'said' }}
routes:
  - {{ name: web, match: {{ path: '/{{*rest}}' }}, to: {{ upstream: web }}, note_headers: [x-tier] }}
  - {{ name: gone, match: {{ path: '/gone' }}, to: {{ upstream: gone }} }}
  - {{ name: flow, match: {{ path: '/ask' }}, to: {{ flow: ask }} }}
  - {{ name: limited, match: {{ path: '/limited' }}, to: {{ reply: {{ body: hi }} }}, rate_limit: [one] }}
",
        origin.address
    )
}

#[tokio::test]
async fn each_request_is_a_line_that_agrees_with_its_timeline() {
    let origin = Origin::start(|request| async move {
        let bad = request.uri().path() == "/bad";
        answer(if bad { 503 } else { 200 }, "twelve bytes")
    })
    .await;
    let folder = tempfile::tempdir().expect("the temporary folder can be written");
    let file = folder.path().join("access.log");
    let settings = format!("access_log: {{ to: '{}' }}", file.display());
    let gateway = Gateway::start(&logged(&origin, &settings)).await;
    let client = Client::http1();
    let headers =
        [("user-agent", "me/1 \"x\""), ("x-request-id", "mine-1"), ("x-tier", "gold"), ("referer", "http://a/?b=1")];
    let proxied = client.send(request("POST", gateway.address, "/a/b?page=2", &headers, "12345")).await;
    assert_eq!(proxied.header("x-request-id"), "mine-1");
    let flow = client.get(gateway.address, "/ask").await;
    assert_eq!(client.get(gateway.address, "/limited").await.status, 200);
    let refused = client.get(gateway.address, "/limited").await;
    let found = lines(&file, 4).await;
    assert_eq!(found.len(), 4);

    let line = &found[0];
    for (key, expected) in [
        ("request_id", json!("mine-1")),
        ("route", "web".into()),
        ("client", "127.0.0.1".into()),
        ("method", "POST".into()),
        ("host", "127.0.0.1".into()),
        ("path", "/a/b".into()),
        ("query", "page=2".into()),
        ("protocol", "1.1".into()),
        ("user_agent", "me/1 \"x\"".into()),
        ("referer", "http://a/?b=1".into()),
        ("header.x-tier", "gold".into()),
        ("status", 200.into()),
        ("outcome", "ok".into()),
        ("bytes_in", 5.into()),
        ("bytes_out", 12.into()),
        ("calls", 1.into()),
        ("retries", 0.into()),
        ("upstream", "web".into()),
        ("peer", origin.address.to_string().into()),
        ("upstream_status", 200.into()),
    ] {
        assert_eq!(line[key], expected, "{key} of {line}");
    }
    let id = line["trace_id"].as_str().expect("a text");
    let timeline = gateway.timeline_where("its timeline", |timeline| timeline.trace_id.to_string() == id).await;
    let seconds = |key: &str| line[key].as_f64().expect("a number");
    let parts = seconds("queue_seconds") + seconds("park_seconds") + seconds("run_seconds");
    assert!((parts - seconds("duration_seconds")).abs() < 1e-6, "{line}");
    assert!((seconds("duration_seconds") - timeline.latency_ns as f64 / 1e9).abs() < 1e-9);

    let line = &found[1];
    assert_eq!(line["request_id"], flow.header("x-request-id"));
    assert_eq!((&line["flow"], &line["calls"], line.get("upstream")), (&json!("ask"), &json!(1), None));
    let line = &found[3];
    assert_eq!((refused.status, &line["status"], &line["outcome"]), (429, &json!(429), &json!("refused")));
    assert_eq!((&line["error"], &line["limit"]), (&json!("rate_limited"), &json!("one")));

    // As logrotate does it: renamed, and opened anew on SIGHUP.
    let old = folder.path().join("access.log.1");
    std::fs::rename(&file, &old).expect("it is there");
    gateway.signal("HUP");
    eventually("the file is opened anew", async || file.exists().then_some(())).await;
    client.get(gateway.address, "/bad").await;
    let new = lines(&file, 1).await;
    assert_eq!((&new[0]["status"], &new[0]["outcome"]), (&json!(503), &json!("error")));
    assert_eq!(lines(&old, 4).await.len(), 4);

    // Only what failed, after a reload.
    gateway.rewrite(&logged(&origin, &settings.replace("to:", "only: errors, to:")));
    eventually("the page is taken", async || {
        (gateway.ask("/health/ready").await.json()["config_version"] == 3).then_some(())
    })
    .await;
    client.get(gateway.address, "/good").await;
    client.get(gateway.address, "/bad").await;
    let now = lines(&file, 2).await;
    assert_eq!((now.len(), &now[1]["path"]), (2, &json!("/bad")));
    assert_eq!(gateway.metric("zerver_log_lines_total", &["log=\"access\""]).await, 6.0);
    assert_eq!(gateway.metric("zerver_log_dropped_total", &[]).await, 0.0);
}

#[tokio::test]
async fn the_forms_of_web_servers_carry_the_trace() {
    let origin = Origin::echo().await;
    let gateway = Gateway::start(&logged(&origin, "access_log: { format: combined }")).await;
    let headers = [("user-agent", "curl/8 \"x\"")];
    Client::http1().send(request("GET", gateway.address, "/a?token=abc&b=1", &headers, "")).await;
    let line =
        eventually("the line", async || gateway.log().lines().find(|line| line.contains("GET /a")).map(str::to_owned))
            .await;
    let trace = gateway.timelines().await[0].trace_id.to_string();
    assert!(line.starts_with(&format!("127.0.0.1 {trace} - [")), "{line}");
    assert!(line.ends_with(r#" "GET /a?token=REDACTED&b=1 HTTP/1.1" 200 16 "-" "curl/8 \"x\"""#), "{line}");
    // Standard output belongs to the access log; where the gateway listens is in the other.
    assert!(gateway.log().contains("INFO zerver::cli::run: listening on http://"), "{}", gateway.log());
}

#[tokio::test]
async fn levels_change_at_run_time_and_lines_carry_their_request() {
    let origin = Origin::echo().await;
    let gateway = Gateway::start_with(&logged(&origin, "log: { format: json }"), &[("ZER_LOG", "warn")]).await;
    let admin = async |method: &str, path: &str| Client::http1().send(ask(method, gateway.admin, path)).await;
    let level = async |method: &str, path: &str| admin(method, path).await.json()["level"].clone();
    assert_eq!(level("GET", "/log").await, "warn");
    // The address is announced on standard output whatever the level is.
    assert!(!gateway.log().contains("\"level\":\"INFO\""), "{}", gateway.log());

    for (query, says) in [
        ("level=deubg", "`deubg` is no level; did you mean `debug`?"),
        ("level=info,zerver=loud", "`loud` is no level"),
        ("level=info&for=soon", "`for` is a time such as 10m"),
        ("level=info&for=2d", "`for` is a day at most"),
        ("", "say which: PUT /log?level=debug"),
    ] {
        let wrong = admin("PUT", &format!("/log?{query}")).await;
        assert_eq!(wrong.status, 400, "{query}");
        assert!(wrong.text().contains(says), "{query}: {}", wrong.text());
    }
    assert_eq!(admin("POST", "/log").await.status, 405);
    assert_eq!(level("GET", "/log").await, "warn");

    assert_eq!(level("PUT", "/log?level=warn,zerver::steps=debug").await, "warn,zerver::steps=debug");
    let client = Client::http1();
    client.send(request("GET", gateway.address, "/ask", &[("x-request-id", "mine-7")], "")).await;
    let steps: Vec<Value> = eventually("the steps of the request", async || {
        let said = gateway.log();
        let json = said.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let steps: Vec<Value> = json.filter(|line| line["scope"] == "zerver::steps").collect();
        (steps.len() >= 3).then_some(steps)
    })
    .await;
    let trace = gateway.timelines().await[0].trace_id.to_string();
    assert!(steps.iter().all(|line| line["trace_id"] == trace && line["request_id"] == "mine-7"), "{steps:?}");
    let call = steps.iter().find(|line| line["message"] == "call web ended").expect("the call is there");
    assert_eq!((&call["fields"]["status"], &call["fields"]["path"]), (&json!(200), &json!("/flow")));

    // A reload that says nothing of the log leaves it alone; so does one that is refused.
    assert_eq!(admin("POST", "/reload").await.status, 200);
    assert_eq!(level("GET", "/log").await, "warn,zerver::steps=debug");
    assert_eq!(level("DELETE", "/log").await, "warn");
    // For a while.
    assert_eq!(level("PUT", "/log?level=trace&for=50ms").await, "trace");
    eventually("the time is over", async || (level("GET", "/log").await == "warn").then_some(())).await;
    // A later wish outlives an earlier one's time.
    level("PUT", "/log?level=trace&for=50ms").await;
    level("PUT", "/log?level=debug").await;
    assert_eq!(admin("GET", "/log").await.json()["configured"], "warn");

    // What is said while a request is served carries its trace and its id.
    let answer =
        Client::http1().send(request("GET", gateway.address, "/gone", &[("x-request-id", "mine-9")], "")).await;
    assert_eq!(answer.status, 502);
    let line = eventually("a line of the failed request", async || {
        let said = gateway.log();
        let json = said.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        json.into_iter().find(|line| line["message"] == "request failed")
    })
    .await;
    let of_it = gateway.timeline_where("its timeline", |timeline| timeline.status == 502).await;
    assert_eq!((&line["request_id"], &line["level"]), (&json!("mine-9"), &json!("DEBUG")));
    assert_eq!(line["trace_id"], of_it.trace_id.to_string());
    assert_eq!(line["span_id"], of_it.span_id.to_string());
}

#[tokio::test]
async fn a_page_with_other_levels_ends_a_wish_and_wrong_settings_are_named() {
    let origin = Origin::echo().await;
    let gateway = Gateway::start(&logged(&origin, "")).await;
    let admin = async |method: &str, path: &str| Client::http1().send(ask(method, gateway.admin, path)).await;
    assert_eq!(admin("PUT", "/log?level=debug").await.status, 200);
    gateway.rewrite(&logged(&origin, "log: { level: error }"));
    eventually("the page's level holds", async || {
        (admin("GET", "/log").await.json()["level"] == "error").then_some(())
    })
    .await;
    for (settings, says) in [
        ("log: { level: loud }", "`log.level`: `loud` is no level"),
        ("log: { to: / }", "a log goes to a file; this is a folder"),
        ("access_log: { to: '' }", "this names nothing"),
        ("access_log: { format: xml }", "`xml` is none of the choices here"),
        ("redact: { path: [/reset] }", "the rule `/reset` of `redact.path` names no segment to hide"),
        ("redact: { query: ['a b'] }", "the rule `a b` of `redact.query` is no name"),
    ] {
        gateway.rewrite(&logged(&origin, settings));
        let refused = admin("POST", "/reload").await;
        assert_eq!(refused.status, 422, "{settings}");
        assert!(refused.text().contains(says) && refused.text().contains("--> "), "{}", refused.text());
    }
    // A folder that is not there: the start fails and says so, a reload keeps the lines where they were.
    gateway.rewrite(&logged(&origin, "access_log: { to: /no/such/folder/access.log }"));
    assert_eq!(admin("POST", "/reload").await.status, 200);
    eventually("the log says so", async || {
        gateway.log().contains("cannot write the access log to /no/such/folder/access.log").then_some(())
    })
    .await;
    assert_eq!(get(gateway.address, "/a").await.status, 200);
}

#[tokio::test]
async fn a_reader_that_reads_nothing_holds_up_neither_requests_nor_the_end() {
    let _turn = turn();
    let text = format!(
        "{HEAD}log: {{ level: trace }}
access_log: {{}}
routes: [{{ name: hi, match: {{ path: '/{{*rest}}' }}, to: {{ reply: {{ body: hi }} }} }}]
"
    );
    let (_folder, file) = page(&text);
    let port = |taken: &std::net::TcpListener| taken.local_addr().expect("it is bound").port();
    let probe = || std::net::TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    let (one, two) = (probe(), probe());
    let (address, admin) = (([127, 0, 0, 1], port(&one)).into(), ([127, 0, 0, 1], port(&two)).into());
    drop((one, two));
    let mut command = command();
    command.arg("run").arg(&file);
    command.env("ZER_LISTEN", format!("{address}")).env("ZER_ADMIN_LISTEN", format!("{admin}"));
    // Both logs go to pipes that nobody reads.
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary runs");
    let mut child = Guard(child);
    eventually("it listens", async || {
        tokio::net::TcpStream::connect(admin).await.ok()?;
        tokio::net::TcpStream::connect(address).await.ok()
    })
    .await;
    // Lines of some 600 bytes: a pipe holds 64 KiB, and behind it 8,192 entries may wait.
    let client = Client::http1();
    let path = format!("/{}", "x".repeat(200));
    let dropped = async || {
        let text = get(admin, "/metrics").await.text();
        let lines = text.lines().filter(|line| line.starts_with("zerver_log_dropped_total{log=\"access\""));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum::<f64>()
    };
    eventually("lines are dropped, and requests are answered all the same", async || {
        for _ in 0..1_000 {
            assert_eq!(client.get(address, &path).await.status, 200);
        }
        (dropped().await > 0.0).then_some(())
    })
    .await;
    let sent = std::process::Command::new("kill").arg("-TERM").arg(child.0.id().to_string()).status();
    assert!(sent.expect("there is a `kill`").success());
    let ended = tokio::time::timeout(PATIENCE, async {
        eventually("it ends", async || child.0.try_wait().expect("the child can be asked")).await
    });
    assert!(ended.await.expect("in time").success());
}

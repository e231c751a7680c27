//! Objectives and what is shipped to look at them: rules, a dashboard, samples. Each is held to the metrics that there are by
//! the tools that will read it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use zerver_telemetry::metrics::catalog::{self, Kind, Metric};

use crate::binary::{Gateway, HEAD, command, page, run};
use crate::client::Client;
use crate::support::{eventually, need, on_free_port};

fn shipped(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../dashboards").join(name)
}

fn text(name: &str) -> String {
    std::fs::read_to_string(shipped(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

#[tokio::test]
async fn objectives_are_counted_and_their_budgets_burn() {
    let text = format!(
        "{HEAD}routes:
  - name: good
    match: {{ path: /good }}
    to: {{ reply: {{ body: hi }} }}
    slo: {{ availability: 99, latency: {{ under: 10s, share: 95 }} }}
  - {{ name: bad, match: {{ path: /bad }}, to: {{ reply: {{ status: 500 }} }}, slo: {{ availability: 99.5, window: 7d }} }}
  - {{ name: free, match: {{ path: /free }}, to: {{ reply: {{ body: hi }} }} }}
"
    );
    let gateway = Gateway::start(&text).await;
    let client = Client::http1();
    for _ in 0..4 {
        assert_eq!(client.get(gateway.address, "/good").await.status, 200);
        assert_eq!(client.get(gateway.address, "/bad").await.status, 500);
        assert_eq!(client.get(gateway.address, "/free").await.status, 200);
    }
    let standings = eventually("all of them are counted", async || {
        let standings = gateway.ask("/slo").await.json();
        let requests = |n: usize| standings[n]["requests"].as_u64();
        ((0..3).all(|n| requests(n) == Some(4))).then_some(standings)
    })
    .await;
    let of = |n: usize| {
        let one = &standings[n];
        (one["route"].as_str(), one["bad"].as_u64(), one["burn_rates"]["5m"].as_f64().map(f64::round))
    };
    assert_eq!(of(0), (Some("bad"), Some(4), Some(200.0)));
    assert_eq!((standings[2]["slo"].as_str(), standings[2]["under_ms"].as_f64()), (Some("latency"), Some(10_000.0)));
    assert_eq!((of(1), of(2)), ((Some("good"), Some(0), Some(0.0)), (Some("good"), Some(0), Some(0.0))));
    let metrics = gateway.ask("/metrics").await.text();
    for line in [
        r#"zerver_slo_events_total{route="bad",slo="availability",result="bad"} 4"#,
        r#"zerver_slo_objective_ratio{route="good",slo="latency"} 0.95"#,
    ] {
        assert!(metrics.contains(line), "{line}\n{metrics}");
    }
}

#[tokio::test]
async fn objectives_that_promise_nothing_or_too_much_are_refused() {
    let text = format!(
        "{HEAD}routes:
  - {{ name: a, match: {{ path: /a }}, to: {{ reply: {{}} }}, slo: {{ availability: 100 }} }}
  - {{ name: b, match: {{ path: /b }}, to: {{ reply: {{}} }}, slo: {{ latency: {{ under: 1s, share: 0.99 }} }} }}
  - {{ name: c, match: {{ path: /c }}, to: {{ reply: {{}} }}, slo: {{ window: 1h }} }}
"
    );
    let (_folder, file) = page(&text);
    let mut check = command();
    check.arg("check").arg(&file);
    let ran = run(check).await;
    assert_eq!(ran.code, 2);
    for says in [
        "an objective of 100 % is not from 50 to below 100",
        "99.9 lets one request in a thousand fail",
        "write a percentage: 99.9, not 0.999",
        "the `slo` of route `c` promises nothing",
        "the `slo.window` of route `c` is not from 1d to 90d",
    ] {
        assert!(ran.err.contains(says), "`{says}` is not in\n{}", ran.err);
    }
}

#[tokio::test]
async fn the_sample_of_a_collector_takes_what_a_gateway_sends() {
    let Some(rotel) = need("rotel") else { return };
    let folder = tempfile::tempdir().expect("the temporary folder can be written");
    let out = || std::fs::File::options().create(true).append(true).open(folder.path().join("out")).expect("a file");
    let (_collector, address) = on_free_port("the collector listens", |port| {
        let mut command = Command::new(&rotel);
        let sample = text("collector.env");
        for (name, value) in
            sample.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once('='))
        {
            // Its own ports may be taken on this machine.
            let value = match name {
                "ROTEL_OTLP_HTTP_ENDPOINT" => format!("127.0.0.1:{port}"),
                "ROTEL_OTLP_GRPC_ENDPOINT" => "127.0.0.1:0".to_owned(),
                _ => value.to_owned(),
            };
            command.env(name, value);
        }
        command.arg("start").arg("--pid-file").arg(folder.path().join("pid"));
        command.arg("--log-file").arg(folder.path().join("log")).stdout(out()).stderr(out());
        command
    })
    .await;
    let text = format!(
        "{HEAD}access_log: {{}}\ntelemetry: {{ otlp: {{ enabled: true, endpoint: 'http://{address}', sample: 1, \
         metric_reading: {{ interval: 1s }} }} }}
routes: [{{ name: hi, match: {{ path: / }}, to: {{ reply: {{ body: hi }} }} }}]\n"
    );
    let gateway = Gateway::start(&text).await;
    assert_eq!(Client::http1().get(gateway.address, "/").await.status, 200);
    eventually("all three signals have arrived", async || {
        let metrics = gateway.ask("/metrics").await.text();
        let sent = |signal: &str| {
            let line = format!("zerver_export_sent_total{{signal=\"{signal}\"}} ");
            metrics.lines().filter_map(|text| text.strip_prefix(&line)).any(|count| count != "0")
        };
        let read = std::fs::read_to_string(folder.path().join("out")).unwrap_or_default();
        (["traces", "metrics", "logs"].into_iter().all(sent) && read.to_lowercase().contains("received traces"))
            .then_some(())
    })
    .await;
}

fn promtool(arguments: &[&str], file: &Path) {
    let Some(promtool) = need("promtool") else { return };
    let ran = Command::new(promtool).args(arguments).arg(file).output().expect("promtool starts");
    let said = String::from_utf8_lossy(&ran.stdout) + String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "promtool {arguments:?} {}: {said}", file.display());
}

#[tokio::test]
async fn the_shipped_rules_are_those_of_the_example_and_hold_in_a_day_of_trouble() {
    let mut rules = command();
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/checkout/zerver.yaml");
    rules.arg("rules").arg(&example);
    let ran = run(rules).await;
    assert_eq!((ran.code, ran.out.as_str()), (0, text("rules.yaml").as_str()), "make it anew with `zerver rules`");
    promtool(&["check", "rules"], &shipped("rules.yaml"));
    promtool(&["test", "rules"], &shipped("rules.test.yaml"));
    promtool(&["check", "config"], &shipped("prometheus.yaml"));
}

/// The metric that a series of Prometheus belongs to.
fn metric(series: &str) -> Option<&'static Metric> {
    let named = |name: &str| catalog::ALL.iter().find(|metric| metric.name == name).copied();
    let of_histogram = ["_bucket", "_sum", "_count"].iter().find_map(|end| series.strip_suffix(end));
    named(series).or_else(|| of_histogram.and_then(named).filter(|metric| metric.kind == Kind::Histogram))
}

/// Every name in an expression that is ours, with the labels that are asked of it.
fn series(expr: &str) -> Vec<(String, Vec<String>)> {
    let name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut found = Vec::new();
    for (at, _) in expr.match_indices("zerver_") {
        if expr[..at].ends_with(name) {
            continue;
        }
        let end = expr[at..].find(|c| !name(c)).map_or(expr.len(), |n| at + n);
        let chosen = expr[end..].strip_prefix('{').and_then(|rest| rest.split_once('}')).map_or("", |(inner, _)| inner);
        let labels = chosen.split(',').filter_map(|one| Some(one.split_once(['=', '!'])?.0.trim().to_owned()));
        found.push((expr[at..end].to_owned(), labels.collect()));
    }
    found
}

/// What is wrong with the names in an expression.
fn strange(expr: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut labels: BTreeSet<&str> = ["instance", "le"].into();
    for (name, chosen) in series(expr) {
        let Some(metric) = metric(&name) else {
            wrong.push(format!("no metric is called {name}"));
            continue;
        };
        labels.extend(metric.labels);
        for label in chosen.iter().filter(|label| *label != "instance" && !metric.labels.contains(&label.as_str())) {
            wrong.push(format!("{name} has no label {label}"));
        }
    }
    // Recorded series carry the labels of their rules.
    if expr.contains("zerver:") {
        labels.extend(["route", "slo", "window"]);
    }
    for (at, _) in expr.match_indices("by (") {
        let list = expr[at + 4..].split(')').next().unwrap_or_default();
        for label in list.split(',').map(str::trim).filter(|label| !labels.contains(label)) {
            wrong.push(format!("nothing in `{expr}` has a label {label}"));
        }
    }
    wrong
}

#[test]
fn what_is_strange_in_an_expression_is_found() {
    assert_eq!(strange("sum by (route) (rate(zerver_requests_total{route=\"a\"}[5m]))"), [""; 0]);
    for (expr, wrong) in [
        ("zerver_request_total", "no metric is called zerver_request_total"),
        ("zerver_requests_total_bucket", "no metric is called zerver_requests_total_bucket"),
        ("zerver_requests_total{rout=~\"a\"}", "zerver_requests_total has no label rout"),
        (
            "sum by (limit) (zerver_requests_total)",
            "nothing in `sum by (limit) (zerver_requests_total)` has a label limit",
        ),
    ] {
        assert_eq!(strange(expr), [wrong]);
    }
}

#[test]
fn the_dashboard_asks_only_for_what_there_is() {
    let board: Value = serde_json::from_str(&text("grafana.json")).expect("the dashboard is JSON");
    let panels = board["panels"].as_array().expect("it has panels");
    let (mut ids, mut exprs) = (BTreeSet::new(), Vec::new());
    for panel in panels {
        let title = panel["title"].as_str().expect("a panel has a title");
        assert!(ids.insert(panel["id"].as_u64()), "{title}: its id is there twice");
        let place = |key: &str| panel["gridPos"][key].as_u64().unwrap_or_else(|| panic!("{title} has no {key}"));
        assert!(place("x") + place("w") <= 24, "{title} hangs over the edge");
        if panel["type"] == "row" {
            continue;
        }
        assert!(panel["description"].as_str().is_some_and(|text| text.ends_with('.')), "{title} says what it shows");
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{title}");
        for target in panel["targets"].as_array().expect("it asks for something") {
            exprs.push(target["expr"].as_str().expect("a target has an expression").to_owned());
        }
    }
    assert!(exprs.len() > 20, "only {} expressions were found", exprs.len());
    let wrong: Vec<String> = exprs.iter().flat_map(|expr| strange(expr)).collect();
    assert_eq!(wrong, [""; 0]);
    // As Prometheus will read them, once Grafana has put its values in.
    let folder = tempfile::tempdir().expect("the temporary folder can be written");
    let file = folder.path().join("board.yaml");
    let rule = |(n, expr): (usize, &String)| {
        let expr = expr.replace("$__rate_interval", "1m").replace("$route", ".*").replace("$instance", ".*");
        format!("  - record: board:{n}\n    expr: {}\n", Value::from(expr))
    };
    let rules: String = exprs.iter().enumerate().map(rule).collect();
    std::fs::write(&file, format!("groups:\n- name: board\n  rules:\n{rules}")).expect("it can be written");
    promtool(&["check", "rules"], &file);
    let wrong: Vec<String> = text("rules.yaml").lines().flat_map(|line| strange(&line.replace('\\', ""))).collect();
    assert_eq!(wrong, [""; 0]);
}

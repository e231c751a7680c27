//! What is seen of flows before they run and while they do: `zerver lint`, `zerver flows`, and `zerver graph --live`.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::binary::{Gateway, HEAD, page, zerver};
use crate::client::Client;
use crate::origin::{Origin, json as say};
use crate::support::eventually;

const UPSTREAMS: &str = "listen: 127.0.0.1:0
upstreams:
  eu: { peers: ['127.0.0.1:81'] }
  us: { peers: ['127.0.0.1:82'] }
";

/// A page with one fault of every kind.
fn faulty() -> String {
    format!(
        "{UPSTREAMS}
flows:
  - flow: shop
    deadline: 1s
    steps:
      dead:    {{ set: 1 }}
      twice:   {{ post: 'eu:/charge', retry: 2 }}
      raced:   {{ put: ['eu:/a', 'us:/a'], first_ok: true, idempotent: true }}
      patient: {{ get: 'eu:/profile', optional: true }}
      first:   {{ get: 'eu:/one', timeout: 900ms }}
      second:  {{ get: 'eu:/two/${{first.id}}', timeout: 200ms, after: [first] }}
      beside:  {{ get: 'eu:/three', after: [second] }}
      hedged:  {{ get: ['eu:/q', 'us:/q'], hedge: 400ms, timeout: 300ms }}
    respond:
      json: [\"${{second}}\", \"${{beside}}\", \"${{hedged}}\", \"${{patient.?name.orValue('guest')}}\"]
  - flow: alone
    owner: shop
    description: What no route leads to, and what may take for ever.
    steps: {{ slow: {{ get: 'eu:/slow' }} }}
    respond: {{ json: '${{slow}}' }}
routes:
  - {{ name: shop, match: {{ path: /shop }}, to: {{ flow: shop }} }}
"
    )
}

/// Runs a command on a page whose name in what it prints becomes `FILE`.
async fn on_page(text: &str, command: &str, args: &[&str]) -> (i32, String, String) {
    let (_folder, file) = page(text);
    let file = file.to_str().expect("the path is text");
    let ran = zerver(&[&[command, file], args].concat()).await;
    (ran.code, ran.out.replace(file, "FILE"), ran.err.replace(file, "FILE"))
}

#[tokio::test]
async fn lint_finds_one_of_every_kind_at_its_line() {
    let (code, out, err) = on_page(&faulty(), "lint", &[]).await;
    assert_eq!((code, err.as_str()), (1, ""), "{out}");
    let line_of = |what: &str| faulty().lines().position(|line| line.contains(what)).expect("the line is there") + 1;
    let expected = [
        ("flow: alone", "warning ZF018 alone: no route leads to this flow"),
        ("slow:", "warning ZF015 alone.slow: it calls eu without a timeout, and the flow has no deadline"),
        ("flow: shop", "warning ZF002 shop: it has no owner and no description"),
        ("flow: shop", "warning ZF005 shop: first 900ms + second 200ms may take 1.1s one after the other"),
        ("dead:", "warning ZF003 shop.dead: `dead` is written and never read"),
        ("twice:", "warning ZF004 shop.twice: `post` is tried again only when it surely did not arrive"),
        ("raced:", "error ZF007 shop.raced: `first_ok` of `put`: a call whose answer does not count may have written"),
        ("patient:", "warning ZF009 shop.patient: it is optional, but calls eu without a timeout"),
        ("second:", "warning ZF016 shop.second: it waits for `first` already"),
        ("beside:", "warning ZF012 shop.beside: it waits for `second` and needs nothing of it"),
        ("hedged:", "warning ZF017 shop.hedged: its second call begins after 400ms, when its time of 300ms is over"),
    ];
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines.len(), 2 * expected.len() + 1, "{out}");
    for ((what, message), told) in expected.iter().zip(lines.chunks(2)) {
        let beginning = format!("FILE:{}: {message}", line_of(what));
        assert!(told[0].starts_with(&beginning), "`{beginning}` is not\n{}", told[0]);
        assert!(told[1].strip_prefix("    help: ").is_some_and(|help| help.len() > 10), "{told:?}");
    }
    assert_eq!(lines.last(), Some(&"FILE: 2 flows, 1 error, 10 warnings"));

    let (code, out, _) = on_page(&faulty(), "lint", &["--format", "json"]).await;
    let json: Value = serde_json::from_str(&out).expect("it is JSON");
    assert_eq!((code, &json["errors"], &json["warnings"]), (1, &json!(1), &json!(10)));
    let twice = json["findings"].as_array().expect("a list").iter().find(|found| found["id"] == "ZF004");
    let twice = twice.expect("it is found");
    assert_eq!(
        (&twice["severity"], &twice["slug"], &twice["step"]),
        (&json!("warning"), &json!("shop"), &json!("twice"))
    );
    assert_eq!((&twice["file"], &twice["line"]), (&json!("FILE"), &json!(line_of("twice:"))));
    assert!(twice["message"].is_string() && twice["help"].is_string());
}

#[tokio::test]
async fn lint_fails_as_much_as_it_is_asked_to() {
    let with = |flow: &str, step: &str, route: &str| {
        format!(
            "{UPSTREAMS}flows:
  - flow: shop
    owner: shop
    description: Sells.{flow}
    steps: {{ paid: {{ post: 'eu:/charge'{step} }} }}
    respond: {{ json: '${{paid}}' }}
routes:
  - {{ name: shop, match: {{ path: /shop }}, to: {{ flow: shop }}{route} }}
"
        )
    };
    let sound = with("", ", timeout: 1s", "");
    assert_eq!(on_page(&sound, "lint", &["--deny", "warnings"]).await.0, 0);
    assert_eq!(on_page(&sound, "lint", &[]).await.1.trim(), "FILE: 1 flow, 0 errors, 0 warnings");

    // A warning fails only when it is asked to; the route's time is a limit too.
    let warned = with("", "", "");
    assert_eq!(on_page(&warned, "lint", &[]).await.0, 0);
    assert_eq!(on_page(&warned, "lint", &["--deny", "warnings"]).await.0, 1);
    assert_eq!(on_page(&warned, "lint", &["--deny", "warnings", "--allow", "ZF015"]).await.0, 0);
    assert_eq!(on_page(&with("", "", ", timeout: 5s"), "lint", &["--deny", "warnings"]).await.0, 0);

    // A finding counts until the flow allows it.
    let retried = ", timeout: 1s, retry: 1";
    assert_eq!(on_page(&with("", retried, ""), "lint", &["--deny", "warnings"]).await.0, 1);
    let allowed = with("\n    lint: { allow: [ZF004] }", retried, "");
    assert_eq!(on_page(&allowed, "lint", &["--deny", "warnings"]).await.0, 0);

    // What is wrong is said as `check` says it.
    let (code, out, err) = on_page(&with("\n    lint: { allow: [ZF04] }", "", ""), "lint", &[]).await;
    assert_eq!((code, out.as_str()), (2, ""));
    assert!(err.contains("no rule has the id `ZF04`") && err.contains("did you mean `ZF004`?"), "{err}");
    let (code, _, err) = on_page(&sound, "lint", &["--allow", "ZF999"]).await;
    assert!(code == 2 && err.contains("no rule has this id"), "{err}");
}

#[tokio::test]
async fn flows_are_listed_with_what_is_known_of_them() {
    let (code, out, err) = on_page(&faulty(), "flows", &[]).await;
    assert_eq!((code, err.as_str()), (0, ""));
    let cells: Vec<Vec<&str>> =
        out.lines().map(|line| line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect()).collect();
    assert_eq!(cells[0], ["FLOW", "OWNER", "STEPS", "DEADLINE", "BYTES", "TARGETS", "LONGEST CHAIN"]);
    assert_eq!(
        (cells[1][..4].to_vec(), cells[1][5..].to_vec()),
        (vec!["alone@1", "shop", "2", "-"], vec!["eu", "slow -> respond"])
    );
    assert_eq!((cells[2][..4].to_vec(), cells[2][5]), (vec!["shop@1", "-", "9", "1s"], "eu, us"));
    assert!(cells[2][6].starts_with("first -> second -> beside"), "{out}");

    let (code, out, _) = on_page(&faulty(), "flows", &["--format", "json"]).await;
    let json: Value = serde_json::from_str(&out).expect("it is JSON");
    assert_eq!((code, json.as_array().map(Vec::len)), (0, Some(2)));
    let shop = &json[1];
    assert_eq!((&shop["flow"], &shop["version"], &shop["steps"]), (&json!("shop"), &json!(1), &json!(9)));
    assert_eq!((&shop["deadline_ms"], &shop["targets"]), (&json!(1000.0), &json!(["eu", "us"])));
    assert_eq!((&shop["file"], &shop["line"]), (&json!("FILE"), &json!(7)));
    let wrong = on_page(&faulty().replace("eu:/slow", "uk:/slow"), "flows", &[]).await;
    assert!(wrong.0 == 2 && wrong.2.contains("no upstream is called `uk`"), "{}", wrong.2);
}

/// Requests at once, and how often. Of two, one waits: before the first answer a gate lets no more wait than it serves.
const AT_ONCE: usize = 2;
const ROUNDS: usize = 9;

/// A flow whose price takes long and whose upstream takes one call at a time, and whose profile always fails.
async fn served(admin: &str) -> (Gateway, [Origin; 3]) {
    let users = Origin::start(|_| async { say(200, &json!({ "id": 7 })) }).await;
    let profiles = Origin::start(|_| async { say(503, &json!({})) }).await;
    let prices = Origin::start(|_| async {
        sleep(Duration::from_millis(10)).await;
        say(200, &json!({ "cents": 990 }))
    })
    .await;
    let head = HEAD.replace("listen: '127.0.0.1:0' }", &format!("listen: '127.0.0.1:0'{admin} }}"));
    let gateway = Gateway::start(&format!(
        "{head}upstreams:
  users: {{ peers: ['{}'] }}
  profiles: {{ peers: ['{}'], tries: 1 }}
  prices: {{ peers: ['{}'], admission: {{ limit: {{ fixed: 1 }}, queue: {{ interactive_wait: 10s }} }} }}
flows:
  - flow: checkout
    version: 3
    steps:
      user:    {{ get: 'users:/me' }}
      profile: {{ get: 'profiles:/${{user.id}}', optional: true }}
      price:   {{ get: 'prices:/${{user.id}}' }}
    respond:
      json: {{ hello: \"${{profile.?name.orValue('guest')}}\", cents: '${{price.cents}}' }}
  - flow: idle
    respond: {{ text: idle }}
routes:
  - {{ name: checkout, match: {{ path: /checkout }}, to: {{ flow: checkout }} }}
",
        users.address, profiles.address, prices.address
    ))
    .await;
    (gateway, [users, profiles, prices])
}

async fn buy(gateway: &Gateway) {
    let client = Client::http1();
    for _ in 0..ROUNDS {
        let answers = join_all((0..AT_ONCE).map(|_| client.get(gateway.address, "/checkout"))).await;
        assert!(answers.iter().all(|answer| answer.status == 200), "{answers:?}");
    }
}

#[tokio::test]
async fn graph_shows_what_the_gateway_measured() {
    let (gateway, _origins) = served("").await;
    let admin = format!("http://{}", gateway.admin);
    let file = gateway.file.to_str().expect("the path is text").to_owned();
    let graph = async |flow: &str, format: &str| {
        let ran = zerver(&["graph", flow, "-c", &file, "--format", format, "--live", &admin]).await;
        assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{ran:?}");
        ran.out
    };
    assert!(graph("checkout", "text").await.ends_with("live: no request of this flow is remembered yet\n"));
    buy(&gateway).await;
    let all = AT_ONCE * ROUNDS;
    let page = eventually("every request is remembered", async || {
        let page = gateway.ask("/flows/checkout/latencies").await.json();
        (page["timelines"] == all).then_some(page)
    })
    .await;

    let json: Value = serde_json::from_str(&graph("checkout", "json").await).expect("it is JSON");
    let live = &json["live"];
    assert_eq!(live, &page, "what is printed is what the gateway says");
    assert_eq!((&json["flow"], &live["version"]), (&json!("checkout"), &json!(3)));
    let number = |value: &Value| value.as_f64().unwrap_or_else(|| panic!("no number: {value} in {live}"));
    assert_eq!((number(&live["requests"]), number(&live["errors"])), (all as f64, 0.0));
    let step = |name: &str| {
        let steps = live["steps"].as_array().expect("a list");
        steps.iter().find(|step| step["name"] == name).unwrap_or_else(|| panic!("no step {name}: {live}")).clone()
    };
    let names: BTreeSet<&str> =
        live["steps"].as_array().expect("a list").iter().filter_map(|step| step["name"].as_str()).collect();
    assert_eq!(names, BTreeSet::from(["price", "profile", "respond", "user"]));
    let (price, profile) = (step("price"), step("profile"));
    assert_eq!(number(&price["runs"]), all as f64);
    // One call at a time, two at once: one waits for the other. That is about a third of all the time.
    let shares = ["queued", "parked", "running"].map(|key| number(&price[key]));
    assert!((0.1..0.6).contains(&shares[0]) && shares[1] > 0.1, "{price}");
    assert!((shares.iter().sum::<f64>() - 1.0).abs() < 1e-6, "{price}");
    assert!(number(&price["p50_ms"]) >= 9.0 && number(&price["p99_ms"]) >= number(&price["p50_ms"]), "{price}");
    assert!(number(&price["critical"]) > 0.5, "{live}");
    assert_eq!((number(&profile["errors"]), number(&price["errors"])), (1.0, 0.0));
    let critical: f64 = names.iter().map(|name| number(&step(name)["critical"])).sum();
    assert!((critical + number(&live["outside"]) - 1.0).abs() < 1e-6, "all time is somebody's: {live}");
    let chain = &live["chains"][0];
    assert_eq!(chain["steps"], json!(["user", "price", "respond"]), "{live}");
    assert!(number(&chain["share"]) > 0.5, "{live}");

    let text = graph("checkout", "text").await;
    assert!(text.contains("longest chain: ") && text.contains(&format!("live: {all} requests, errors 0 %")), "{text}");
    let row = |name: &str| text.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{name}: {text}"));
    assert!(row("profile?").contains("100 %") && row("price ").contains(&format!("  {all} ")), "{text}");
    let paths = text.split_once("critical path\n").expect("they are told").1;
    assert!(paths.lines().next().is_some_and(|line| line.ends_with("user -> price -> respond")), "{text}");
    let dot = graph("checkout", "dot").await;
    assert!(dot.contains("\"price\" [label=\"price\\nget\\np50 ") && dot.contains("color="), "{dot}");
    assert!(dot.trim_end().ends_with('}') && dot.matches('{').count() == dot.matches('}').count(), "{dot}");
    let mermaid = graph("checkout", "mermaid").await;
    assert!(mermaid.contains("price<br/>p50 ") && mermaid.contains("style n2 stroke"), "{mermaid}");

    // Nothing has been asked of the other flow; a flow that is not there has no page.
    assert_eq!(gateway.ask("/flows/idle/latencies").await.json()["requests"], json!(0.0));
    let missing = gateway.ask("/flows/chekout/latencies").await;
    assert_eq!(missing.status, 404);
    assert_eq!(missing.json()["detail"], "no flow is named `chekout`: did you mean `checkout`?");
}

#[tokio::test]
async fn graph_says_why_nothing_was_measured() {
    let (gateway, _origins) = served(", token: open").await;
    let (admin, file) = (gateway.admin.to_string(), gateway.file.to_str().expect("the path is text").to_owned());
    let live = async |file: &str, extra: &[&str]| {
        zerver(&[&["graph", "checkout", "-c", file, "--live", &admin], extra].concat()).await
    };
    let refused = live(&file, &[]).await;
    assert_eq!((refused.code, refused.out.as_str()), (1, ""));
    assert!(refused.err.contains("the gateway wants a token: set ZER_ADMIN_TOKEN or give --token"), "{}", refused.err);
    assert_eq!(live(&file, &["--token", "open"]).await.code, 0);

    // A page of another version than the one that is served.
    let text = std::fs::read_to_string(&file).expect("the page can be read");
    let (_folder, newer) = page(&text.replace("version: 3", "version: 4"));
    let ran = live(newer.to_str().expect("the path is text"), &["--token", "open"]).await;
    assert_eq!(ran.code, 0);
    assert!(ran.err.contains("warning: this is checkout@4; the gateway serves checkout@3"), "{}", ran.err);
}

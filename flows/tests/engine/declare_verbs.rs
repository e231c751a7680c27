//! What steps of a YAML flow do besides plain calls: other flows, early answers, failures, answers of any status.
#![cfg(feature = "declare")]

use std::time::Duration;

use serde_json::json;
use zerver_flows::adapter::{EffectError, Priority};
use zerver_flows::declare::{Known, load_str};
use zerver_flows::fake::{Done, Fake};
use zerver_flows::replay::replay;
use zerver_flows::{Domain, Flow, Req};
use zerver_telemetry::event::Outcome;

const TARGETS: [&str; 3] = ["cart", "pay", "log"];

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn yaml(text: &str) -> Flow {
    load_str(text, Known::targets(&TARGETS)).unwrap_or_else(|problems| panic!("{problems:?}"))
}

/// Runs a flow and checks its timeline.
fn run(fake: &Fake, flow: &Flow, req: Req) -> Done {
    let done = fake.run(flow, req);
    done.timeline.check().unwrap();
    done
}

const DOOR: &str = r#"
flow: at-the-door
steps:
  denied:  { fail: { status: 401, message: "who are you?" }, when: "!has(request.headers.authorization)" }
  cart:    { get: "cart:/${request.query.id}", status: any, after: [denied] }
  missing:
    fail: { status: "${cart.status}", message: "no cart ${request.query.id}", code: no_such_cart }
    when: cart.status == 404
  empty:   { answer: { status: 204, headers: { x-why: empty } }, when: cart.status == 200 && cart.body.items.size() == 0 }
respond:
  json: { items: "${cart.body.items}", etag: "${cart.headers.etag}", status: "${cart.status}" }
"#;

#[test]
fn a_flow_answers_401_and_404_and_answers_early() {
    let mut fake = Fake::new();
    fake.on("GET cart:/full").header("etag", "e1").json(&json!({ "items": [1] }));
    fake.on("GET cart:/empty").json(&json!({ "items": [] }));
    fake.on("GET cart:").status(404).json(&json!({ "items": [] }));
    let asked = |target: &str| run(&fake, &yaml(DOOR), Req::get(target).with_header("authorization", "me"));

    let done = run(&fake, &yaml(DOOR), Req::get("/?id=full"));
    let fail = done.fail().unwrap();
    assert_eq!((fail.status.as_u16(), &*fail.message, fail.code), (401, "who are you?", "denied"));
    assert_eq!((fail.step.as_deref(), fail.domain, done.calls.len()), (Some("denied"), Domain::Client, 0));

    let done = asked("/?id=gone");
    let fail = done.fail().unwrap();
    assert_eq!((fail.status.as_u16(), &*fail.message, fail.code), (404, "no cart gone", "no_such_cart"));
    assert_eq!(done.node("cart").unwrap().outcome, Outcome::Ok, "404 is an answer");

    let done = asked("/?id=empty");
    assert_eq!((done.status(), done.text()), (204, String::new()));
    assert_eq!(done.outcome.result.as_ref().unwrap().headers["x-why"], "empty");

    let done = asked("/?id=full");
    assert_eq!(done.json(), json!({ "items": [1], "etag": "e1", "status": 200 }), "{:?}", done.fail());
    assert_eq!(done.node("denied").unwrap().outcome, Outcome::Skipped);
}

#[test]
fn a_failure_has_a_status_that_fails() {
    let flow =
        yaml("flow: odd-status\nsteps:\n  a: { fail: { status: '${request.query.s}' }, when: true }\nrespond: {}\n");
    let done = run(&Fake::new(), &flow, Req::get("/?s=200"));
    assert_eq!(done.fail().unwrap().code, "expression_failed");
    let flow = yaml("flow: no-message\nsteps:\n  a: { fail: { status: 410 }, when: true }\nrespond: {}\n");
    assert_eq!(&*run(&Fake::new(), &flow, Req::get("/")).fail().unwrap().message, "Gone");
}

const PRICES: &str = r#"
flow: price-of
steps:
  cents: { get: "pay:/price/${request.params.of}", status: any }
  none:  { answer: { status: 404 }, when: cents.status == 404 }
respond:
  json: { cents: "${cents.body}", q: "${request.query}", x: "${request.headers}", m: "${request.method}", b: "${request.body}", p: "${request.path}" }
"#;

const WHOLE: &str = r#"
flow: all-prices
steps:
  one:
    flow: price-of
    with: { path: "/p/${request.query.a}", params: { of: "${request.query.a}" }, query: { a: "1&2" }, headers: { x-a: b }, json: { n: 1 } }
  many: { each: "['a', 'gone']", max: 2, optional_items: true, flow: price-of, with: { params: { of: "${item}" } } }
  any:  { flow: price-of, with: { params: { of: gone } }, status: any }
respond: { json: ["${one}", "${many}", "${any.status}"] }
"#;

#[test]
fn another_flow_is_a_part_of_a_step() {
    let mut fake = Fake::new();
    fake.flow(yaml(PRICES));
    fake.on("GET pay:/price/gone").takes(ms(1)).status(404);
    fake.on("GET pay:/price/").takes(ms(5)).json(&990);
    let done = run(&fake, &yaml(WHOLE), Req::get("/whole?a=a"));
    let got = done.json();
    let one = json!({ "cents": 990, "q": { "a": "1&2" }, "x": { "x-a": "b", "content-type": "application/json" },
        "m": "POST", "b": { "n": 1 }, "p": "/p/a" });
    assert_eq!(got[0], one, "{:?}", done.fail());
    assert_eq!((&got[1][0]["cents"], &got[1][0]["m"], &got[1][0]["p"]), (&json!(990), &json!("GET"), &json!("/")));
    assert_eq!((&got[1][1], &got[2]), (&json!(null), &json!(404)));
    assert!(done.calls.iter().any(|call| call.step == "one.price-of.cents"), "{:?}", done.calls);
    assert_eq!(done.span("one.price-of.cents"), Some((ms(0), ms(5))));
}

#[test]
fn another_flow_may_answer_instead_and_gets_the_same_request() {
    let flow = yaml(
        r#"
flow: old-prices
steps:
  moved: { replace: price-of, when: request.query.v == '2' }
respond: { text: "old" }
"#,
    );
    let mut fake = Fake::new();
    fake.flow(yaml(PRICES));
    fake.on("GET pay:/price/a").json(&990);
    let req = |v: &str| Req::post(&format!("/old?v={v}"), &json!(7)).with_param("of", "a");
    assert_eq!(run(&fake, &flow, req("1")).text(), "old");
    let done = run(&fake, &flow, req("2"));
    let got = done.json();
    assert_eq!(
        (&got["cents"], &got["q"], &got["b"], &got["m"]),
        (&json!(990), &json!({ "v": "2" }), &json!(7), &json!("POST"))
    );
}

#[test]
fn a_page_may_answer_for_a_flow_that_failed() {
    let flow = yaml(
        r#"
flow: sorry-page
deadline: 20ms
steps:
  cart: { get: "cart:/" }
respond: { json: "${cart}" }
on_error:
  json:    { code: "${fail.code}", status: "${fail.status}", step: "${fail.step}", why: "${fail.message}", path: "${request.path}" }
  headers: { x-sorry: "yes" }
"#,
    );
    let mut fake = Fake::new();
    fake.on("GET cart:").takes(ms(3)).status(500);
    let done = run(&fake, &flow, Req::get("/mine"));
    assert_eq!(done.status(), 502, "without a status of its own it has the failure's");
    let why = "a service behind this one failed";
    let sorry = json!({ "code": "upstream_status", "status": 502, "step": "cart", "why": why, "path": "/mine" });
    assert_eq!((done.json(), done.outcome.failures.len()), (sorry, 1));
    let mut fake = Fake::new();
    fake.on("GET cart:").never();
    let done = run(&fake, &flow, Req::get("/"));
    assert_eq!((done.json()["code"].clone(), done.elapsed()), (json!("deadline_exceeded"), ms(20)));
    assert!(done.json()["step"].is_null());
    fake.on("GET cart:").json("well");

    let flow = yaml(
        "flow: sorry-no\nsteps:\n  cart: { get: 'cart:/' }\nrespond: { json: '${cart}' }\non_error: { text: '${1 / (fail.status - 502)}' }\n",
    );
    let mut fake = Fake::new();
    fake.on("GET cart:").status(500);
    let done = run(&fake, &flow, Req::get("/"));
    assert_eq!((done.status(), done.fail().unwrap().step.as_deref()), (502, Some("cart")), "the first failure is told");
    let mut fake = Fake::new();
    fake.on("GET cart:").json("well");
    assert_eq!(run(&fake, &flow, Req::get("/")).json(), json!("well"));
}

#[test]
fn optional_steps_are_waited_for_only_so_long() {
    let flow = yaml(
        r#"
flow: in-time
optional_within: 25ms
steps:
  slow: { get: "log:/", optional: true }
  cart: { get: "cart:/" }
respond: { text: "${cart}${slow.orValue('-')}" }
"#,
    );
    let mut fake = Fake::new();
    fake.on("GET cart:").takes(ms(10)).body("c");
    fake.on("GET log:").never();
    let done = run(&fake, &flow, Req::get("/"));
    assert_eq!((done.text(), done.elapsed()), ("c-".into(), ms(25)));
}

#[test]
fn a_write_is_tried_again_only_when_it_is_idempotent() {
    for (said, calls) in [("", 1), (", idempotent: true, priority: batch", 2)] {
        let flow = yaml(&format!(
            "flow: try-it\nsteps:\n  a: {{ post: 'pay:/', retry: 1{said} }}\nrespond: {{ json: '${{a}}' }}\n"
        ));
        let mut fake = Fake::new();
        fake.on("POST pay:").times(1).error(EffectError::Broken("reset".into()));
        fake.on("POST pay:").json(&7);
        let done = run(&fake, &flow, Req::get("/"));
        assert_eq!(done.calls.len(), calls);
        let keys: Vec<_> = done.calls.iter().map(|call| call.call.idempotency_key.clone()).collect();
        assert!(keys.iter().all(|key| *key == keys[0]), "{keys:?}");
        let priority = if said.is_empty() { Priority::Interactive } else { Priority::Batch };
        assert_eq!(done.calls[0].call.priority, priority);
        assert_eq!(replay(&flow, &done.journal).drifts, vec![]);
    }
}

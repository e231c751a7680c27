//! The checkout in virtual time: both forms do the same in every way it can go, and nobody pays for what they do not get.

use std::path::Path;
use std::time::Duration;

use http::Method;
use serde_json::{Value, json};
use zerver::gateway::{Page, check};
use zerver::plan::Own;
use zerver_flows::fake::{Done, Fake};
use zerver_flows::replay::replay;
use zerver_flows::{Flow, Req};
use zerver_telemetry::event::{NodeId, Outcome};

use crate::flow::checkout;

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// The flow of `zerver.yaml`.
fn from_yaml() -> Flow {
    let page = Page::File(Path::new(env!("CARGO_MANIFEST_DIR")).join("checkout/zerver.yaml"));
    let plan = check(&page, &Own::default(), &|_| None).unwrap_or_else(|rejected| panic!("{rejected}"));
    plan.flows["checkout"].flow().clone()
}

/// A world in which all is well, but for what `wrong` says first: the first rule that matches a call holds.
fn world(wrong: impl FnOnce(&mut Fake)) -> Fake {
    let mut fake = Fake::new();
    wrong(&mut fake);
    fake.on("GET accounts:/v1/me").takes(ms(3)).json(&json!({ "name": "ada" }));
    fake.on("GET accounts:/v1/profiles/ada").takes(ms(12)).json(&json!({ "greeting": "Good day, ada" }));
    fake.on("GET carts:/v1/carts/ada").takes(ms(8)).json(&json!({ "items": ["teapot"] }));
    fake.on("GET prices-eu:/v1/prices/ada").takes(ms(20)).json(&json!({ "cents": 2990 }));
    fake.on("GET prices-us:/v1/prices/ada").takes(ms(20)).json(&json!({ "cents": 3190 }));
    fake.on("POST pay:/v1/charges").takes(ms(15)).json(&json!({ "id": "charge-1", "user": "ada" }));
    fake.on("DELETE pay:/v1/charges/charge-1").takes(ms(10));
    fake.on("POST orders:/v1/orders").takes(ms(6)).json(&json!({ "id": "order-1" }));
    fake
}

/// The timeline node by node and the journal entry by entry, without what differs between any two runs. A branch of a
/// hedge has the name of what it does, which is a Rust step here and a method there.
fn told(done: &Done) -> Vec<String> {
    let path = |id: NodeId| done.timeline.path(id).replace("price.quote", "price.get");
    let nodes = done.timeline.nodes.iter().filter(|node| node.id != NodeId::ROOT).map(|n| {
        let states: Vec<_> = n.states.iter().map(|s| format!("{:?} {}..{}", s.cause, s.from_ns, s.to_ns)).collect();
        format!("{} {:?} {:?} {:?} {states:?}", path(n.id), n.kind, n.outcome, n.after.map(path))
    });
    let effects = done.journal.entries.iter().map(|e| format!("{} {} {:x}", e.key, e.asked, e.body_hash));
    nodes.chain(effects).collect()
}

/// Runs both forms in the same world, holds them against each other, and gives what came of the Rust one.
fn both(fake: &Fake) -> Done {
    let run = |flow: &Flow| {
        let done = fake.run(flow, Req::new(Method::POST, "/checkout").with_header("authorization", "Bearer ada"));
        done.timeline.check().unwrap();
        assert_eq!(replay(flow, &done.journal).drifts, vec![], "a replay asks for the same");
        done
    };
    let (rust, yaml) = (run(&checkout()), run(&from_yaml()));
    assert_eq!((rust.status(), rust.json()), (yaml.status(), yaml.json()), "{:?} {:?}", rust.fail(), yaml.fail());
    assert_eq!(told(&rust), told(&yaml));
    assert_eq!(rust.outcome.stuck.is_some(), yaml.outcome.stuck.is_some());
    rust
}

/// The calls whose line begins so.
fn calls<'d>(done: &'d Done, begins: &str) -> Vec<&'d str> {
    done.calls.iter().map(|call| call.line.as_str()).filter(|line| line.starts_with(begins)).collect()
}

fn sold(hello: &str, cents: u32) -> Value {
    json!({ "hello": hello, "items": ["teapot"], "cents": cents, "order": "order-1" })
}

#[test]
fn what_needs_only_the_user_runs_side_by_side() {
    let done = both(&world(|_| {}));
    assert_eq!((done.status(), done.json()), (200, sold("Good day, ada", 2990)));
    for (slot, from, to) in [("cart", 3, 11), ("profile", 3, 15), ("price", 3, 23), ("receipt", 23, 38)] {
        assert_eq!(done.span(slot), Some((ms(from), ms(to))), "{slot}");
    }
    assert_eq!((done.elapsed(), calls(&done, "GET prices-us").len()), (ms(3 + 20 + 15 + 6), 0));
}

#[test]
fn without_the_profile_the_greeting_is_plain() {
    let done = both(&world(|fake| {
        fake.on("GET accounts:/v1/profiles").takes(ms(5)).status(503);
    }));
    assert_eq!((done.status(), done.json()), (200, sold("Good day", 2990)));
    assert_eq!(done.outcome.failures[0].0, "profile");
}

#[test]
fn a_slow_price_is_asked_for_elsewhere_and_then_cancelled() {
    let done = both(&world(|fake| {
        fake.on("GET prices-eu").never();
    }));
    assert_eq!((done.status(), done.json()), (200, sold("Good day, ada", 3190)));
    assert_eq!(done.span("price"), Some((ms(3), ms(3 + 80 + 20))));
    let ends = |target: &str| {
        let end = format!(".{target}");
        let ends = done.timeline.nodes.iter().filter(|node| done.timeline.path(node.id).ends_with(&end));
        ends.map(|node| node.outcome).collect::<Vec<_>>()
    };
    assert_eq!((ends("prices-eu"), ends("prices-us")), (vec![Outcome::Cancelled], vec![Outcome::Ok]));
}

#[test]
fn a_charge_is_tried_again_under_the_same_key() {
    let done = both(&world(|fake| {
        fake.on("POST pay:").times(1).takes(ms(15)).status(503);
    }));
    assert_eq!((done.status(), done.json()), (200, sold("Good day, ada", 2990)));
    let charges: Vec<_> = done.calls.iter().filter(|call| call.line.starts_with("POST pay:")).collect();
    assert_eq!(charges.len(), 2);
    assert!(charges[0].call.idempotency_key.is_some());
    assert_eq!(charges[0].call.idempotency_key, charges[1].call.idempotency_key, "so `pay` charges once");
    assert_eq!(charges[0].call.body, charges[1].call.body);
    assert_eq!(calls(&done, "DELETE"), [""; 0]);
}

#[test]
fn an_order_that_fails_gives_the_money_back() {
    let done = both(&world(|fake| {
        fake.on("POST orders:").takes(ms(6)).status(409);
    }));
    let fail = done.fail().unwrap();
    assert_eq!((done.status(), fail.code, fail.step.as_deref()), (502, "upstream_status", Some("order")));
    assert_eq!(calls(&done, "DELETE"), ["DELETE pay:/v1/charges/charge-1"]);
    assert_eq!(done.node("undo_receipt").unwrap().outcome, Outcome::Ok);
    assert!(done.outcome.stuck.is_none());
}

#[test]
fn a_refund_that_fails_too_is_kept_and_can_go_on() {
    let done = both(&world(|fake| {
        fake.on("POST orders:").status(409);
        fake.on("DELETE pay:").takes(ms(10)).status(503);
    }));
    assert_eq!(calls(&done, "DELETE").len(), 4, "once and three times more");
    assert_eq!(done.fail().unwrap().step.as_deref(), Some("order"), "the failure stays what it was");
    let stuck = done.outcome.stuck.clone().expect("the money is still owed");
    assert_eq!((stuck.rest.as_slice(), stuck.why.step.as_deref()), (&["receipt".to_owned()][..], Some("undo_receipt")));

    // `pay` is back: the same run goes on where it stopped.
    let again = world(|_| {}).resume(&checkout(), &stuck).unwrap();
    assert!(again.outcome.stuck.is_none(), "{:?}", again.outcome.stuck);
    assert_eq!(calls(&again, ""), ["DELETE pay:/v1/charges/charge-1"], "nothing is charged or ordered again");
}

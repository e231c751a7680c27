//! The language of flows in YAML and in Rust: joins, loops, fallbacks and undoing give the same timeline and journal.
#![cfg(feature = "declare")]

use std::time::Duration;

use serde_json::{Value, json};
use zerver_flows::adapter::Priority;
use zerver_flows::declare::{Known, load_str};
use zerver_flows::fake::{Done, Fake};
use zerver_flows::join::Start;
use zerver_flows::replay::replay;
use zerver_flows::{Flow, Fx, Req, Response, Result, flow, step};
use zerver_telemetry::event::{NodeId, Outcome};

const TARGETS: [&str; 6] = ["eu", "us", "cart", "price", "pay", "log"];

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// Runs a flow and its replay, and holds what must always be so.
fn run(fake: &Fake, flow: &Flow, req: Req) -> Done {
    let done = fake.run(flow, req);
    done.timeline.check().unwrap();
    let again = replay(flow, &done.journal);
    assert_eq!(again.drifts, vec![], "a replay asks for the same");
    assert_eq!((again.done.status(), again.done.text()), (done.status(), done.text()));
    done
}

/// Everything of a timeline but its identities, with the calls and what the journal knows them by.
fn shape(done: &Done) -> Vec<String> {
    let path = |id: NodeId| done.timeline.path(id);
    let nodes = done.timeline.nodes.iter().filter(|node| node.id != NodeId::ROOT).map(|n| {
        let states: Vec<_> = n.states.iter().map(|s| format!("{:?} {}..{}", s.cause, s.from_ns, s.to_ns)).collect();
        format!("{} {:?} {:?} {:?} {states:?}", path(n.id), n.kind, n.outcome, n.after.map(path))
    });
    let calls = done.calls.iter().map(|call| format!("{} {}", call.step, call.line));
    nodes.chain(calls).collect()
}

fn yaml(text: &str) -> Flow {
    load_str(text, Known::targets(&TARGETS)).unwrap_or_else(|problems| panic!("{problems:?}"))
}

/// The answers and the timelines of both are the same; the one in YAML comes back.
fn same(fake: impl Fn() -> Fake, from_yaml: &Flow, from_rust: &Flow, target: &str) -> Done {
    let done = run(&fake(), from_yaml, Req::get(target));
    let rust = run(&fake(), from_rust, Req::get(target));
    assert_eq!((done.status(), done.json()), (rust.status(), rust.json()), "{:?} {:?}", done.fail(), rust.fail());
    assert_eq!(shape(&done), shape(&rust));
    done
}

#[step]
async fn get(to: &str, fx: &Fx<'_>) -> Result<Value> {
    fx.get(to).await?.json()
}
#[step]
async fn respond(value: &Value) -> Result<Response> {
    Response::json(value)
}

mod joins {
    use super::*;

    const HEDGED: &str = r#"
flow: hedged-read
steps:
  price: { get: ["eu:/", "us:/"], hedge: 80ms }
respond: { json: "${price}" }
"#;
    #[flow("hedged-read")]
    async fn hedged(req: &Req) -> Response {
        let price = hedge!(after 80ms: get("eu:/"), get("us:/"));
        respond(price)
    }

    #[test]
    fn a_hedge_is_the_same_in_both() {
        let flow = yaml(HEDGED);
        for (eu, us, answer, elapsed) in [(20, 5, "eu", 20), (200, 30, "us", 110), (100, 50, "eu", 100)] {
            let world = || {
                let mut fake = Fake::new();
                fake.on("GET eu:").takes(ms(eu)).json("eu");
                fake.on("GET us:").takes(ms(us)).json("us");
                fake
            };
            let done = same(world, &flow, &hedged(), "/");
            assert_eq!((done.json(), done.elapsed()), (json!(answer), ms(elapsed)));
        }
        let broken = || {
            let mut fake = Fake::new();
            fake.on("GET eu:").takes(ms(5)).status(503);
            fake.on("GET us:").takes(ms(7)).status(500);
            fake
        };
        let done = same(broken, &flow, &hedged(), "/");
        assert_eq!((done.status(), done.elapsed(), &*done.calls[1].step), (502, ms(12), "price.2"));
        assert!(done.node("price.get").is_some(), "a branch is named by what it does");
    }

    #[test]
    fn every_join_is_a_graph_of_branches() {
        let flow = yaml(
            r#"
flow: every-join
steps:
  a: { get: ["eu:/", "us:/"], hedge: p95 }
  b: { get: ["eu:/", "us:/"], hedge: "p90 or 30ms" }
  c: { get: ["eu:/", "us:/", "cart:/"], first_ok: true, sequential: true }
  d: { get: ["eu:/", "us:/", "cart:/"], at_most: 2, optional: true }
  e: { put: ["eu:/", "us:/", "cart:/"], quorum: 2, idempotent: true, priority: batch }
  f: { get: ["eu:/", "us:/"], race: true }
respond: { json: ["${a}", "${b}", "${c}", "${d.orValue([])}", "${e}", "${f}"] }
"#,
        );
        let nodes = flow.graph().nodes();
        let words: Vec<&str> = nodes.iter().map(|node| node.step.as_str()).collect();
        assert_eq!(words, ["hedge", "hedge", "first_ok", "all", "quorum", "race", "respond"]);
        let starts: Vec<Start> = nodes.iter().flat_map(|node| &node.inner).map(|inner| inner.join().start).collect();
        assert_eq!(starts[..2], [Start::AfterPercentile(95, ms(100)), Start::AfterPercentile(90, ms(30))]);
        assert_eq!(starts[2..4], [Start::OneByOne, Start::AtMost(2)]);
        assert_eq!(flow.targets(), ["cart", "eu", "us"]);
        let mut fake = Fake::new();
        fake.on("GET eu:").takes(ms(10)).status(500);
        fake.on("GET us:").takes(ms(5)).json("us");
        fake.on("GET cart:").takes(ms(5)).json("cart");
        fake.on("PUT eu:").takes(ms(1)).json("eu");
        fake.on("PUT").takes(ms(9)).json("other");
        let done = run(&fake, &flow, Req::get("/"));
        assert_eq!(done.json(), json!(["us", "us", "us", [], ["eu", "other"], "us"]), "{:?}", done.fail());
        let priorities = done.calls.iter().filter(|call| call.step.starts_with('e')).map(|call| call.call.priority);
        assert_eq!(priorities.collect::<Vec<_>>(), [Priority::Batch; 3]);
    }
}

mod loops {
    use super::*;

    const EACH: &str = r#"
flow: prices-of-items
steps:
  cart:   { get: "cart:/" }
  prices: { each: "${cart.items}", max: 6, parallel: 2, get: "price:/${item.id}?of=${cart.id}" }
  some:   { each: cart.items, max: 6, optional_items: true, get: "eu:/${item.id}" }
respond:
  json: { prices: "${prices}", some: "${some}", sum: "${some.map(s, s.orValue(0))}" }
"#;

    #[step]
    async fn get_price(item: &Value, cart: &Value, fx: &Fx<'_>) -> Result<Value> {
        let (item, cart) = (item["id"].as_str().unwrap_or_default(), cart["id"].as_str().unwrap_or_default());
        fx.get(format!("price:/{item}?of={cart}")).await?.json()
    }
    #[step]
    async fn get_eu(item: &Value, fx: &Fx<'_>) -> Result<Value> {
        fx.get(format!("eu:/{}", item["id"].as_str().unwrap_or_default())).await?.json()
    }
    #[step]
    async fn answer(prices: &[Value], some: &[Option<Value>]) -> Result<Response> {
        let sum: Vec<Value> = some.iter().map(|s| s.clone().unwrap_or(json!(0))).collect();
        Response::json(&json!({ "prices": prices, "some": some, "sum": sum }))
    }
    #[flow("prices-of-items")]
    async fn prices_of_items(req: &Req) -> Response {
        let cart = get("cart:/");
        let prices = each!(item in cart["items"].as_array().unwrap(), max 6, parallel 2: get_price(item, cart));
        let some = each!(item in cart["items"].as_array().unwrap(), max 6: optional get_eu(item));
        answer(prices, some)
    }

    fn world(items: &str) -> Fake {
        let items: Vec<Value> = items.chars().map(|id| json!({ "id": id.to_string() })).collect();
        let mut fake = Fake::new();
        fake.on("GET cart:").takes(ms(1)).json(&json!({ "id": "c7", "items": items }));
        fake.on("GET price:").takes(ms(10)).json(&5);
        fake.on("GET eu:/b").takes(ms(3)).status(404);
        fake.on("GET eu:").takes(ms(3)).json(&2);
        fake
    }

    /// As [`shape`], with what one front end calls a step and the other cannot.
    fn alike(done: &Done) -> Vec<String> {
        shape(done).iter().map(|line| line.replace("get_price", "get").replace("get_eu", "get")).collect()
    }

    #[test]
    fn a_loop_is_the_same_in_both() {
        for items in ["", "a", "abcde"] {
            let a = run(&world(items), &yaml(EACH), Req::get("/"));
            let b = run(&world(items), &prices_of_items(), Req::get("/"));
            assert_eq!((a.status(), a.json()), (b.status(), b.json()), "{:?} {:?}", a.fail(), b.fail());
            assert_eq!(alike(&a), alike(&b));
            assert_eq!(a.calls.len(), 1 + 2 * items.len());
        }
        let done = run(&world("ab"), &yaml(EACH), Req::get("/"));
        assert_eq!(done.json(), json!({ "prices": [5, 5], "some": [2, null], "sum": [2, 0] }));
        assert_eq!(done.calls[1].line, "GET price:/a?of=c7");
    }

    #[test]
    fn a_loop_takes_no_more_than_it_says() {
        let done = run(&world("abcdefg"), &yaml(EACH), Req::get("/"));
        assert_eq!((done.fail().unwrap().code, done.calls.len()), ("too_many_items", 1));
        let mut fake = Fake::new();
        fake.on("GET cart:").json(&json!({ "items": 7 }));
        let done = run(&fake, &yaml(EACH), Req::get("/"));
        let detail = done.fail().unwrap().detail.clone().unwrap();
        assert!(detail.contains("`cart.items` is") && detail.contains("where a list is due"), "{detail}");
    }
}

mod afterwards {
    use super::*;

    const SAGA: &str = r#"
flow: buy-it
steps:
  lock:    { post: "cart:/lock", cleanup: { delete: "cart:/lock/${lock.id}" } }
  receipt:
    post:  "pay:/v1/charges"
    after: [lock]
    undo:  { delete: "pay:/v1/charges/${receipt.id}?lock=${lock.id}" }
  shipped: { post: "eu:/ship", json: { of: "${receipt.id}" } }
respond: { json: { shipped: "${shipped}" } }
"#;

    #[step]
    async fn post(to: &str, fx: &Fx<'_>) -> Result<Value> {
        fx.post(to).await?.json()
    }
    #[step]
    async fn post_of(to: &str, of: &Value, fx: &Fx<'_>) -> Result<Value> {
        fx.post(to).json(&json!({ "of": of["id"] })).await?.json()
    }
    #[step]
    async fn unlock(lock: &Value, fx: &Fx<'_>) -> Result<()> {
        fx.delete(format!("cart:/lock/{}", lock["id"])).await?.ok()
    }
    #[step]
    async fn refund(receipt: &Value, lock: &Value, fx: &Fx<'_>) -> Result<()> {
        fx.delete(format!("pay:/v1/charges/{}?lock={}", receipt["id"], lock["id"])).await?.ok()
    }
    #[step]
    async fn shipped_it(shipped: &Value) -> Result<Response> {
        Response::json(&json!({ "shipped": shipped }))
    }
    #[flow("buy-it")]
    async fn buy_it(req: &Req) -> Response {
        #[cleanup(unlock(lock))]
        let lock = post("cart:/lock");
        #[after(lock)]
        #[compensate(refund(receipt, lock))]
        let receipt = post("pay:/v1/charges");
        let shipped = post_of("eu:/ship", receipt);
        shipped_it(shipped)
    }

    fn world(ship: u16) -> Fake {
        let mut fake = Fake::new();
        fake.on("POST cart:/lock").takes(ms(1)).json(&json!({ "id": 1 }));
        fake.on("POST pay:").takes(ms(10)).json(&json!({ "id": 2 }));
        fake.on("POST eu:/ship").takes(ms(5)).status(ship).json("yes");
        fake.on("DELETE").takes(ms(2));
        fake
    }

    #[test]
    fn undoing_and_cleaning_up_are_the_same_in_both() {
        for (ship, lines) in [
            (200, &["DELETE cart:/lock/1"][..]),
            (500, &["DELETE pay:/v1/charges/2?lock=1", "DELETE cart:/lock/1"][..]),
        ] {
            let done = same(|| world(ship), &yaml(SAGA), &buy_it(), "/");
            let deleted = done.calls.iter().map(|call| call.line.as_str()).filter(|line| line.starts_with("DELETE"));
            assert_eq!(deleted.collect::<Vec<_>>(), lines);
        }
        assert_eq!(yaml(SAGA).targets(), ["cart", "eu", "pay"]);
        assert!(yaml(SAGA).graph().has_undo());
    }

    #[test]
    fn an_undoing_that_fails_is_tried_again_and_then_told() {
        let mut fake = Fake::new();
        fake.on("POST eu:").status(500);
        fake.on("POST").json(&json!({ "id": 1 }));
        fake.on("DELETE pay:").status(503);
        fake.on("DELETE cart:").status(500);
        let done = fake.run(&yaml(SAGA), Req::get("/"));
        assert_eq!(done.calls.iter().filter(|call| call.line.starts_with("DELETE pay:")).count(), 4);
        let stuck = done.outcome.stuck.clone().expect("it is stuck");
        let mut back = Fake::new();
        back.on("DELETE pay:/v1/charges/1?lock=1");
        back.on("DELETE cart:");
        let again = back.resume(&yaml(SAGA), &stuck).unwrap();
        assert!(again.outcome.stuck.is_none(), "{:?}", again.outcome.stuck);
        assert!(again.calls.iter().all(|call| !call.line.starts_with("POST")), "nothing is bought again");
        assert_eq!(done.fail().unwrap().step.as_deref(), Some("shipped"), "the failure stays what it was");
        assert_eq!(done.node("cleanup_lock").unwrap().outcome, Outcome::Error);
    }

    #[test]
    fn an_undo_sees_its_own_slot_as_written_even_when_others_may_not() {
        let flow = yaml(
            r#"
flow: perhaps-pay
steps:
  receipt: { post: "pay:/", when: "request.query.pay == 'yes'", undo: { delete: "pay:/${receipt.id}" } }
  after_it: { get: "eu:/", after: [receipt] }
respond: { json: {} }
"#,
        );
        let mut fake = Fake::new();
        fake.on("POST pay:").json(&json!({ "id": 3 }));
        fake.on("GET eu:").status(500);
        fake.on("DELETE pay:/3");
        assert_eq!(run(&fake, &flow, Req::get("/?pay=yes")).calls.len(), 3);
        assert_eq!(run(&fake, &flow, Req::get("/?pay=no")).calls.len(), 1);
    }
}

mod fallbacks {
    use super::*;

    const FALLBACK: &str = r#"
flow: with-fallback
steps:
  price: { get: "price:/", timeout: 30ms, retry: 1, fallback: { get: "eu:/" } }
respond: { json: "${price}" }
"#;
    #[flow("with-fallback")]
    async fn with_fallback(req: &Req) -> Response {
        #[timeout("30ms")]
        #[retry(1)]
        #[fallback(get("eu:/"))]
        let price = get("price:/");
        respond(price)
    }

    #[test]
    fn a_fallback_is_the_same_in_both() {
        for (price, answer, took) in [(Some(200), "price", 5), (Some(500), "eu", 9), (None, "eu", 34)] {
            let world = || {
                let mut fake = Fake::new();
                match price {
                    Some(status) => fake.on("GET price:").takes(ms(5)).status(status).json("price"),
                    None => fake.on("GET price:").never(),
                };
                fake.on("GET eu:").takes(ms(4)).json("eu");
                fake
            };
            let done = same(world, &yaml(FALLBACK), &with_fallback(), "/");
            assert_eq!((done.json(), done.elapsed()), (json!(answer), ms(took)));
        }
    }

    #[test]
    fn a_value_may_stand_in_and_may_read_other_slots() {
        let flow = yaml(
            r#"
flow: usual-price
steps:
  cart:  { get: "cart:/" }
  price: { get: "price:/", fallback: { set: { cents: "${cart.cents}", guessed: true } } }
respond: { json: "${price}" }
"#,
        );
        let mut fake = Fake::new();
        fake.on("GET cart:").json(&json!({ "cents": 990 }));
        fake.on("GET price:").status(404);
        assert_eq!(run(&fake, &flow, Req::get("/")).json(), json!({ "cents": 990, "guessed": true }));
        assert_eq!(flow.graph().nodes()[1].reads, ["cart"]);
    }
}

//! Flows from YAML: the same graph and the same timeline as in Rust, and errors that name place and remedy.
#![cfg(feature = "declare")]

use std::time::Duration;

use serde_json::{Value, json};
use zerver_flows::declare::{Known, load_str};
use zerver_flows::fake::{Done, Fake};
use zerver_flows::{Flow, Fx, Req, Response, Result, flow, step};

const TARGETS: [&str; 5] = ["auth", "cart", "profile", "price", "pay"];

const CHECKOUT: &str = r#"
flow: checkout
version: 3
owner: payments
deadline: 2s
steps:
  user:     { get: "auth:/v1/me", headers: { authorization: "${request.headers.authorization}" } }
  cart:     { get: "cart:/v1/carts/${user.id}" }
  profile:  { get: "profile:/v1/users/${user.id}", optional: true, timeout: 300ms }
  price:    { get: "price:/v1/quote?user=${user.id}" }
respond:
  json:     { hello: "${profile.?name.orValue('guest')}", cart: "${cart.id}", cents: "${price.cents}" }
"#;

#[step]
async fn get(req: &Req, fx: &Fx<'_>) -> Result<Value> {
    fx.get("auth:/v1/me").header("authorization", req.header("authorization").unwrap_or("")).await?.json()
}
#[step]
async fn get_by_id(user: &Value, target: &str, fx: &Fx<'_>) -> Result<Value> {
    fx.get(format!("{target}{}", user["id"])).await?.json()
}
#[step]
async fn respond(profile: Option<&Value>, cart: &Value, price: &Value) -> Result<Response> {
    let hello = profile.map_or(json!("guest"), |profile| profile["name"].clone());
    Response::json(&json!({ "hello": hello, "cart": cart["id"], "cents": price["cents"] }))
}
#[flow("checkout", version = 3, owner = "payments", deadline = "2s")]
async fn checkout(req: &Req) -> Response {
    let user = get(req);
    let cart = get_by_id(user, "cart:/v1/carts/");
    #[optional]
    #[timeout("300ms")]
    let profile = get_by_id(user, "profile:/v1/users/");
    let price = get_by_id(user, "price:/v1/quote?user=");
    respond(profile, cart, price)
}

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn run(flow: &Flow, profile_status: u16) -> Done {
    let mut fake = Fake::new();
    fake.on("GET auth:").takes(ms(2)).json(&json!({ "id": 7 }));
    fake.on("GET cart:/v1/carts/7").takes(ms(10)).json(&json!({ "id": "c1" }));
    fake.on("GET profile:/v1/users/7").takes(ms(40)).status(profile_status).json(&json!({ "name": "Ada" }));
    fake.on("GET price:/v1/quote?user=7").takes(ms(30)).json(&json!({ "cents": 990 }));
    fake.run(flow, Req::get("/checkout").with_header("authorization", "Bearer x"))
}

/// Everything of a timeline but its identities.
fn shape(done: &Done) -> Vec<String> {
    let node = |n: &zerver_telemetry::timeline::Node| {
        let states: Vec<_> =
            n.states.iter().map(|s| format!("{:?} {}..{} {:?}", s.cause, s.from_ns, s.to_ns, s.woken_by)).collect();
        format!("{} {:?} {:?} {:?} {:?} {states:?}", n.name, n.kind, n.parent, n.after, n.outcome)
    };
    done.timeline.nodes.iter().map(node).collect()
}

#[test]
fn the_same_flow_in_yaml_and_in_rust_is_the_same() {
    let yaml = load_str(CHECKOUT, Known::targets(&TARGETS)).unwrap();
    let rust = checkout();
    let edges = |flow: &Flow| {
        let nodes = flow.graph().nodes().iter();
        nodes.map(|n| (n.name.to_string(), n.deps, n.optional, n.timeout)).collect::<Vec<_>>()
    };
    assert_eq!(edges(&yaml), edges(&rust));
    assert_eq!((yaml.slug(), yaml.version(), yaml.graph().deadline()), (rust.slug(), 3, rust.graph().deadline()));
    assert_eq!(yaml.targets(), ["auth", "cart", "price", "profile"]);
    for status in [200, 503] {
        let (a, b) = (run(&yaml, status), run(&rust, status));
        assert_eq!((a.status(), a.json()), (200, b.json()));
        assert_eq!(a.json()["hello"], if status == 200 { "Ada" } else { "guest" });
        assert_eq!(shape(&a), shape(&b));
        a.timeline.check().unwrap();
        assert_eq!(a.elapsed(), ms(42));
        assert_eq!(a.calls[0].call.headers["authorization"], "Bearer x");
    }
}

#[test]
fn every_verb_and_modifier() {
    let flow = load_str(
        r#"
flow: all-verbs
steps:
  total:   { set: { cents: "${request.body.items.map(i, i.cents).size() * 10}", who: "id-${request.params.id}" } }
  created: { post: "pay:/v1/charges/${total.who}", json: { cents: "${total.cents}", list: [1, "${total.who}"] } }
  big:     { put: "pay:/v1/big", body: "n=${total.cents}", when: total.cents > 100, after: [created] }
  small:   { patch: "pay:/v1/small", when: "${total.cents <= 100}" }
  gone:    { delete: "pay:/v1/a?b=${request.query.q}" }
respond:
  status:  201
  headers: { x-who: "${total.who}" }
  text:    "${created.id} ${small.hasValue()} ${big.hasValue()}"
"#,
        Known::targets(&TARGETS),
    )
    .unwrap();
    let mut fake = Fake::new();
    fake.on("POST pay:/v1/charges/id-a%2Fb").takes(ms(5)).json(&json!({ "id": "r1" }));
    fake.on("PATCH pay:/v1/small").takes(ms(1)).json(&json!({}));
    fake.on("DELETE pay:/v1/a?b=x%26y");
    let req = Req::post("/x?q=x%26y", &json!({ "items": [{ "cents": 1 }, { "cents": 2 }] })).with_param("id", "a/b");
    let done = fake.run(&flow, req);
    assert_eq!((done.status(), done.text()), (201, "r1 true false".into()), "{:?}", done.fail());
    assert_eq!(done.outcome.result.as_ref().unwrap().headers["x-who"], "id-a/b");
    let post = &done.calls.iter().find(|call| call.step == "created").unwrap().call;
    assert_eq!(post.body, r#"{"cents":20,"list":[1,"id-a/b"]}"#);
    assert!(post.idempotency_key.is_some());
    assert_eq!(done.node("big").unwrap().outcome, zerver_telemetry::event::Outcome::Skipped);
    assert_eq!(done.span("big").unwrap().0, ms(5));
}

#[test]
fn calls_of_one_step_are_joined() {
    let yaml = r#"
flow: joined-calls
steps:
  price: { get: ["price:/eu", "price:/us"], hedge: 10ms }
  both:  { get: ["cart:/1", "cart:/2"] }
  two:   { get: ["pay:/1", "pay:/2", "pay:/3"], quorum: 2 }
  any:   { get: ["auth:/1", "auth:/2"], first_ok: true }
respond: { json: ["${price}", "${both}", "${two}", "${any}"] }
"#;
    let flow = load_str(yaml, Known::targets(&TARGETS)).unwrap();
    let mut fake = Fake::new();
    fake.on("GET price:/eu").takes(ms(50)).json("eu");
    fake.on("GET price:/us").takes(ms(5)).json("us");
    for n in 1..=3 {
        fake.on(&format!("GET cart:/{n}")).takes(ms(n)).json(&n);
        fake.on(&format!("GET pay:/{n}")).takes(ms(10 - n)).json(&n);
    }
    fake.on("GET auth:/1").status(500);
    fake.on("GET auth:/2").takes(ms(4)).json("two");
    let done = fake.run(&flow, Req::get("/"));
    assert_eq!((done.json(), done.elapsed()), (json!(["us", [1, 2], [2, 3], "two"]), ms(15)), "{:?}", done.fail());
    let wrong = |step: &str| problems(&format!("  a: {step}"), "{}").join("\n");
    assert!(wrong("{ get: 'cart:/', race: true }").contains("joins several calls, and there is one"));
    assert!(wrong("{ post: ['cart:/', 'pay:/'], hedge: 5ms }").contains("a `post` may happen more than once"));
    assert!(wrong("{ get: ['cart:/', 'pay:/'], race: true, quorum: 1 }").contains("in one way"));
    assert!(wrong("{ get: ['cart:/', 'pay:/'], quorum: 3 }").contains("from 1 to that of the calls"));
    assert!(wrong("{ get: [] }").contains("a step joins 1 to 16 calls"));
}

#[test]
fn a_call_is_tried_again() {
    let yaml = "flow: try-again\nsteps:\n  a: { get: 'cart:/', retry: 1 }\nrespond: { json: '${a}' }\n";
    let flow = load_str(yaml, Known::targets(&TARGETS)).unwrap();
    let mut fake = Fake::new();
    fake.on("GET cart:").times(1).status(502);
    fake.on("GET cart:").json(&7);
    let done = fake.run(&flow, Req::get("/"));
    assert_eq!((done.json(), done.calls.len(), flow.graph().nodes()[0].retries), (json!(7), 2, 1));
    let wrong = problems("  a: { get: 'cart:/', retry: 11 }", "{}");
    assert_eq!(wrong, ["3:30: steps.a.retry: a step may be tried again 1 to 10 times"]);
}

#[test]
fn an_expression_that_fails_says_which_and_tells_the_client_nothing() {
    let yaml = "flow: bad-math\nsteps:\n  a: { set: '${request.query.n / 0}' }\nrespond: { json: '${a}' }\n";
    let done = Fake::new().run(&load_str(yaml, Known::default()).unwrap(), Req::get("/?n=1"));
    let fail = done.fail().unwrap();
    assert_eq!((fail.status.as_u16(), fail.code, fail.step.as_deref()), (500, "expression_failed", Some("a")));
    assert!(fail.detail.as_ref().unwrap().contains("`request.query.n / 0`"), "{fail}");
    assert_eq!(&*fail.message, "the flow failed");
}

/// `steps` is put into a sound page; the problems come out as `line:column: message; help`.
fn problems(steps: &str, respond: &str) -> Vec<String> {
    let yaml = format!("flow: checkout\nsteps:\n{steps}\nrespond: {respond}\n");
    load_str(&yaml, Known::targets(&TARGETS)).unwrap_err().iter().map(ToString::to_string).collect()
}

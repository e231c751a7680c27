//! The checkout flow in virtual time: what runs beside what, what it costs, and what the timeline says of it.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::json;
use zerver_flows::fake::{Done, Fake};
use zerver_flows::{Flow, Fx, Req, Response, Result, flow, step};
use zerver_telemetry::event::{Cause, NodeId, Outcome, StateKind};
use zerver_telemetry::timeline::Timeline;

#[derive(Debug, Deserialize)]
struct User {
    id: u32,
}
#[derive(Debug, Deserialize, Serialize)]
struct Cart {
    id: String,
}
#[derive(Debug, Deserialize)]
struct Profile {
    name: String,
}
#[derive(Debug, Deserialize)]
struct Price {
    cents: u32,
}

/// Who is it?
#[step(targets("auth"))]
async fn auth(req: &Req, fx: &Fx<'_>) -> Result<User> {
    fx.get("auth:/v1/me").header("authorization", req.header("authorization").unwrap_or("")).await?.json()
}
#[step(targets("cart"))]
async fn load_cart(user: &User, fx: &Fx<'_>) -> Result<Cart> {
    fx.get(format!("cart:/v1/carts/{}", user.id)).await?.json()
}
#[step(timeout = "300ms", targets("profile"))]
async fn load_profile(user: &User, fx: &Fx<'_>) -> Result<Profile> {
    fx.get(format!("profile:/v1/users/{}", user.id)).await?.json()
}
#[step(targets("price"))]
async fn quote(user: &User, fx: &Fx<'_>) -> Result<Price> {
    fx.get("price:/v1/quote").query("user", user.id.to_string()).await?.json()
}
#[step]
async fn respond(cart: &Cart, profile: Option<&Profile>, price: &Price, fx: &Fx<'_>) -> Result<Response> {
    let why = fx.failure("profile").and_then(|fail| fail.upstream_status).map(|status| status.as_u16());
    let hello = profile.map_or("guest", |profile| &profile.name);
    Response::json(&json!({ "hello": hello, "cart": cart.id, "cents": price.cents, "profile_status": why }))
}

#[flow("checkout", version = 3, owner = "payments", deadline = "2s")]
async fn checkout(req: &Req) -> Response {
    let user = auth(req);
    let cart = load_cart(user);
    #[optional]
    let profile = load_profile(user);
    let price = quote(user);
    respond(cart, profile, price)
}

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn world() -> Fake {
    let mut fake = Fake::new();
    fake.on("GET auth:").takes(ms(2)).json(&json!({ "id": 7 }));
    fake.on("GET cart:/v1/carts/7").takes(ms(10)).json(&json!({ "id": "c1" }));
    fake.on("GET price:/v1/quote?user=7").takes(ms(30)).json(&json!({ "cents": 990 }));
    fake
}

/// Walks the critical path back from the end (`docs/explain.md`) and gives back what it cannot account for.
fn unaccounted(timeline: &Timeline) -> u64 {
    let mut lost = 0;
    let mut covered = 0;
    let mut stack = vec![(NodeId::ROOT, 0, timeline.latency_ns)];
    while let Some((id, low, mut high)) = stack.pop() {
        let node = timeline.node(id).unwrap();
        for state in node.states.iter().rev() {
            let (from, to) = (state.from_ns.clamp(low, high), state.to_ns.clamp(low, high));
            let next = node.states.iter().find(|next| next.from_ns == state.to_ns && next.woken_by.is_some());
            match (state.cause, next.and_then(|next| next.woken_by)) {
                (Cause::Join, Some(by)) if to > from => stack.push((by, from, to)),
                _ => covered += to - from,
            }
            high = high.min(from);
        }
        match node.after {
            Some(after) if high > low => stack.push((after, low, high)),
            _ => lost += high - low,
        }
    }
    assert_eq!(covered + lost, timeline.latency_ns);
    lost
}

fn check(done: &Done) {
    done.timeline.check().unwrap();
    assert_eq!(unaccounted(&done.timeline), 0, "{:#?}", done.timeline);
}

#[test]
fn steps_overlap_and_an_optional_one_may_fail() {
    let mut fake = world();
    fake.on("GET profile:").takes(ms(40)).status(503);
    let done = fake.run(&checkout(), Req::get("/checkout"));
    assert_eq!(done.status(), 200);
    assert_eq!(done.json(), json!({ "hello": "guest", "cart": "c1", "cents": 990, "profile_status": 503 }));
    assert_eq!(done.elapsed(), ms(42));
    for (path, from, to) in [
        ("user", 0, 2),
        ("user.auth", 0, 2),
        ("cart", 2, 12),
        ("profile", 2, 42),
        ("profile.profile", 2, 42),
        ("price", 2, 32),
        ("respond", 42, 42),
    ] {
        assert_eq!(done.span(path), Some((ms(from), ms(to))), "{path}");
    }
    check(&done);
    let node = |path| done.node(path).unwrap();
    assert_eq!((node("profile").outcome, node("profile.profile").status), (Outcome::Error, 503));
    assert_eq!(node("respond").after, Some(node("profile").id));
    assert_eq!(node("cart").after, Some(node("user").id));
    assert_eq!(node("cart").split().park_ns, 10_000_000);
    assert_eq!(node("cart.cart").states[0].cause.kind(), StateKind::Park);
    assert_eq!((done.timeline.status, done.timeline.flow.as_deref()), (200, Some("checkout")));
    assert_eq!(done.outcome.failures.len(), 1);
}

#[test]
fn a_required_failure_cancels_the_rest() {
    let mut fake = Fake::new();
    fake.on("GET auth:").takes(ms(2)).json(&json!({ "id": 7 }));
    fake.on("GET cart:").takes(ms(10)).status(500);
    fake.on("GET profile:").never();
    fake.on("GET price:").takes(ms(30));
    let done = fake.run(&checkout(), Req::get("/checkout"));
    let fail = done.fail().unwrap();
    assert_eq!((fail.status.as_u16(), fail.code, fail.step.as_deref()), (502, "upstream_status", Some("cart")));
    assert_eq!(fail.to_string(), "step `cart`: GET cart:/v1/carts/7 answered 500 (upstream_status)");
    assert_eq!(done.elapsed(), ms(12));
    for path in ["profile", "profile.profile", "price", "price.price"] {
        let node = done.node(path).unwrap();
        assert_eq!((node.outcome, node.end_ns), (Outcome::Cancelled, 12_000_000), "{path}");
    }
    assert!(done.node("respond").is_none());
    check(&done);
}

#[test]
fn a_steps_own_timeout_and_the_flows_deadline() {
    let mut fake = world();
    fake.on("GET profile:").never();
    let done = fake.run(&checkout(), Req::get("/checkout"));
    assert_eq!((done.status(), done.elapsed()), (200, ms(302)));
    assert_eq!(done.node("profile").unwrap().outcome, Outcome::Timeout);
    assert_eq!(done.outcome.failures[0].1.code, "step_timeout");
    check(&done);

    let mut fake = world();
    fake.on("GET profile:").never();
    fake.deadline(ms(20));
    let done = fake.run(&checkout(), Req::get("/checkout"));
    let fail = done.fail().unwrap();
    assert_eq!((fail.status.as_u16(), fail.code, done.elapsed()), (504, "deadline_exceeded", ms(20)));
    assert_eq!(fail.detail.as_deref(), Some("the deadline passed while waiting for profile, price"));
    check(&done);
}

#[test]
fn calls_carry_the_trace_the_deadline_and_an_idempotency_key() {
    let mut fake = world();
    fake.on("GET profile:").json(&json!({ "name": "Ada" }));
    let done = fake.run(&checkout(), Req::get("/checkout").with_header("authorization", "Bearer x"));
    assert_eq!(done.json()["hello"], "Ada");
    let call = &done.calls[0].call;
    assert_eq!((&*call.target, call.path_and_query.as_str()), ("auth", "/v1/me"));
    assert_eq!(call.headers["authorization"], "Bearer x");
    let parent = call.headers["traceparent"].to_str().unwrap();
    assert!(parent.starts_with(&format!("00-{}-", done.timeline.trace_id)) && parent.ends_with("-03"), "{parent}");
    assert!(call.deadline.is_some() && call.idempotency_key.is_none());
}

#[test]
fn the_graph_follows_from_the_names() {
    let flow: Flow = checkout();
    assert_eq!(flow.targets(), ["auth", "cart", "price", "profile"]);
    let expected = "\
checkout@3  owner payments  deadline 2s
  0  user      auth          calls auth
  1  cart      load_cart     <- user  calls cart
     profile?  load_profile  <- user  within 300ms  calls profile
     price     quote         <- user  calls price
  2  respond   respond       <- cart, profile, price
longest chain: user -> profile -> respond
? may be missing: its readers see an option
";
    assert_eq!(flow.graph().to_text(), expected);
    assert_eq!(flow.graph().nodes()[0].doc, "Who is it?");
    assert!(flow.graph().head().file.ends_with("checkout.rs") && flow.graph().nodes()[1].line > 0);
}

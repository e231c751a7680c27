//! Steps written in Rust, called from pages: the same run as in a Rust flow, and arguments checked with their place.
#![cfg(feature = "declare")]

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use zerver_flows::declare::{Known, load_str};
use zerver_flows::fake::{Done, Fake};
use zerver_flows::replay::replay;
use zerver_flows::{Domain, Exposed, Flow, Fx, Kind, Req, Response, Result, flow, step};

const TARGETS: [&str; 3] = ["users", "carts", "log"];

#[derive(Clone, Debug, Deserialize, Serialize)]
struct User {
    id: u32,
    name: String,
}

#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
enum Currency {
    Eur,
    Usd,
}

/// Who asks.
#[step(expose, targets("users"))]
async fn load_user(req: &Req, fx: &Fx<'_>) -> Result<User> {
    fx.get(format!("users:/{}", req.query("user").unwrap_or("0"))).await?.json()
}

/// What may be off.
#[step(expose, targets("users"), timeout = "20ms")]
async fn load_bonus(user: &User, fx: &Fx<'_>) -> Result<u32> {
    fx.get(format!("users:/{}/bonus", user.id)).await?.json()
}

/// The prices in a cart.
///
/// In cents.
#[step(expose, targets("carts"), timeout = "300ms", idempotent)]
async fn load_cart(user: &User, region: &str, fx: &Fx<'_>) -> Result<Vec<u32>> {
    fx.post(format!("carts:/{region}/{}", user.id)).await?.json()
}

/// Their sum.
#[step(expose)]
async fn add_up(prices: &[u32], bonus: Option<&u32>) -> Result<u32> {
    Ok(prices.iter().sum::<u32>() - bonus.copied().unwrap_or(0))
}

/// What is paid.
#[step(expose)]
async fn pay(cents: &u32, currency: &Currency, tags: Option<&[String]>, exact: Option<&bool>) -> Result<Value> {
    Ok(json!({ "cents": cents, "currency": currency, "tags": tags, "exact": exact }))
}

/// Takes it out again.
#[step(expose, targets("log"), timeout = "7ms")]
async fn take_back(what: &str, fx: &Fx<'_>) -> Result<()> {
    fx.delete(format!("log:/{what}")).await?;
    Ok(())
}

#[step(expose)]
async fn fail() -> Result<u32> {
    Ok(7)
}

#[step]
async fn respond(user: &User, cents: &u32) -> Result<Response> {
    Response::json(&json!({ "hello": user.name, "cents": cents }))
}

#[flow("the-shop")]
async fn shop(req: &Req) -> Response {
    let user = load_user(req);
    #[optional]
    let bonus = load_bonus(user);
    let cart = load_cart(user, "eu");
    let cents = add_up(cart, bonus);
    respond(user, cents)
}

const SHOP: &str = r#"
flow: the-shop
steps:
  user:  { call: load_user }
  bonus: { call: load_bonus, args: { user: "${user}" }, optional: true }
  cart:  { call: load_cart, args: { user: "${user}", region: eu } }
  cents: { call: add_up, args: { prices: "${cart}", bonus: "${bonus}" } }
respond: { json: { hello: "${user.name}", cents: "${cents}" } }
"#;

fn steps() -> [Exposed; 7] {
    [
        load_user::exposed(),
        load_bonus::exposed(),
        load_cart::exposed(),
        add_up::exposed(),
        pay::exposed(),
        take_back::exposed(),
        fail::exposed(),
    ]
}

fn load(yaml: &str) -> std::result::Result<Flow, Vec<String>> {
    let steps = steps();
    let known = Known { targets: &TARGETS, steps: &steps, ..Known::default() };
    load_str(yaml, known).map_err(|found| found.iter().map(ToString::to_string).collect())
}

fn yaml(text: &str) -> Flow {
    load(text).unwrap_or_else(|found| panic!("{found:#?}"))
}

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn run(flow: &Flow, bonus: u16) -> Done {
    let mut fake = Fake::new();
    fake.on("GET users:/7/bonus").takes(ms(5)).status(bonus).json(&5);
    fake.on("GET users:/7").takes(ms(2)).json(&json!({ "id": 7, "name": "Ada" }));
    fake.on("POST carts:/eu/7").takes(ms(10)).json(&json!([10, 20]));
    let done = fake.run(flow, Req::get("/?user=7"));
    done.timeline.check().unwrap();
    done
}

/// Everything of a timeline but its identities.
fn shape(done: &Done) -> Vec<String> {
    let node = |n: &zerver_telemetry::timeline::Node| {
        let states: Vec<_> =
            n.states.iter().map(|s| format!("{:?} {}..{} {:?}", s.cause, s.from_ns, s.to_ns, s.woken_by)).collect();
        format!("{} {:?} {:?} {:?} {states:?}", done.timeline.path(n.id), n.kind, n.after, n.outcome)
    };
    done.timeline.nodes.iter().map(node).collect()
}

#[test]
fn a_step_is_the_same_in_a_page_and_in_a_rust_flow() {
    let (page, rust) = (yaml(SHOP), shop());
    let known = |flow: &Flow| {
        let nodes = flow.graph().nodes().iter().filter(|node| &*node.name != "respond");
        let node = |n: &zerver_flows::graph::GraphNode| {
            (n.step.clone(), n.doc.clone(), n.deps, n.optional, n.timeout, n.idempotent, n.targets.clone())
        };
        nodes.map(node).collect::<Vec<_>>()
    };
    assert_eq!(known(&page), known(&rust));
    assert_eq!(known(&page)[2].1, "The prices in a cart.\n\nIn cents.");
    for (bonus, cents) in [(200, 25), (503, 30)] {
        let (a, b) = (run(&page, bonus), run(&rust, bonus));
        assert_eq!((a.json(), a.status()), (json!({ "hello": "Ada", "cents": cents }), 200), "{:?}", a.fail());
        assert_eq!((a.json(), shape(&a)), (b.json(), shape(&b)));
        assert_eq!(a.journal.entries, b.journal.entries);
        assert_eq!(a.journal.entries.len(), 3);
        assert_eq!(replay(&page, &b.journal).drifts, vec![]);
    }
}

#[test]
fn an_exposed_step_says_what_it_is() {
    let cart = load_cart::exposed();
    assert_eq!((cart.name(), cart.doc()), ("load_cart", "The prices in a cart.\n\nIn cents."));
    assert_eq!((cart.timeout(), cart.targets(), cart.is_idempotent()), (Some(ms(300)), &["carts"][..], true));
    let said = |step: Exposed| step.arguments().iter().map(|a| (a.name, a.is_optional, a.kind)).collect::<Vec<_>>();
    assert_eq!(said(cart), [("user", false, Kind::Any), ("region", false, Kind::Text)]);
    assert_eq!(said(add_up::exposed()), [("prices", false, Kind::List), ("bonus", true, Kind::Number)]);
    assert_eq!(said(load_user::exposed()), []);
}

#[test]
fn what_goes_with_a_call_of_a_step() {
    let flow = yaml(
        r#"
flow: with-all
steps:
  user:  { call: load_user, timeout: 1s, retry: 1, priority: batch, sensitive: true }
  many:  { each: "['eu', 'us']", max: 2, parallel: 1, call: load_cart, args: { user: "${user}", region: "${item}" } }
  maybe: { call: fail, when: "false", after: [many] }
  cents: { call: load_bonus, args: { user: "${user}" }, fallback: { call: add_up, args: { prices: [4] } } }
  paid:
    call: pay
    args: { cents: "${cents}", currency: eur, tags: ["t", "${user.name}"], exact: null }
    undo: { call: take_back, args: { what: "paid-${paid.cents}" } }
    cleanup: { call: take_back, args: { what: lock } }
  other: { call: fail, after: [paid] }
  more:  { get: "log:/broken", after: [other] }
respond: { json: ["${maybe.hasValue()}", "${other}", "${more}"] }
"#,
    );
    let nodes = flow.graph().nodes();
    let item = &nodes[1].inner.as_ref().unwrap().nodes()[0];
    assert_eq!((item.step.as_str(), item.timeout, item.idempotent), ("load_cart", Some(ms(300)), true));
    assert_eq!((nodes[0].timeout, nodes[0].retries), (Some(ms(1000)), 1));
    let inner = nodes[3].inner.as_ref().unwrap().nodes();
    assert_eq!(
        (inner[0].step.as_str(), inner[0].timeout, inner[1].step.as_str()),
        ("load_bonus", Some(ms(20)), "add_up")
    );
    let undo = nodes[4].undo.as_ref().unwrap();
    assert_eq!((undo.step.as_str(), undo.timeout), ("take_back", Some(ms(7))));

    let mut fake = Fake::new();
    fake.on("GET users:/7/bonus").status(500);
    fake.on("GET users:/7").times(1).status(503);
    fake.on("GET users:/7").json(&json!({ "id": 7, "name": "Ada" }));
    fake.on("POST carts:/eu/7").json(&json!([1]));
    fake.on("POST carts:/us/7").json(&json!([2]));
    fake.on("GET log:/broken").status(500);
    fake.on("DELETE log:/");
    let done = fake.run(&flow, Req::get("/?user=7"));
    done.timeline.check().unwrap();
    assert_eq!(done.fail().unwrap().step.as_deref(), Some("more"), "{:?}", done.fail());
    let gone: Vec<String> =
        done.calls.iter().filter(|c| &*c.call.target == "log").map(|c| c.call.path_and_query.clone()).collect();
    assert_eq!(gone, ["/broken", "/paid-4", "/lock"]);
}

/// `steps` is put into a sound page; the problems come out as `line:column: message; help`.
fn problems(step: &str) -> Vec<String> {
    let page = format!("flow: a-shop\nsteps:\n  u: {{ set: {{ id: 1, name: a }} }}\n  a: {step}\nrespond: {{}}\n");
    load(&page).err().unwrap_or_default()
}

#[test]
fn calls_of_steps_are_checked_when_the_page_is_loaded() {
    let check = |step: &str, expected: &[&str]| assert_eq!(problems(step), expected, "{step}");
    check("{ call: load_crat }", &["4:14: steps.a.call: no step is called `load_crat`; did you mean `load_cart`?"]);
    check(
        "{ call: unheard_of }",
        &["4:14: steps.a.call: no step is called `unheard_of`; Rust steps are added to a gateway of your own: \
           zerver::App::new().step(…)"],
    );
    check("{ call: [fail] }", &["4:14: steps.a.call is text, not a list"]);
    check(
        "{ call: load_cart, args: { usr: '${u}', region: eu } }",
        &[
            "4:31: steps.a: `load_cart` needs the argument `user`; args: { user: … }",
            "4:33: steps.a.args: `load_cart` takes no argument `usr`; did you mean `user`?",
        ],
    );
    check(
        "{ call: load_cart, args: { user: '${u}' } }",
        &["4:31: steps.a: `load_cart` needs the argument `region`; args: { region: … }, which is text"],
    );
    check(
        "{ call: add_up }",
        &["4:14: steps.a: `add_up` needs the argument `prices`; args: { prices: … }, which is a list"],
    );
    check("{ call: fail, args: { x: 1 } }", &["4:28: steps.a.args: `fail` takes no argument `x`; it takes none"]);
    check("{ call: fail, args: [1] }", &["4:26: steps.a.args is a mapping, not a list"]);
    let twice = problems("{ call: add_up, args: { prices: [1], prices: [2] } }");
    assert!(twice[0].starts_with("4:43: ") && twice.len() == 1, "{twice:?}");
    check(
        "{ call: pay, args: { cents: many, currency: gbp, tags: x, exact: '${true} ' } }",
        &[
            "4:34: steps.a.args.cents is a number, not text",
            "4:50: steps.a.args.currency does not fit: unknown variant `gbp`, expected `eur` or `usd`",
            "4:61: steps.a.args.tags is a list, not text",
            "4:71: steps.a.args.exact is true or false, not text",
        ],
    );
    let low = problems("{ call: pay, args: { cents: -1, currency: eur } }");
    assert_eq!(low, ["4:34: steps.a.args.cents does not fit: invalid value: integer `-1`, expected u32"]);
    check(
        "{ call: load_cart, args: { user: null, region: 7 } }",
        &[
            "4:39: steps.a.args.user does not fit: invalid type: null, expected struct User",
            "4:53: steps.a.args.region is text, not a number",
        ],
    );
    check(
        "{ call: add_up, args: { prices: '${ux}' } }",
        &["4:38: steps.a.args.prices reads `ux`, but no step has that name; did you mean `u`?"],
    );
    check(
        "{ call: fail, body: x }",
        &[
            "4:20: steps.a.body has no meaning beside `call`; beside it there are args, when, after, optional, timeout, \
           retry, idempotent, priority, fallback, undo, cleanup, each, max, parallel, optional_items, gives, sensitive",
        ],
    );
    let args = problems("{ get: 'log:/', args: {} }");
    assert!(args[0].starts_with("4:22: steps.a.args has no meaning beside `get`"), "{args:?}");
    check("{ call: fail, undo: { call: fail, json: 1 } }", &["4:40: steps.a.undo.json has no meaning beside `call`"]);
    check(
        "{ call: fail, undo: { call: take_back } }",
        &["4:34: steps.a.undo: `take_back` needs the argument `what`; args: { what: … }, which is text"],
    );
    let known = Known { targets: &["users"], steps: &steps(), ..Known::default() };
    let found = load_str("flow: a-shop\nsteps: { a: { call: take_back, args: { what: x } } }\nrespond: {}\n", known);
    let found: Vec<String> = found.unwrap_err().iter().map(ToString::to_string).collect();
    assert_eq!(
        found,
        ["2:21: steps.a.call: `take_back` calls `log`, but no upstream has that name; declare an upstream `log`"]
    );
}

#[test]
fn a_slot_that_may_be_missing_goes_into_an_optional_argument_only() {
    let page = |args: &str| {
        format!(
            "flow: a-shop\nsteps:\n  u: {{ set: 1, optional: true }}\n  a: {{ call: add_up, args: {args} }}\nrespond: {{ json: '${{a}}' }}\n"
        )
    };
    assert_eq!(load(&page("{ prices: [9], bonus: '${u}' }")).err(), None);
    for wrong in ["{ prices: '${u}' }", "{ prices: [1], bonus: '${u + 1}' }"] {
        let found = load(&page(wrong)).unwrap_err();
        assert!(found[0].contains("reads `u` as if it were always there, but it is optional"), "{found:?}");
    }
}

#[test]
fn an_argument_that_does_not_fit_fails_the_step() {
    let flow = yaml(
        "flow: a-shop\nsteps:\n  a: { call: add_up, args: { prices: '${request.body}' } }\nrespond: { json: '${a}' }\n",
    );
    assert_eq!(Fake::new().run(&flow, Req::post("/", &json!([1, 2]))).json(), json!(3));
    let done = Fake::new().run(&flow, Req::post("/", &json!([1, "two"])));
    done.timeline.check().unwrap();
    let fail = done.fail().unwrap();
    assert_eq!((fail.code, fail.status.as_u16(), fail.domain), ("bad_argument", 500, Domain::Internal));
    assert_eq!((&*fail.message, fail.step.as_deref()), ("the flow failed", Some("a")));
    let why = "step `add_up` does not take its argument `prices`: invalid type: string \"two\", expected u32";
    assert_eq!(fail.detail.as_deref(), Some(why));
}

#[test]
fn a_step_may_have_the_name_of_a_verb() {
    let flow = yaml("flow: a-shop\nsteps:\n  a: { call: fail }\nrespond: { json: '${a}' }\n");
    assert_eq!(Fake::new().run(&flow, Req::get("/")).json(), json!(7), "its slot is read");
}

//! Point 4: the checkout flow in YAML, auth → (cart ∥ profile ∥ price) → respond, against scripted services.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering::SeqCst};
use std::time::Duration;

use http::Response;
use serde_json::{Value, json};
use tokio::sync::{Barrier, Notify, Semaphore};
use zerver_telemetry::event::{Cause, NodeKind, Outcome};
use zerver_telemetry::timeline::{Node, Timeline};

use crate::binary::{Gateway, HEAD, page, zerver};
use crate::client::{Answer, Body, Client, ask, request};
use crate::origin::{Origin, json as say};
use crate::support::eventually;

/// The services behind the flow. Cart, profile and price answer only when all three are asked at once.
struct Services {
    carts: Origin,
    profiles: Origin,
    prices: Origin,
    script: Arc<Script>,
}

struct Script {
    together: Barrier,
    profile: AtomicU16,
    price: AtomicU16,
    never: Notify,
}

impl Script {
    /// The answer with this status; 0 is none at all.
    async fn say(&self, status: u16, body: Value) -> Response<Body> {
        self.together.wait().await;
        if status == 0 {
            self.never.notified().await;
        }
        say(status.max(200), &body)
    }
}

impl Services {
    async fn start() -> Self {
        let script = Arc::new(Script {
            together: Barrier::new(3),
            profile: AtomicU16::new(200),
            price: AtomicU16::new(200),
            never: Notify::new(),
        });
        let with = || Arc::clone(&script);
        let (a, b, c) = (with(), with(), with());
        let carts = Origin::start(move |request| {
            let script = Arc::clone(&a);
            async move {
                if request.uri().path() == "/v1/me" {
                    let known = request.headers().get("authorization").is_some_and(|value| value == "Bearer ada");
                    return say(if known { 200 } else { 401 }, &json!({ "id": 7 }));
                }
                script.say(200, json!({ "id": "c1", "asked": request.uri().path() })).await
            }
        })
        .await;
        let profiles = Origin::start(move |_| {
            let script = Arc::clone(&b);
            async move { script.say(script.profile.load(SeqCst), json!({ "name": "Ada" })).await }
        })
        .await;
        let prices = Origin::start(move |_| {
            let script = Arc::clone(&c);
            async move { script.say(script.price.load(SeqCst), json!({ "cents": 990 })).await }
        })
        .await;
        Self { carts, profiles, prices, script }
    }

    fn page(&self) -> String {
        format!(
            "{HEAD}upstreams:
  carts: {{ peers: ['{}'], tries: 1 }}
  profiles: {{ peers: ['{}'], tries: 1 }}
  prices: {{ peers: ['{}'], tries: 1 }}
flows:
  - flow: checkout
    deadline: 20s
    steps:
      user:    {{ get: 'carts:/v1/me', headers: {{ authorization: '${{request.headers.authorization}}' }} }}
      cart:    {{ get: 'carts:/v1/carts/${{user.id}}' }}
      profile: {{ get: 'profiles:/v1/users/${{user.id}}', optional: true, timeout: 200ms }}
      price:   {{ get: 'prices:/v1/quote?user=${{user.id}}', timeout: 2s }}
    respond:
      json: {{ hello: \"${{profile.?name.orValue('guest')}}\", cart: '${{cart.id}}', cents: '${{price.cents}}' }}
routes:
  - {{ name: checkout, match: {{ method: [GET], path: /checkout }}, to: {{ flow: checkout }} }}
",
            self.carts.address, self.profiles.address, self.prices.address
        )
    }
}

async fn check_out(gateway: &Gateway) -> (Answer, Timeline) {
    let asked = request("GET", gateway.address, "/checkout", &[("authorization", "Bearer ada")], "");
    let answer = Client::http1().send(asked).await;
    let timeline = gateway.timeline_of(&answer).await;
    assert_eq!((&*timeline.route, timeline.flow.as_deref()), ("checkout", Some("checkout")));
    (answer, timeline)
}

/// The step of this name, and its call.
fn step<'t>(timeline: &'t Timeline, name: &str) -> (&'t Node, &'t Node) {
    let nodes = || timeline.nodes.iter();
    let step = nodes().find(|node| node.kind == NodeKind::Step && &*node.name == name);
    let step = step.unwrap_or_else(|| panic!("no step `{name}`: {timeline:#?}"));
    let call = nodes().find(|node| node.kind == NodeKind::Effect && node.parent == Some(step.id));
    (step, call.unwrap_or_else(|| panic!("`{name}` calls nothing: {timeline:#?}")))
}

#[tokio::test]
async fn the_three_calls_run_side_by_side() {
    let services = Services::start().await;
    let gateway = Gateway::start(&services.page()).await;
    let (answer, timeline) = check_out(&gateway).await;
    assert_eq!((answer.status, answer.json()), (200, json!({ "hello": "Ada", "cart": "c1", "cents": 990 })));
    assert_eq!(answer.header("content-type"), "application/json");
    let calls = ["cart", "profile", "price"].map(|name| step(&timeline, name).1);
    let (last_start, first_end) =
        (calls.iter().map(|call| call.start_ns).max(), calls.iter().map(|call| call.end_ns).min());
    assert!(last_start < first_end, "they do not overlap: {timeline:#?}");
    let (user, _) = step(&timeline, "user");
    for name in ["cart", "profile", "price"] {
        let (step, call) = step(&timeline, name);
        assert_eq!((step.after, call.outcome, call.status), (Some(user.id), Outcome::Ok, 200), "{name}");
        assert!(step.start_ns >= user.end_ns, "{name} reads `user`");
    }
    assert_eq!(services.carts.seen()[1].path, "/v1/carts/7");
    assert_eq!(services.prices.seen()[0].path, "/v1/quote?user=7");
}

#[tokio::test]
async fn an_optional_step_that_fails_or_is_late_is_done_without() {
    let services = Services::start().await;
    let gateway = Gateway::start(&services.page()).await;
    for (status, outcome) in [(503, Outcome::Error), (0, Outcome::Timeout)] {
        services.script.profile.store(status, SeqCst);
        let (answer, timeline) = check_out(&gateway).await;
        assert_eq!((answer.status, &answer.json()["hello"]), (200, &json!("guest")), "profile {status}");
        assert_eq!((step(&timeline, "profile").0.outcome, timeline.outcome), (outcome, Outcome::Ok), "{timeline:#?}");
    }
}

/// A failure is told in problem+json, by its stable name, with the request's identity and nothing of the inside.
fn is_problem(answer: &Answer, status: u16) {
    let problem = answer.json();
    assert_eq!((answer.status, answer.header("content-type")), (status, "application/problem+json"), "{problem}");
    assert_eq!(problem["status"], status);
    assert_eq!(problem["code"], answer.header("zerver-reason"));
    assert_eq!(problem["request_id"], answer.header("x-request-id"));
    assert!(!answer.text().contains("127.0.0.1"), "{problem}");
}

#[tokio::test]
async fn a_required_step_that_fails_ends_the_flow() {
    let services = Services::start().await;
    let gateway = Gateway::start(&services.page()).await;
    services.script.price.store(500, SeqCst);
    let (answer, timeline) = check_out(&gateway).await;
    is_problem(&answer, 502);
    assert_eq!((timeline.outcome, timeline.error.as_deref()), (Outcome::Error, Some(answer.header("zerver-reason"))));
    assert_eq!(step(&timeline, "price").1.status, 500);
}

#[tokio::test]
async fn a_required_step_that_is_late_is_a_gateway_timeout() {
    let services = Services::start().await;
    let gateway = Gateway::start(&services.page().replace("timeout: 2s", "timeout: 150ms")).await;
    services.script.price.store(0, SeqCst);
    let (answer, timeline) = check_out(&gateway).await;
    is_problem(&answer, 504);
    let (price, call) = step(&timeline, "price");
    assert_eq!((price.outcome, call.outcome), (Outcome::Timeout, Outcome::Cancelled), "{timeline:#?}");
    assert!(Duration::from_nanos(price.end_ns - price.start_ns) >= Duration::from_millis(150));
}

/// Flows that call upstreams with one seat each: at `full` nobody may wait for it, at `short` only for a moment. The flow
/// routes' own gates have seats to spare.
fn one_seat(origin: &Origin) -> String {
    let address = origin.address;
    format!(
        "{HEAD}upstreams:
  full: {{ peers: ['{address}'], admission: {{ limit: {{ fixed: 1 }}, queue: {{ waiting_max: 0 }} }} }}
  short: {{ peers: ['{address}'], admission: {{ limit: {{ fixed: 1 }}, queue: {{ interactive_wait: 5ms }} }} }}
flows:
  - flow: need-full
    steps: {{ cart: {{ get: 'full:/cart', retry: 3 }} }}
    respond: {{ text: 'the cart' }}
  - flow: need-short
    steps: {{ cart: {{ get: 'short:/cart', retry: 3 }} }}
    respond: {{ text: 'the cart' }}
  - flow: like-full
    steps: {{ cart: {{ get: 'full:/cart', optional: true }} }}
    respond: {{ text: \"${{has(cart.id) ? 'the cart' : 'no cart'}}\" }}
routes:
  - {{ name: full, match: {{ path: /full }}, to: {{ flow: need-full }} }}
  - {{ name: short, match: {{ path: /short }}, to: {{ flow: need-short }} }}
  - {{ name: like, match: {{ path: /like }}, to: {{ flow: like-full }} }}
"
    )
}

#[tokio::test]
async fn a_refused_call_keeps_its_gates_reason() {
    let told = Arc::new(Semaphore::new(0));
    let hold = Arc::clone(&told);
    let origin = Origin::start(move |_| {
        let hold = Arc::clone(&hold);
        async move {
            hold.acquire().await.expect("it is never closed").forget();
            say(200, &json!({ "id": "c1" }))
        }
    })
    .await;
    let gateway = Gateway::start(&one_seat(&origin)).await;
    let client = Client::http1();
    let get = |path: &str| {
        let (client, request) = (client.clone(), ask("GET", gateway.address, path));
        async move { client.send(request).await }
    };
    let held = ["/full", "/short"].map(|path| tokio::spawn(get(path)));
    eventually("both seats are taken", async || (origin.running() == 2).then_some(())).await;

    for (route, reason) in [("full", "queue_full"), ("short", "queue_wait")] {
        let answer = get(&format!("/{route}")).await;
        is_problem(&answer, 503);
        let problem = answer.json();
        assert_eq!(answer.header("zerver-reason"), reason, "{problem}");
        let seconds: u64 = answer.header("retry-after").parse().expect("whole seconds");
        assert!((1..=2).contains(&seconds), "a gate's first refusal asks for about a second: {seconds}");
        assert_eq!(problem["retry_after_s"], seconds);
        assert_eq!(problem["type"], "https://iana.org/assignments/http-problem-types#temporary-reduced-capacity");

        let timeline = gateway.timeline_of(&answer).await;
        assert_eq!((timeline.outcome, timeline.error.as_deref()), (Outcome::Refused, Some(reason)));
        let (cart, call) = step(&timeline, "cart");
        assert_eq!((cart.outcome, cart.error.as_deref()), (Outcome::Refused, Some(reason)));
        assert_eq!((call.outcome, call.error.as_deref()), (Outcome::Refused, Some(reason)));
        assert_eq!((&*call.name, call.status), (route, 0), "the node names the upstream whose gate refused");
        assert_eq!(timeline.nodes.iter().filter(|node| node.kind == NodeKind::Effect).count(), 1, "{timeline:#?}");
        let waited = call.states.iter().any(|state| state.cause == Cause::Permit);
        assert!(waited || route == "full", "it waited for a seat: {call:#?}");

        let route = format!("route=\"{route}\"");
        let refused = gateway.metric("zerver_refused_total", &[&route, &format!("reason=\"{reason}\"")]).await;
        assert_eq!(refused as u64, 1);
        assert_eq!(gateway.metric("zerver_refused_total", &[&route]).await as u64, 1, "no other reason is counted");
        let requests =
            gateway.metric("zerver_requests_total", &[&route, "status=\"503\"", "outcome=\"refused\""]).await;
        assert_eq!(requests as u64, 1);
    }
    assert_eq!(origin.seen().len(), 2, "a refused call does not reach its upstream");

    let answer = get("/like").await;
    assert_eq!((answer.status, answer.text()), (200, "no cart".to_owned()));
    let timeline = gateway.timeline_of(&answer).await;
    assert_eq!((timeline.outcome, timeline.error.as_deref()), (Outcome::Ok, None));
    let (cart, call) = step(&timeline, "cart");
    assert_eq!((cart.outcome, cart.error.as_deref()), (Outcome::Refused, Some("queue_full")));
    assert_eq!((call.outcome, call.error.as_deref()), (Outcome::Refused, Some("queue_full")));

    told.add_permits(held.len());
    for held in held {
        assert_eq!(held.await.expect("it does not panic").status, 200);
    }
}

#[tokio::test]
async fn the_graph_shows_what_reads_what() {
    let services = Services::start().await;
    let (_folder, file) = page(&services.page());
    let file = file.to_str().expect("the path is text");
    let graph = async |format| {
        let ran = zerver(&["graph", "checkout", "-c", file, "--format", format]).await;
        assert_eq!((ran.code, ran.err.as_str()), (0, ""));
        ran.out
    };
    let edges = [
        ("user", "cart"),
        ("user", "profile"),
        ("user", "price"),
        ("cart", "respond"),
        ("profile", "respond"),
        ("price", "respond"),
    ];
    let text = graph("text").await;
    for line in
        ["cart      get      <- user", "profile?  get      <- user", "respond   respond  <- profile, cart, price"]
    {
        assert!(text.contains(line), "`{line}` is not in\n{text}");
    }
    let dot = graph("dot").await;
    for (from, to) in edges {
        assert!(dot.contains(&format!("\"{from}\" -> \"{to}\"")), "{dot}");
    }
    assert_eq!(dot.matches("->").count(), edges.len(), "{dot}");

    let mermaid = graph("mermaid").await;
    let id = |name: &str| {
        let line = mermaid.lines().find(|line| line.contains(&format!("\"{name}\""))).expect("every step is a node");
        line.trim().split(['[', '(']).next().expect("a node has an id").to_owned()
    };
    for (from, to) in edges {
        let (from, to) = (id(from), id(to));
        let drawn = [format!("{from} --> {to}"), format!("{from} ==> {to}")];
        assert!(drawn.iter().any(|edge| mermaid.contains(edge)), "{drawn:?} is not in\n{mermaid}");
    }

    let json: Value = serde_json::from_str(&graph("json").await).expect("it is JSON");
    let mut read: Vec<(String, String)> = Vec::new();
    for node in json["nodes"].as_array().expect("a list") {
        for slot in node["reads"].as_array().expect("a list") {
            let text = |value: &Value| value.as_str().expect("a name").to_owned();
            read.push((text(slot), text(&node["name"])));
        }
    }
    read.sort();
    let mut wanted = edges.map(|(from, to)| (from.to_owned(), to.to_owned()));
    wanted.sort();
    assert_eq!(read, wanted);

    let unknown = zerver(&["graph", "chekout", "-c", file]).await;
    assert_eq!(unknown.code, 2);
    assert!(unknown.err.contains("no flow is named `chekout`: did you mean `checkout`?"), "{}", unknown.err);
}

#[tokio::test]
async fn upstreams_are_told_how_long_an_answer_is_of_use() {
    let origin = Origin::start(|request| async move {
        let left =
            request.headers().get("x-request-timeout-ms").and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
        say(200, &json!(left))
    })
    .await;
    let gateway = Gateway::start(&format!(
        "{HEAD}upstreams: {{ web: {{ peers: ['{}'] }} }}
flows:
  - flow: time-left
    deadline: 60s
    steps:
      short: {{ get: 'web:/', timeout: 20s }}
      long:  {{ get: 'web:/', after: [short] }}
    respond: {{ json: {{ short: '${{short}}', long: '${{long}}' }} }}
routes: [{{ name: time, match: {{ path: / }}, to: {{ flow: time-left }} }}]
",
        origin.address
    ))
    .await;
    let left = Client::http1().send(ask("GET", gateway.address, "/")).await.json();
    let [short, long] = ["short", "long"].map(|step| left[step].as_u64().expect("it was told"));
    assert!(short <= 19_000 && long <= 57_000, "a twentieth is kept for the way back: {left}");
    assert!(short < long, "the step's own time is shorter than the flow's: {left}");
}

/// Answers 503 with this `Retry-After` the first time, then 200.
async fn busy_once(retry_after: &'static str) -> (Origin, Arc<AtomicU16>) {
    let asked = Arc::new(AtomicU16::new(0));
    let count = Arc::clone(&asked);
    let origin = Origin::start(move |_| {
        let first = count.fetch_add(1, SeqCst) == 0;
        async move {
            let mut answer = say(if first { 503 } else { 200 }, &json!("here"));
            answer.headers_mut().insert("retry-after", http::HeaderValue::from_static(retry_after));
            answer
        }
    })
    .await;
    (origin, asked)
}

#[tokio::test]
async fn an_upstream_that_asks_for_time_gets_it() {
    let ((short, asked), (long, asked_long)) = (busy_once("1").await, busy_once("600").await);
    let gateway = Gateway::start(&format!(
        "{HEAD}upstreams:
  short: {{ peers: ['{}'], tries: 3 }}
  long: {{ peers: ['{}'], tries: 3 }}
flows:
  - flow: patient
    steps: {{ a: {{ get: 'short:/' }} }}
    respond: {{ json: '${{a}}' }}
  - flow: hopeless
    steps: {{ a: {{ get: 'long:/' }} }}
    respond: {{ json: '${{a}}' }}
routes:
  - {{ name: patient, match: {{ path: /patient }}, to: {{ flow: patient }} }}
  - {{ name: hopeless, match: {{ path: /hopeless }}, to: {{ flow: hopeless }} }}
",
        short.address, long.address
    ))
    .await;
    let client = Client::http1();
    let answer = client.send(ask("GET", gateway.address, "/patient")).await;
    assert_eq!((answer.status, asked.load(SeqCst)), (200, 2));
    let timeline = gateway.timeline_of(&answer).await;
    let pauses = timeline.nodes.iter().flat_map(|node| &node.states).filter(|state| state.cause == Cause::Timer);
    assert!(pauses.map(|state| state.len_ns()).max() >= Some(1_000_000_000), "{timeline:#?}");
    let answer = client.send(ask("GET", gateway.address, "/hopeless")).await;
    assert_eq!((answer.status, asked_long.load(SeqCst)), (502, 1), "nobody waits for ten minutes");
}

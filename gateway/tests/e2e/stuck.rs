//! Undoing that fails over real sockets: the run is stuck and to be seen, goes on once its target is back, and pays once.
//!
//! The stock binary has no Rust flows, so the gateway of these tests lives in the test's own process.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering::SeqCst};

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use zerver::config::load;
use zerver::gateway::{Gateway, Page};
use zerver::plan::{Makings, Plan};
use zerver_flows::{Fx, Req, Response, Result, flow, step};
use zerver_telemetry::event::Outcome;
use zerver_telemetry::timeline::Timeline;

use crate::binary::{HEAD, zerver};
use crate::client::{Answer, Client, ask, get};
use crate::origin::{Origin, answer};
use crate::support::eventually;

#[step]
async fn charge(fx: &Fx<'_>) -> Result<String> {
    Ok(fx.post("shop:/charge").await?.text()?.to_owned())
}
#[step]
async fn refund(id: &String, fx: &Fx<'_>) -> Result<()> {
    fx.delete(format!("shop:/charge/{id}")).await?.ok()
}
#[step]
async fn reserve(_charged: &String, fx: &Fx<'_>) -> Result<String> {
    Ok(fx.post("shop:/reserve").await?.text()?.to_owned())
}
#[step]
async fn release(id: &String, fx: &Fx<'_>) -> Result<()> {
    fx.delete(format!("shop:/reserve/{id}")).await?.ok()
}
#[step]
async fn ship(req: &Req, _reserved: &String, fx: &Fx<'_>) -> Result<()> {
    let slow = if req.query("slow").is_some() { "?slow" } else { "" };
    fx.post(format!("shop:/ship{slow}")).await?.ok()
}
#[step]
async fn respond(_shipped: &()) -> Result<Response> {
    Ok(Response::text("on its way"))
}

#[flow("order")]
async fn order(req: &Req) -> Response {
    #[compensate(refund(charged))]
    let charged = charge();
    #[compensate(release(reserved))]
    let reserved = reserve(charged);
    let shipped = ship(req, reserved);
    respond(shipped)
}

mod newer {
    use super::*;

    #[flow("order", version = 2)]
    pub(super) async fn order(req: &Req) -> Response {
        let charged = charge();
        let reserved = reserve(charged);
        let shipped = ship(req, reserved);
        respond(shipped)
    }
}

/// A shop where nothing can be shipped, and undoing goes as the test says.
struct Shop {
    origin: Origin,
    gateway: Gateway,
    /// The status of reservations that are released.
    releasing: Arc<AtomicU16>,
    /// Permits for refunds to be answered.
    refunds: Arc<Semaphore>,
}

/// Refunds that are answered at once.
const ANY: usize = 1_000;

impl Shop {
    async fn open(releasing: u16, refunds: usize) -> Self {
        let (releasing, refunds) = (Arc::new(AtomicU16::new(releasing)), Arc::new(Semaphore::new(refunds)));
        let shared = (Arc::clone(&releasing), Arc::clone(&refunds));
        let origin = Origin::start(move |request| {
            let (releasing, refunds) = shared.clone();
            async move {
                match (request.method().as_str(), request.uri().path()) {
                    ("POST", "/ship") if request.uri().query().is_some() => std::future::pending().await,
                    ("POST", "/ship") => answer(500, "no van"),
                    ("DELETE", "/charge/7") => {
                        refunds.acquire().await.expect("it is never closed").forget();
                        answer(200, "")
                    }
                    ("DELETE", _) => answer(releasing.load(SeqCst), ""),
                    _ => answer(200, "7"),
                }
            }
        })
        .await;
        let page = Page::Text { name: "shop".into(), source: page(&origin) };
        let gateway = Gateway::start(page, vec![order()].into(), Arc::new(|_| None)).await;
        Self { origin, gateway: gateway.unwrap_or_else(|error| panic!("{error}")), releasing, refunds }
    }

    /// A shop with one stuck run: its reservation could not be released.
    async fn stuck() -> (Self, Answer) {
        let shop = Self::open(503, ANY).await;
        let failed = get(shop.gateway.address, "/order").await;
        assert_eq!((failed.status, failed.header("zerver-reason")), (502, "upstream_status"));
        (shop, failed)
    }

    /// How often the shop was asked for this.
    fn asked(&self, path: &str) -> usize {
        self.origin.seen().iter().filter(|seen| seen.path == path).count()
    }

    async fn admin(&self, method: &str, path: &str) -> Answer {
        Client::http1().send(ask(method, self.gateway.admin_address, path)).await
    }

    async fn metric(&self, line: &str) -> bool {
        let text = self.admin("GET", "/metrics").await.text();
        text.lines().any(|is| is == line)
    }

    /// The timelines of this trace, once there are so many.
    async fn timelines(&self, trace: &str, count: usize) -> Vec<Timeline> {
        let page = format!("/timelines/{trace}");
        eventually("the timelines", async || {
            let found: Vec<Timeline> =
                serde_json::from_value(self.admin("GET", &page).await.json()["timelines"].clone()).ok()?;
            (found.len() == count).then_some(found)
        })
        .await
    }
}

fn page(origin: &Origin) -> String {
    format!(
        "{HEAD}limits: {{ drain_timeout: 300ms }}
upstreams: {{ shop: {{ peers: ['{}'] }} }}
routes: [{{ name: order, match: {{ path: /order }}, to: {{ flow: order }} }}]
",
        origin.address
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stuck_run_is_seen_and_goes_on_when_its_target_is_back() {
    let (shop, failed) = Shop::stuck().await;
    let admin = shop.gateway.admin_address.to_string();
    let trace = failed.header("x-request-id").to_owned();
    let list = shop.admin("GET", "/stuck").await.json();
    let run = &list[0];
    assert_eq!((list.as_array().expect("a list").len(), &run["number"]), (1, &1.into()), "{list}");
    assert_eq!((&run["flow"], &run["version"], &run["trace_id"]), (&"order".into(), &1.into(), &trace.clone().into()));
    assert_eq!((&run["failed"]["step"], &run["failed"]["code"]), (&"shipped".into(), &"upstream_status".into()));
    assert_eq!(run["undo_failed"]["step"], "undo_reserved", "{run}");
    assert_eq!(run["rest"], serde_json::json!(["reserved", "charged"]), "in the order of the undoing");
    assert_eq!(shop.admin("GET", "/stuck/1").await.json()["rest"], run["rest"]);
    assert!(shop.metric("zerver_stuck_runs 1").await && shop.metric("zerver_runs_stuck_total 1").await);
    let seen = zerver(&["stuck", "--admin", &admin]).await;
    assert!(seen.code == 0 && seen.out.contains("order@1") && seen.out.contains("reserved, charged"), "{seen:?}");

    // The target is still away: it goes back to the list, under its number, with what is left.
    let again = zerver(&["stuck", "resume", "1", "--admin", &admin]).await;
    assert!(again.code == 1 && again.err.contains("stuck again: step `undo_reserved`"), "{again:?}");
    assert!(again.err.contains("left to undo: reserved, charged"), "{again:?}");
    let list = shop.admin("GET", "/stuck").await.json();
    assert_eq!((&list[0]["number"], &list[0]["resuming"], &list[1]), (&1.into(), &false.into(), &().into()), "{list}");
    assert_eq!(list[0]["rest"], serde_json::json!(["reserved", "charged"]));

    shop.releasing.store(200, SeqCst);
    let before = shop.asked("/reserve/7");
    let done = shop.admin("POST", "/stuck/1/resume").await;
    assert_eq!((done.status, &done.json()["undone"]), (200, &serde_json::json!(["reserved", "charged"])));
    assert_eq!((shop.asked("/reserve/7") - before, shop.asked("/charge/7")), (1, 1), "each is undone once");
    assert_eq!(
        (shop.asked("/charge"), shop.asked("/reserve"), shop.asked("/ship")),
        (1, 1, 1),
        "nothing is done again"
    );
    assert_eq!(shop.admin("GET", "/stuck").await.text(), "[]");
    assert_eq!(shop.admin("POST", "/stuck/1/resume").await.status, 404);
    for line in [
        "zerver_stuck_runs 0",
        "zerver_runs_stuck_total 1",
        "zerver_stuck_runs_resumed_total{result=\"undone\"} 1",
        "zerver_stuck_runs_resumed_total{result=\"stuck\"} 1",
    ] {
        assert!(shop.metric(line).await, "no line `{line}`");
    }

    // The request and both resumings are timelines of one trace.
    let found = shop.timelines(&trace, 3).await;
    found.iter().for_each(|timeline| timeline.check().unwrap_or_else(|error| panic!("{error}: {timeline:#?}")));
    let routes: Vec<(&str, Option<&str>, Outcome)> =
        found.iter().map(|timeline| (&*timeline.route, timeline.flow.as_deref(), timeline.outcome)).collect();
    let flow = Some("order");
    for is in [("order", flow, Outcome::Error), ("resume", flow, Outcome::Error), ("resume", flow, Outcome::Ok)] {
        assert!(routes.contains(&is), "{is:?} is not among {routes:?}");
    }
    shop.gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_is_resumed_by_one_at_a_time_whoever_leaves() {
    let (shop, _) = Shop::stuck().await;
    shop.releasing.store(200, SeqCst);
    shop.refunds.forget_permits(ANY);
    let mut first = TcpStream::connect(shop.gateway.admin_address).await.expect("the admin listener accepts");
    first.write_all(b"POST /stuck/1/resume HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("it reads");
    eventually("the refund is asked for", async || (shop.asked("/charge/7") == 1).then_some(())).await;
    for (method, path) in [("POST", "/stuck/1/resume"), ("DELETE", "/stuck/1")] {
        let refused = shop.admin(method, path).await;
        assert_eq!(
            (refused.status, &refused.json()["detail"]),
            (409, &"the stuck run 1 is being resumed".into()),
            "{method}"
        );
    }
    assert_eq!(shop.admin("GET", "/stuck").await.json()[0]["resuming"], true, "it stays in sight");
    assert!(shop.metric("zerver_stuck_runs 1").await);

    // Whoever asked leaves; the undoing goes on.
    drop(first);
    shop.refunds.add_permits(1);
    eventually("the run is undone", async || (shop.admin("GET", "/stuck").await.text() == "[]").then_some(())).await;
    assert_eq!((shop.asked("/charge/7"), shop.asked("/charge")), (1, 1));
    shop.gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_of_another_version_is_undone_by_hand() {
    let (shop, _) = Shop::stuck().await;
    let live = &shop.gateway.live;
    let before = live.plan();
    let own = vec![newer::order()].into();
    let (names, clock) = (live.recorder.names(), live.recorder.clock());
    let makings = Makings { own: &own, names, clock, keys: live.keys, before: Some(&before) };
    let plan: Plan =
        load::from_text("shop", &page(&shop.origin), &|_| None, &makings).unwrap_or_else(|e| panic!("{e}"));
    live.swap(plan);

    let refused = shop.admin("POST", "/stuck/1/resume").await;
    let says = "the run was one of order@1, the flow is now order@2; undo it by hand, then DELETE /stuck/1";
    assert_eq!((refused.status, &refused.json()["detail"]), (409, &says.into()));
    assert_eq!(shop.admin("GET", "/stuck").await.json()[0]["rest"], serde_json::json!(["reserved", "charged"]));

    for (method, path, status) in
        [("POST", "/stuck", 405), ("PUT", "/stuck/1", 405), ("GET", "/stuck/x", 400), ("GET", "/stuck/1/resume", 405)]
    {
        assert_eq!(shop.admin(method, path).await.status, status, "{method} {path}");
    }
    let admin = shop.gateway.admin_address.to_string();
    let forgotten = zerver(&["stuck", "--admin", &admin, "forget", "1"]).await;
    assert!(forgotten.code == 0 && forgotten.out.contains("reserved, charged"), "{forgotten:?}");
    assert_eq!(zerver(&["stuck", "--admin", &admin]).await.out, "no run is stuck\n");
    let none = zerver(&["stuck", "--admin", &admin, "forget", "1"]).await;
    assert!(none.code == 1 && none.err.contains("no stuck run has the number 1"), "{none:?}");
    assert!(shop.metric("zerver_stuck_runs_forgotten_total{by=\"operator\"} 1").await);
    assert_eq!(shop.asked("/charge/7"), 0);
    shop.gateway.stop().await;
}

/// How a client leaves.
enum Leaving {
    /// It closes its connection.
    Closes,
    /// It resets its HTTP/2 stream, and keeps the connection.
    Resets,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_leaves_in_the_middle_leaves_nothing_done() {
    for leaving in [Leaving::Closes, Leaving::Resets] {
        let shop = Shop::open(200, 0).await;
        let client = match leaving {
            Leaving::Closes => Client::http1(),
            Leaving::Resets => Client::http2(),
        };
        let asking = tokio::spawn({
            let (client, request) = (client.clone(), ask("GET", shop.gateway.address, "/order?slow=1"));
            async move { client.send(request).await }
        });
        eventually("the shop is asked to ship", async || (shop.asked("/ship?slow") == 1).then_some(())).await;
        asking.abort();
        eventually("the charge is taken back", async || (shop.asked("/charge/7") == 1).then_some(())).await;
        assert_eq!(shop.gateway.live.recorder.running().len(), 1, "nobody waits, and it goes on");
        shop.refunds.add_permits(1);
        let page = eventually("the request's timeline", async || {
            let feed = shop.admin("GET", "/timelines").await.json();
            (!feed["timelines"][0].is_null()).then_some(feed)
        })
        .await;
        let timeline: Timeline = serde_json::from_value(page["timelines"][0].clone()).expect("a timeline");
        assert_eq!(timeline.outcome, Outcome::Cancelled, "{timeline:#?}");
        let undone = timeline.nodes.iter().find(|node| &*node.name == "undo_charged").expect("it was undone");
        assert_eq!(undone.outcome, Outcome::Ok);
        assert_eq!((shop.asked("/charge"), shop.asked("/charge/7"), shop.asked("/reserve/7")), (1, 1, 1));
        assert_eq!(shop.admin("GET", "/stuck").await.text(), "[]");
        shop.gateway.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_a_stop_cuts_is_undone_first() {
    let shop = Shop::open(200, ANY).await;
    let live = Arc::clone(&shop.gateway.live);
    let (client, request) = (Client::http1(), ask("GET", shop.gateway.address, "/order?slow=1"));
    let asking = tokio::spawn(async move { client.send(request).await });
    eventually("the shop is asked to ship", async || (shop.asked("/ship?slow") == 1).then_some(())).await;
    let Shop { origin, gateway, .. } = shop;
    gateway.stop().await;
    let undone =
        origin.seen().into_iter().map(|seen| seen.path).filter(|path| path.ends_with("/7")).collect::<Vec<_>>();
    assert_eq!(undone, ["/reserve/7", "/charge/7"]);
    assert!(live.plan().engine.stuck_runs().is_empty());
    let refused = asking.await.expect("asking does not panic");
    assert_eq!((refused.status, refused.header("zerver-reason")), (503, "draining"));
}

//! Open-loop load: requests leave when they are due, whether or not earlier ones were answered; bounded in number.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Empty};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use zerver_telemetry::id::mix;

/// Requests on their way at once; more are not sent but counted.
const BOUND: usize = 512;

/// The tenants, each with its share of the load in percent.
const TENANTS: [(&str, u64); 6] =
    [("globex", 35), ("initech", 20), ("umbrella", 15), ("hooli", 12), ("acme", 10), ("stark", 8)];

/// What came of the load.
#[derive(Debug, Default)]
pub struct Tally {
    /// Requests sent.
    pub sent: AtomicU64,
    /// Answered with a status below 400.
    pub good: AtomicU64,
    /// Answered otherwise, or not at all.
    pub failed: AtomicU64,
    /// Not sent, because too many were on their way.
    pub held_back: AtomicU64,
}

/// Sends `rate` requests a second in a Poisson stream until `stop`, then waits for the answers.
///
/// # Cancel safety
/// Dropping the future stops sending; requests under way end by themselves.
pub async fn run(gateway: SocketAddr, rate: f64, stop: CancellationToken) -> Arc<Tally> {
    let tally = Arc::new(Tally::default());
    let client: Client<_, Empty<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
    let (room, tasks) = (Arc::new(Semaphore::new(BOUND)), TaskTracker::new());
    let mut due = Instant::now();
    let mut draws = 0_u64;
    let mut draw = move || {
        draws = draws.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(draws)
    };
    loop {
        let share = (draw() >> 11) as f64 / (1_u64 << 53) as f64;
        due += Duration::from_secs_f64(-(1.0 - share).max(1e-9).ln() / rate.max(0.1));
        tokio::select! {
            () = stop.cancelled() => break,
            () = tokio::time::sleep_until(due) => {}
        }
        let (kind, whose, size) = (draw() % 100, draw() % 100, draw() % 100);
        let Ok(seat) = Arc::clone(&room).try_acquire_owned() else {
            tally.held_back.fetch_add(1, Relaxed);
            continue;
        };
        let mut upto = 0;
        let tenant = TENANTS.iter().find(|(_, share)| {
            upto += share;
            whose < upto
        });
        let tenant = tenant.map_or("globex", |(name, _)| name);
        let items = if size < 6 { 41 + size * 5 } else { 1 + size % 12 };
        let path = if kind < 85 { format!("/checkout?items={items}") } else { format!("/carts/{tenant}") };
        let request = Request::get(format!("http://{gateway}{path}")).header("x-tenant", tenant).body(Empty::new());
        let Ok(request) = request else { continue };
        tally.sent.fetch_add(1, Relaxed);
        let (client, tally) = (client.clone(), Arc::clone(&tally));
        tasks.spawn(async move {
            let _seat = seat;
            let good = match client.request(request).await {
                Ok(answer) => {
                    let status = answer.status();
                    answer.into_body().collect().await.is_ok() && status < StatusCode::BAD_REQUEST
                }
                Err(_) => false,
            };
            let counter = if good { &tally.good } else { &tally.failed };
            counter.fetch_add(1, Relaxed);
        });
    }
    tasks.close();
    tasks.wait().await;
    tally
}

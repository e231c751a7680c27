//! Point 5: a caller over its quota gets 429; an upstream offered five times what it can do keeps doing what it can.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};
use zerver_telemetry::event::Outcome;

use crate::binary::{Gateway, HEAD};
use crate::client::{Answer, Client, ask, request};
use crate::origin::{Origin, answer};
use crate::support::{eventually, turn};

#[tokio::test]
async fn each_key_has_a_quota_of_its_own() {
    let gateway = Gateway::start(&format!(
        "{HEAD}rate_limits: [{{ name: per-tenant, requests: 2, window: 1h, key: {{ tenant_header: x-tenant }} }}]
routes: [{{ name: hi, match: {{ path: / }}, to: {{ reply: {{ body: hi }} }}, rate_limit: [per-tenant] }}]
"
    ))
    .await;
    let client = Client::http1();
    let call =
        async |tenant: &str| client.send(request("GET", gateway.address, "/", &[("x-tenant", tenant)], "")).await;
    for left in ["1", "0"] {
        let taken = call("acme").await;
        assert_eq!((taken.status, taken.header("ratelimit-policy")), (200, "\"per-tenant\";q=2;w=3600"));
        assert!(taken.header("ratelimit").starts_with(&format!("\"per-tenant\";r={left};t=")), "{taken:?}");
    }
    let refused = call("acme").await;
    assert_eq!((refused.status, refused.header("zerver-reason")), (429, "rate_limited"));
    let seconds: u64 = refused.header("retry-after").parse().expect("whole seconds");
    assert!((1..=1800).contains(&seconds), "one of two an hour: {seconds}");
    assert!(refused.header("ratelimit").starts_with("\"per-tenant\";r=0;t="), "{refused:?}");
    assert_eq!(refused.header("ratelimit-policy"), "\"per-tenant\";q=2;w=3600");
    let problem = refused.json();
    assert_eq!(problem["violated-policies"][0], "per-tenant");
    assert_eq!(problem["type"], "https://iana.org/assignments/http-problem-types#quota-exceeded");
    assert_eq!(call("globex").await.status, 200, "another key has its own quota");

    let timeline = gateway.timeline_of(&refused).await;
    assert_eq!((timeline.outcome, timeline.error.as_deref()), (Outcome::Refused, Some("rate_limited")));
    let refused = gateway.metric("zerver_refused_total", &["route=\"hi\"", "reason=\"rate_limited\""]).await;
    assert_eq!(refused as u64, 1);
    let limits = gateway.ask("/rate-limits").await.json();
    assert_eq!(limits[0]["name"], "per-tenant", "{limits}");
}

/// How many the origin serves at once, and how long each takes.
const AT_ONCE: usize = 4;
const EACH: Duration = Duration::from_millis(50);

/// What it can do, in answers a second.
const CAPACITY: f64 = 80.0;

/// An origin of so many slots, and how long they were taken in all, in microseconds.
async fn slotted() -> (Origin, Arc<AtomicU64>) {
    let (slots, busy_us) = (Arc::new(Semaphore::new(AT_ONCE)), Arc::new(AtomicU64::new(0)));
    let shared = (slots, Arc::clone(&busy_us));
    let origin = Origin::start(move |_| {
        let (slots, busy_us) = shared.clone();
        async move {
            let _slot = slots.acquire_owned().await.expect("it is never closed");
            let start = Instant::now();
            sleep(EACH).await;
            busy_us.fetch_add(start.elapsed().as_micros() as u64, SeqCst);
            answer(200, "done")
        }
    })
    .await;
    (origin, busy_us)
}

/// A gateway in front of an origin, with no limit in its settings.
async fn before(origin: &Origin) -> Gateway {
    Gateway::start(&format!(
        "{HEAD}upstreams: {{ web: {{ peers: ['{}'] }} }}
routes: [{{ name: web, match: {{ path: / }}, to: {{ upstream: web }} }}]
",
        origin.address
    ))
    .await
}

/// One request's answer, when it was sent, and how long the answer took.
struct Asked {
    answer: Answer,
    sent: Duration,
    took: Duration,
}

/// Sends so many requests a second for a while; each leaves when it is due, whatever became of those before.
async fn open_loop(client: &Client, gateway: &Gateway, rate: f64, time: Duration) -> Vec<Asked> {
    let (begin, mut asked) = (Instant::now(), JoinSet::new());
    for n in 0..(rate * time.as_secs_f64()) as u32 {
        sleep_until(begin + Duration::from_secs_f64(f64::from(n) / rate)).await;
        let (client, request) = (client.clone(), ask("GET", gateway.address, "/"));
        asked.spawn(async move {
            let start = Instant::now();
            let answer = client.send(request).await;
            Asked { answer, sent: start - begin, took: start.elapsed() }
        });
    }
    asked.join_all().await
}

/// The value that so many percent of them do not exceed.
fn percentile(times: impl Iterator<Item = Duration>, percent: usize) -> Duration {
    let mut times: Vec<Duration> = times.collect();
    times.sort_unstable();
    times[(times.len() * percent / 100).min(times.len() - 1)]
}

#[tokio::test]
async fn an_overloaded_upstream_keeps_its_throughput_and_the_rest_is_told_at_once() {
    let _turn = turn();
    let client = Client::http1();
    // What an answer takes without load, from another gateway: the one under test shall know nothing.
    let (idle, _) = slotted().await;
    let mut alone = Vec::new();
    let gateway = before(&idle).await;
    for _ in 0..10 {
        let start = Instant::now();
        assert_eq!(client.send(ask("GET", gateway.address, "/")).await.status, 200);
        alone.push(start.elapsed());
    }
    let unloaded = percentile(alone.into_iter(), 50);
    drop(gateway);

    // Five times what the origin can do, from the first request on.
    let (origin, busy_us) = slotted().await;
    let gateway = before(&origin).await;
    let begin = Instant::now();
    let answers = open_loop(&client, &gateway, 5.0 * CAPACITY, Duration::from_secs(5)).await;
    let took = begin.elapsed();

    let (mut good, mut refused) = (Vec::new(), Vec::new());
    for asked in &answers {
        match asked.answer.status {
            200 => good.push(asked),
            503 => refused.push(asked),
            other => panic!("{other}: {:?}", asked.answer),
        }
    }
    // What the origin could do, by how long it really took for each: timers of a busy machine are late.
    let each = Duration::from_micros(busy_us.load(SeqCst) / good.len() as u64);
    let capacity = AT_ONCE as f64 * took.as_secs_f64() / each.as_secs_f64();
    assert!(good.len() as f64 >= 0.8 * capacity, "{} of {capacity:.0} were served in {took:?}", good.len());
    assert!(refused.len() > good.len(), "five times as much was asked: {} and {}", good.len(), refused.len());

    // The first second is for finding out.
    let second = Duration::from_secs(1);
    let later = |percent| percentile(good.iter().filter(|a| a.sent >= second).map(|a| a.took), percent);
    let (median, slow) = (later(50), later(90));
    assert!(median <= 5 * unloaded, "half take longer than {median:?}, {unloaded:?} without load");
    assert!(slow <= 7 * unloaded, "a tenth takes longer than {slow:?}, {unloaded:?} without load");
    let told = percentile(refused.iter().map(|asked| asked.took), 50);
    assert!(told < unloaded, "a refusal takes {told:?}, an answer without load {unloaded:?}");
    let refused: Vec<&Answer> = refused.into_iter().map(|asked| &asked.answer).collect();
    let known = ["predicted_wait", "queue_wait", "tenant_share", "deadline", "queue_full"];
    for answer in &refused {
        assert!(answer.header("retry-after").parse::<u32>().is_ok_and(|s| (1..=60).contains(&s)), "{answer:?}");
        assert!(known.contains(&answer.header("zerver-reason")), "{answer:?}");
    }

    // The same in the counters and in the timelines.
    let reason = refused[0].header("zerver-reason");
    let with_reason = refused.iter().filter(|answer| answer.header("zerver-reason") == reason).count();
    let label = format!("reason=\"{reason}\"");
    eventually("every refusal is counted", async || {
        let counted = gateway.metric("zerver_refused_total", &["route=\"web\"", &label]).await;
        (counted as usize == with_reason).then_some(())
    })
    .await;
    assert_eq!(gateway.metric("zerver_limit_refused_total", &["limit=\"web\""]).await as usize, refused.len());
    assert_eq!(
        gateway.metric("zerver_requests_total", &["status=\"503\"", "outcome=\"refused\""]).await as usize,
        refused.len()
    );
    let timelines = gateway.timelines().await;
    let shown = timelines.iter().filter(|t| t.outcome == Outcome::Refused).inspect(|timeline| {
        assert_eq!(timeline.status, 503);
        assert!(timeline.error.as_deref().is_some_and(|error| known.contains(&error)), "{timeline:#?}");
    });
    assert_eq!(shown.count(), refused.len());
}

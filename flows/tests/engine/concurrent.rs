//! Many runs of one flow at once, answered from other threads that wake early, late and long after: every answer right, no hang.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::task::{Poll, Waker};
use std::thread;
use std::time::Duration;

use futures_util::future::BoxFuture;
use http::StatusCode;
use parking_lot::Mutex;
use zerver_flows::adapter::{Adapter, EffectError, HttpAnswer, HttpCall, Traced};
use zerver_flows::{BoundFlow, Engine, Env, Fx, Req, Response, Result, flow, step, subflow};
use zerver_telemetry::clock::Clock;
use zerver_telemetry::event::Outcome;
use zerver_telemetry::names::Name;
use zerver_telemetry::recorder::Recorder;

/// Runs of the flow, and how many of them at once.
const RUNS: u64 = 1_200;
const AT_ONCE: u64 = 60;
/// Longer than any of this takes, unless something hangs.
const EVER: Duration = Duration::from_secs(100);

#[step]
async fn ask(req: &Req, target: &str, fx: &Fx<'_>) -> Result<String> {
    let got = fx.get(format!("{target}:{}", req.path)).await?.text()?.to_owned();
    // The same again, and another one beside it.
    let both = fx.all([fx.get(format!("{target}:{}", req.path)), fx.get(format!("beside:{}", req.path))]).await?;
    assert_eq!((both[0].text()?, both[1].text()?), (req.path.as_str(), req.path.as_str()));
    Ok(got)
}
#[step]
async fn shaky(req: &Req, fx: &Fx<'_>) -> Result<String> {
    Ok(fx.get(format!("shaky:{}", req.path)).await?.text()?.to_owned())
}
#[step]
async fn same(a: &str, b: &str) -> Result<String> {
    assert_eq!(a, b, "two answers of one request");
    Ok(a.to_owned())
}
#[subflow]
async fn part(req: &Req) -> String {
    let one = ask(req, "a");
    #[optional]
    #[timeout("50s")]
    let two = ask(req, "b");
    #[after(two)]
    same(one, one)
}
#[step]
async fn items(req: &Req) -> Result<Vec<String>> {
    Ok(vec![req.path.clone(); 5])
}
#[step]
async fn item(path: &String, fx: &Fx<'_>) -> Result<String> {
    Ok(fx.post(format!("item:{path}")).await?.text()?.to_owned())
}
#[step]
async fn answer(
    part: &String,
    pair: &(String, Option<String>),
    some: &[String],
    hedged: &String,
    shaken: Option<&String>,
    each: &[String],
) -> Result<Response> {
    let all = [part, &pair.0, hedged].into_iter().chain(&pair.1).chain(some).chain(shaken).chain(each);
    let mut all: Vec<&str> = all.map(String::as_str).collect();
    all.dedup();
    Ok(Response::text(all.join(" and ")))
}
#[flow("many-at-once", deadline = "90s", calls_at_once = 6)]
async fn many(req: &Req) -> Response {
    let part = part(req);
    let pair = all!(at_most 1: ask(req, "a"), optional ask(req, "b"));
    let some = quorum!(2: ask(req, "a"), shaky(req), ask(req, "c"));
    let hedged = hedge!(after 1ms: ask(req, "a"), ask(req, "b"));
    #[optional]
    #[retry(1)]
    let shaken = first_ok!(sequential: shaky(req));
    let items = items(req);
    let each = each!(path in items, max 8, parallel 3: item(path));
    answer(part, pair, some, hedged, shaken, each)
}

/// What the caller of an answer and the thread that gives it share.
#[derive(Default)]
struct Desk {
    ready: bool,
    waiting: Option<Waker>,
}

/// Answers each call from one of its threads, with the path that was asked for.
struct Elsewhere(Vec<Sender<(u64, Arc<Mutex<Desk>>)>>, Mutex<u64>);

impl Elsewhere {
    fn new(threads: usize) -> Self {
        let serve = |n: usize| {
            let (calls, queue) = channel::<(u64, Arc<Mutex<Desk>>)>();
            thread::spawn(move || {
                let mut kept: Vec<Waker> = Vec::new();
                for (dice, desk) in queue {
                    (0..dice % 16).for_each(|_| thread::yield_now());
                    // Woken for nothing, before there is an answer.
                    let early = desk.lock().waiting.clone().filter(|_| dice & 0x10 != 0);
                    early.iter().for_each(Waker::wake_by_ref);
                    (0..dice >> 8 & 7).for_each(|_| thread::yield_now());
                    let waiting = {
                        let mut desk = desk.lock();
                        desk.ready = true;
                        desk.waiting.take()
                    };
                    waiting.iter().for_each(Waker::wake_by_ref);
                    // Woken again, whatever became of that run meanwhile.
                    kept.extend(waiting.into_iter().chain(early));
                    if let Some(stale) = kept.get(dice as usize % (kept.len() + 1)) {
                        stale.wake_by_ref();
                    }
                    if kept.len() > 200 {
                        kept.drain(..100);
                    }
                }
                assert!(!kept.is_empty(), "thread {n} had something to do");
            });
            calls
        };
        Self((0..threads).map(serve).collect(), Mutex::new(0x9e37_79b9_7f4a_7c15))
    }

    /// A number that looks random.
    fn dice(&self) -> u64 {
        let mut state = self.1.lock();
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        *state >> 11
    }
}

impl Adapter for Elsewhere {
    fn http<'a>(
        &'a self,
        call: HttpCall,
        traced: Traced<'a>,
    ) -> BoxFuture<'a, std::result::Result<HttpAnswer, EffectError>> {
        let (desk, dice) = (Arc::new(Mutex::new(Desk::default())), self.dice());
        let fails = &*call.target == "shaky" && traced.attempt == 1;
        let status = if fails { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
        let answer = HttpAnswer { status, body: call.path_and_query.into(), ..HttpAnswer::default() };
        let mut sent = dice & 0x60 == 0;
        if sent {
            // It may be there before anybody waits for it.
            let _ = self.0[dice as usize % self.0.len()].send((dice, Arc::clone(&desk)));
        }
        Box::pin(poll_fn(move |cx| {
            let mut at = desk.lock();
            if at.ready {
                return Poll::Ready(Ok(answer.clone()));
            }
            at.waiting = Some(cx.waker().clone());
            drop(at);
            if !std::mem::replace(&mut sent, true) {
                let _ = self.0[dice as usize % self.0.len()].send((dice, Arc::clone(&desk)));
            }
            Poll::Pending
        }))
    }

    fn has_target(&self, _: &str) -> bool {
        true
    }
}

/// One run, dropped after `polls` of its future when that comes before its end. True when it was answered.
async fn serve(recorder: Recorder, flow: BoundFlow, engine: Arc<Engine>, number: u64, polls: u64) -> bool {
    let recording = recorder.start(recorder.clock().now(), None, true);
    recording.route(flow.name(), flow.name(), 0);
    let path = format!("/{number}");
    let outcome = {
        let mut run = pin!(flow.run(Req::get(&path), Env::new((*recording).clone(), engine)));
        let mut left = polls;
        poll_fn(|cx| {
            if left == 0 {
                return Poll::Ready(None);
            }
            left -= 1;
            run.as_mut().poll(cx).map(Some)
        })
        .await
    };
    let Some(outcome) = outcome else {
        return false;
    };
    let response = outcome.result.unwrap_or_else(|fail| panic!("run {number}: {fail}"));
    let text = String::from_utf8_lossy(response.body.whole().expect("it is no stream")).into_owned();
    assert_eq!(text, path, "only its own answers");
    assert_eq!(outcome.failures, vec![], "what is optional did well too");
    recording.finish(recorder.clock().now(), Outcome::Ok, 200, Name::NONE);
    true
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_runs_at_once_answer_each_request_with_its_own() {
    let recorder = Recorder::for_tests(Clock::real());
    let (flow, engine) = (many().bind(recorder.names()), Engine::new(Arc::new(Elsewhere::new(2))));
    let (mut answered, mut dropped, mut told) = (0, 0, 0);
    let all = async {
        for batch in 0..RUNS / AT_ONCE {
            let runs: Vec<_> = (0..AT_ONCE)
                .map(|n| {
                    let number = batch * AT_ONCE + n;
                    // One in three is dropped after a few polls.
                    let polls = if number.is_multiple_of(3) { number % 23 } else { u64::MAX };
                    tokio::spawn(serve(recorder.clone(), flow.clone(), Arc::clone(&engine), number, polls))
                })
                .collect();
            for run in runs {
                if run.await.expect("no run panics") { answered += 1 } else { dropped += 1 }
            }
            for timeline in recorder.timelines() {
                timeline.check().unwrap();
                let whole = timeline.root().outcome == Outcome::Ok;
                let open = timeline.nodes.iter().filter(|node| node.end_ns > timeline.latency_ns).count();
                assert!(whole || timeline.root().outcome == Outcome::Cancelled);
                assert_eq!(open, 0, "no node outlives its request");
                told += 1;
            }
        }
    };
    tokio::time::timeout(EVER, all).await.expect("no run hangs");
    assert_eq!((answered + dropped, told), (RUNS, RUNS), "every run is accounted for");
    assert!(answered >= RUNS * 2 / 3 && dropped > RUNS / 10, "{answered} answered, {dropped} dropped");
}

//! What the driver promises: early answers, panics, foreign awaits, conditions, cancelled clients, replay, production.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures_util::future::{BoxFuture, join};
use serde_json::json;
use zerver_flows::adapter::{Adapter, EffectError, HttpAnswer, HttpCall, Traced};
use zerver_flows::fake::{Done, Fake};
use zerver_flows::journal::Got;
use zerver_flows::replay::{Drift, replay};
use zerver_flows::{Domain, Engine, Env, Exit, Flow, Fx, Req, Response, Result, flow, step};
use zerver_telemetry::clock::Clock;
use zerver_telemetry::event::{Cause, NodeId, Outcome};
use zerver_telemetry::explain::{Piece, critical_path};
use zerver_telemetry::names::Name;
use zerver_telemetry::recorder::Recorder;

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

#[step]
async fn fetch(target: &str, fx: &Fx<'_>) -> Result<String> {
    Ok(fx.get(format!("{target}:/")).await?.text()?.to_owned())
}
#[step]
async fn fetch_after(target: &str, _before: &String, fx: &Fx<'_>) -> Result<String> {
    Ok(fx.get(format!("{target}:/")).await?.text()?.to_owned())
}
#[step]
async fn respond(a: &String, b: &String) -> Result<Response> {
    Ok(Response::text(format!("{a}{b}")))
}

mod early {
    use super::*;

    #[step]
    async fn cached(fx: &Fx<'_>) -> Result<()> {
        fx.sleep(ms(3)).await;
        fx.done(Response::text("from the cache").status(203))
    }
    #[step]
    async fn answer(_slow: &String, (): &()) -> Result<Response> {
        Ok(Response::empty(200))
    }
    #[flow("early-answer")]
    async fn early(req: &Req) -> Response {
        let slow = fetch("slow");
        let hit = cached();
        answer(slow, hit)
    }

    #[test]
    fn an_early_answer_cancels_what_still_runs() {
        let mut fake = Fake::new();
        fake.on("GET slow:").takes(ms(50));
        let done = fake.run(&early(), Req::get("/"));
        assert_eq!((done.status(), done.text(), done.elapsed()), (203, "from the cache".into(), ms(3)));
        let (hit, slow) = (done.node("hit").unwrap(), done.node("slow.slow").unwrap());
        assert_eq!((hit.outcome, hit.states[0].cause), (Outcome::Ok, Cause::Timer));
        assert_eq!((slow.outcome, slow.end_ns), (Outcome::Cancelled, 3_000_000));
        assert_eq!(done.journal.entries[0].got, Got::Cancelled);
        done.timeline.check().unwrap();
    }
}

mod wrong_steps {
    use super::*;

    #[step]
    async fn panics(req: &Req, fx: &Fx<'_>) -> Result<u8> {
        fx.sleep(ms(1)).await;
        Ok(req.path.as_bytes()[99])
    }
    #[step]
    async fn foreign() -> Result<u8> {
        std::future::pending().await
    }
    #[step]
    async fn answer(byte: Option<&u8>, fx: &Fx<'_>) -> Result<Response> {
        Ok(Response::text(format!("{byte:?} {}", fx.failure("byte").map_or("none", |fail| fail.code))))
    }
    #[flow("required-panic")]
    async fn required(req: &Req) -> Response {
        let byte = panics(req);
        answer(Some(byte))
    }
    #[flow("optional-panic")]
    async fn optional(req: &Req) -> Response {
        #[optional]
        let byte = panics(req);
        answer(byte)
    }
    #[flow("foreign-await")]
    async fn awaits_foreign(req: &Req) -> Response {
        let byte = foreign();
        answer(Some(byte))
    }

    #[test]
    fn a_panic_is_a_failure_of_its_step() {
        let done = Fake::new().run(&required(), Req::get("/"));
        let fail = done.fail().unwrap();
        assert_eq!((fail.status.as_u16(), fail.code, fail.step.as_deref()), (500, "step_panicked", Some("byte")));
        assert!(fail.detail.as_ref().unwrap().contains("index out of bounds"), "{fail}");
        assert_eq!(done.node("byte").unwrap().outcome, Outcome::Error);
        let done = Fake::new().run(&optional(), Req::get("/"));
        assert_eq!((done.status(), done.text()), (200, "None step_panicked".into()));
    }

    #[test]
    fn what_is_not_an_effect_is_not_waited_for() {
        let done = Fake::new().run(&awaits_foreign(), Req::get("/"));
        let fail = done.fail().unwrap();
        assert_eq!((fail.code, fail.domain), ("foreign_await", Domain::Internal));
    }
}

mod conditions {
    use super::*;

    #[step]
    async fn header(req: &Req) -> Result<&str> {
        Ok(req.header("x-tier").unwrap_or("basic"))
    }
    #[step]
    async fn answer(extra: Option<&String>, fx: &Fx<'_>) -> Result<Response> {
        assert!(fx.failure("extra").is_none());
        Ok(Response::text(extra.map_or("no extra", |extra| extra)))
    }
    #[flow("conditional-step")]
    async fn conditional(req: &Req) -> Response {
        let tier = header(req);
        #[when(*tier == "gold")]
        let extra = fetch("extra");
        answer(extra)
    }

    #[test]
    fn a_condition_leaves_a_step_out() {
        let mut fake = Fake::new();
        fake.on("GET extra:").takes(ms(5)).body("gold!");
        let done = fake.run(&conditional(), Req::get("/"));
        assert_eq!((done.text(), done.elapsed(), done.calls.len()), ("no extra".into(), ms(0), 0));
        assert_eq!(done.node("extra").unwrap().outcome, Outcome::Skipped);
        let done = fake.run(&conditional(), Req::get("/").with_header("x-tier", "gold"));
        assert_eq!((done.text(), done.elapsed()), ("gold!".into(), ms(5)));
    }
}

mod within_a_step {
    use super::*;

    #[step]
    async fn both(fx: &Fx<'_>) -> Result<String> {
        let (a, b) = join(fx.get("a:/").into_future(), fx.get("b:/").timeout(ms(8)).into_future()).await;
        fx.note("joined", true);
        Ok(format!("{}{}", a?.text()?, b.map_or("-".into(), |b| b.text().unwrap_or("?").to_owned())))
    }
    #[step]
    async fn answer(both: &str) -> Result<Response> {
        Ok(Response::text(both))
    }
    #[flow("two-effects")]
    async fn two(req: &Req) -> Response {
        let both = both();
        answer(both)
    }

    #[test]
    fn effects_of_one_step_may_overlap_and_each_wakes_it() {
        let mut fake = Fake::new();
        fake.on("GET a:").takes(ms(5)).body("a");
        fake.on("GET b:").takes(ms(20)).body("b");
        let done = fake.run(&two(), Req::get("/"));
        assert_eq!((done.text(), done.elapsed()), ("a-".into(), ms(8)));
        let (step, a, b) = (done.node("both").unwrap(), done.node("both.a").unwrap(), done.node("both.b").unwrap());
        assert_eq!((b.outcome, b.end_ns), (Outcome::Timeout, 8_000_000));
        let woken: Vec<_> = step.states.iter().filter_map(|state| state.woken_by).collect();
        assert_eq!(woken, [a.id, b.id]);
        assert_eq!(step.attr("joined").unwrap().to_string(), "true");
    }
}

#[test]
fn a_single_step_runs_alone() {
    let mut fake = Fake::new();
    fake.on("GET cart:").times(1).status(500);
    fake.on("GET cart:").body("second");
    let tried = fake.step(async |fx| {
        let first = fx.get("cart:/").any_status().await?.status.as_u16();
        Ok((first, fetch("cart", fx).await?))
    });
    assert_eq!(tried, Ok((500, "second".to_owned())));
    let failed = Fake::new().step(async |fx| fetch("cart", fx).await).unwrap_err();
    assert!(failed.to_string().contains("no rule of the fake matches `GET cart:/`"), "{failed}");
}

mod joins {
    use super::*;

    /// What a join gave, when, and how each call's node ended.
    #[derive(Debug, PartialEq)]
    struct Ended(String, u64, Vec<(u64, u64, Outcome)>);

    fn ended(done: &Done) -> Ended {
        done.timeline.check().unwrap();
        let again = replay(&joined(), &done.journal);
        assert_eq!((again.drifts, again.done.text(), again.done.elapsed()), (vec![], done.text(), done.elapsed()));
        let calls = done.timeline.nodes.iter().filter(|node| node.name.starts_with("c-"));
        let calls = calls.map(|node| (node.start_ns / 1_000_000, node.end_ns / 1_000_000, node.outcome)).collect();
        let text = done.fail().map_or_else(|| done.text(), |fail| fail.code.to_owned());
        Ended(text, done.elapsed().as_millis() as u64, calls)
    }

    #[step]
    async fn join_them(req: &Req, fx: &Fx<'_>) -> Result<String> {
        let calls = ["c-1:/", "c-2:/", "c-3:/"].map(|to| fx.get(to));
        let one = match req.path.as_str() {
            "/race" => fx.race(calls).await?,
            "/first_ok" => fx.first_ok(calls).await?,
            "/hedge" => fx.hedge(ms(10), calls).await?,
            "/all" | "/quorum" => {
                let answers = if req.path == "/all" { fx.all(calls).await? } else { fx.quorum(2, calls).await? };
                let texts: Result<Vec<&str>> = answers.iter().map(|answer| answer.text()).collect();
                return Ok(texts?.concat());
            }
            _ => fx.race([]).await?,
        };
        Ok(one.text()?.to_owned())
    }
    #[step]
    async fn answer(text: &str) -> Result<Response> {
        Ok(Response::text(text))
    }
    #[flow("joined-calls")]
    async fn joined(req: &Req) -> Response {
        let text = join_them(req);
        answer(text)
    }

    #[test]
    fn each_policy_takes_its_answers_and_cancels_the_rest() {
        use Outcome::{Cancelled, Error, Ok};
        let run = |path: &str, calls: [(u64, u16); 3]| {
            let mut fake = Fake::new();
            for (n, (takes, status)) in calls.into_iter().enumerate() {
                let rule = fake.on(&format!("GET c-{}:", n + 1));
                rule.takes(ms(takes)).status(status).body((n + 1).to_string());
            }
            ended(&fake.run(&joined(), Req::get(path)))
        };
        let good = [(30, 200), (20, 200), (25, 200)];
        let failing = [(30, 200), (20, 503), (25, 200)];
        let bad = [(5, 500), (12, 500), (3, 500)];
        let check = |got: Ended, text: &str, ms, nodes: &[(u64, u64, Outcome)]| {
            assert_eq!(got, Ended(text.to_owned(), ms, nodes.to_vec()));
        };
        check(run("/all", good), "123", 30, &[(0, 30, Ok), (0, 20, Ok), (0, 25, Ok)]);
        check(run("/all", failing), "upstream_status", 20, &[(0, 20, Cancelled), (0, 20, Error), (0, 20, Cancelled)]);
        check(run("/race", good), "2", 20, &[(0, 20, Cancelled), (0, 20, Ok), (0, 20, Cancelled)]);
        check(run("/race", failing), "upstream_status", 20, &[(0, 20, Cancelled), (0, 20, Error), (0, 20, Cancelled)]);
        check(run("/first_ok", failing), "3", 25, &[(0, 25, Cancelled), (0, 20, Error), (0, 25, Ok)]);
        check(run("/first_ok", bad), "upstream_status", 12, &[(0, 5, Error), (0, 12, Error), (0, 3, Error)]);
        check(run("/quorum", good), "23", 25, &[(0, 25, Cancelled), (0, 20, Ok), (0, 25, Ok)]);
        check(run("/quorum", failing), "13", 30, &[(0, 30, Ok), (0, 20, Error), (0, 25, Ok)]);
        check(run("/hedge", good), "1", 30, &[(0, 30, Ok), (10, 30, Cancelled), (20, 30, Cancelled)]);
        check(run("/hedge", [(8, 200), (1, 200), (1, 200)]), "1", 8, &[(0, 8, Ok)]);
        check(run("/hedge", [(90, 200), (7, 200), (1, 200)]), "2", 17, &[(0, 17, Cancelled), (10, 17, Ok)]);
        check(run("/hedge", bad), "upstream_status", 18, &[(0, 5, Error), (5, 17, Error), (15, 18, Error)]);
        check(run("/none", good), "no_calls", 0, &[]);
    }
}

mod replays {
    use super::*;

    #[step]
    async fn stamped(before: &String, fx: &Fx<'_>) -> Result<String> {
        let now = fx.now().duration_since(std::time::UNIX_EPOCH).or(Err(Exit::from(std::fmt::Error)))?.as_nanos();
        fx.post("b:/").json(&json!({ "now": now.to_string(), "random": fx.random().to_string() })).await?;
        Ok(format!("{before}{now}"))
    }
    #[flow("record-me")]
    async fn recorded(req: &Req) -> Response {
        let a = fetch("a");
        let b = stamped(a);
        respond(a, b)
    }
    #[flow("record-me", version = 2)]
    async fn reordered(req: &Req) -> Response {
        #[optional]
        let extra = fetch("extra");
        let a = fetch("a");
        let b = stamped(a);
        #[after(extra)]
        respond(a, b)
    }
    #[flow("record-me", version = 3)]
    async fn changed(req: &Req) -> Response {
        let a = fetch("other");
        respond(a, a)
    }

    fn record() -> Done {
        let mut fake = Fake::new();
        fake.on("GET a:").takes(ms(7)).body("A");
        fake.on("POST b:").takes(ms(5));
        fake.run(&recorded(), Req::get("/x?y=1"))
    }

    #[test]
    fn a_replay_gives_the_same_answer_in_the_same_time() {
        let then = record();
        let now = replay(&recorded(), &then.journal);
        assert_eq!(now.drifts, []);
        assert_eq!((now.done.text(), now.done.elapsed()), (then.text(), then.elapsed()));
        assert_eq!(now.done.elapsed(), ms(12));
    }

    #[test]
    fn drift_is_named_and_independent_steps_do_not_disturb() {
        let then = record();
        let drifts = |flow: &Flow| replay(flow, &then.journal).drifts;
        let again = replay(&reordered(), &then.journal);
        let texts: Vec<String> = again.drifts.iter().map(ToString::to_string).collect();
        assert_eq!(texts, ["extra#0: GET extra:/ is not in the journal"]);
        assert_eq!(again.done.text(), then.text());
        let found = drifts(&changed());
        assert!(matches!(&found[0], Drift::Changed { asked, .. } if asked == "GET other:/"), "{found:?}");
        assert!(found.iter().any(|drift| drift.to_string() == "b#1: the code no longer asks POST b:/"), "{found:?}");
    }
}

/// Answers after the runtime had a turn, and counts.
struct Upstream(AtomicU32);

impl Adapter for Upstream {
    fn http<'a>(
        &'a self,
        call: HttpCall,
        traced: Traced<'a>,
    ) -> BoxFuture<'a, std::result::Result<HttpAnswer, EffectError>> {
        Box::pin(async move {
            self.0.fetch_add(1, Ordering::Relaxed);
            if &*call.target == "never" {
                std::future::pending::<()>().await;
            }
            tokio::task::yield_now().await;
            traced.log.attr_text(traced.node, traced.log.name("peer"), "10.0.0.1:80");
            Ok(HttpAnswer { body: call.target.to_string().into(), ..HttpAnswer::default() })
        })
    }

    fn has_target(&self, name: &str) -> bool {
        name != "missing"
    }
}

#[flow("chain")]
async fn chain(req: &Req) -> Response {
    let a = fetch("a");
    let b = fetch_after("b", a);
    respond(a, b)
}
#[flow("hanging")]
async fn hanging(req: &Req) -> Response {
    #[timeout("5ms")]
    #[optional]
    let maybe = fetch("never");
    let a = fetch("never");
    #[after(maybe)]
    respond(a, a)
}
#[flow("missing-target")]
async fn missing(req: &Req) -> Response {
    let a = fetch("missing");
    respond(a, a)
}

/// Runs a flow as a gateway does.
async fn serve(recorder: &Recorder, flow: &Flow, deadline: Option<Duration>) -> u16 {
    let engine = Engine::new(Arc::new(Upstream(AtomicU32::new(0))));
    let bound = flow.bind(recorder.names());
    let recording = recorder.start(recorder.clock().now(), None, false);
    let log = (*recording).clone();
    let deadline = deadline.map(|by| recorder.clock().after(recorder.clock().now(), by));
    let env = Env { deadline, ..Env::new(log, engine) };
    let request = async {
        tokio::task::yield_now().await;
        let outcome = bound.run(Req::get("/"), env).await;
        tokio::task::yield_now().await;
        outcome
    };
    let outcome = request.await;
    let status = outcome.result.map_or_else(|fail| fail.status, |response| response.status).as_u16();
    recording.finish(recorder.clock().now(), Outcome::Ok, status, Name::NONE);
    status
}

#[tokio::test]
async fn in_production_the_request_waits_for_its_steps_and_every_moment_is_told() {
    let recorder = Recorder::for_tests(Clock::real());
    assert_eq!(serve(&recorder, &chain(), None).await, 200);
    let timeline = recorder.timelines().remove(0);
    timeline.check().unwrap();
    let names: Vec<_> = (0..timeline.nodes.len()).map(|n| timeline.path(NodeId(n as u16))).collect();
    assert_eq!(names, ["", "a", "a.a", "b", "b.b", "respond"]);
    let joins = timeline.root().states.iter().filter(|state| state.cause == Cause::Join).count();
    assert_eq!(joins, 1, "{:#?}", timeline.root().states);
    let woken: Vec<_> = timeline.root().states.iter().filter_map(|state| state.woken_by).collect();
    assert_eq!(woken, [NodeId(5)]);
    assert_eq!(timeline.nodes[3].after, Some(NodeId(1)));
    assert_eq!(timeline.nodes[2].attr("peer").unwrap().to_string(), "10.0.0.1:80");
    assert_eq!(timeline.nodes[1].states.last().unwrap().cause, Cause::Run);
}

/// Time that ran out was spent on the call that did not answer, not on waiting in general.
#[test]
fn a_call_cut_off_by_a_deadline_is_what_the_time_went_to() {
    #[flow("cut-off")]
    async fn cut_off(req: &Req) -> Response {
        #[timeout("5ms")]
        #[optional]
        let maybe = fetch("seldom");
        let a = fetch("never");
        #[after(maybe)]
        respond(a, a)
    }
    let mut fake = Fake::new();
    fake.on("GET").never();
    fake.deadline(ms(20));
    let done = fake.run(&cut_off(), Req::get("/"));
    assert_eq!((done.status(), done.elapsed()), (504, ms(20)));
    let pieces = critical_path(&done.timeline);
    let io: u64 = pieces.iter().filter(|p| p.cause == Cause::Io && &*p.place == "a.never").map(Piece::len_ns).sum();
    assert_eq!(io, 20_000_000, "{pieces:#?}");
}

#[tokio::test]
async fn in_production_timers_and_unknown_targets_work_too() {
    let recorder = Recorder::for_tests(Clock::real());
    assert_eq!(serve(&recorder, &hanging(), Some(ms(20))).await, 504);
    assert_eq!(serve(&recorder, &missing(), None).await, 500);
    let timelines = recorder.timelines();
    assert_eq!(timelines[0].nodes[1].outcome, Outcome::Timeout);
    assert_eq!(timelines[0].nodes.iter().filter(|node| node.outcome == Outcome::Cancelled).count(), 3);
    assert!(timelines[0].latency_ns >= 20_000_000);
    assert_eq!(timelines[1].nodes[2].error.as_deref(), Some("unknown_target"));
}

#[tokio::test]
async fn a_client_that_leaves_cancels_everything() {
    let recorder = Recorder::for_tests(Clock::real());
    let engine = Engine::new(Arc::new(Upstream(AtomicU32::new(0))));
    let recording = recorder.start(recorder.clock().now(), None, false);
    let run = hanging().bind(recorder.names()).run(Req::get("/"), Env::new((*recording).clone(), engine));
    let mut run = Box::pin(run);
    assert!(futures_util::poll!(run.as_mut()).is_pending());
    drop(run);
    drop(recording);
    let timeline = recorder.timelines().remove(0);
    timeline.check().unwrap();
    assert!(timeline.nodes.iter().all(|node| node.outcome == Outcome::Cancelled), "{timeline:#?}");
    assert_eq!(timeline.nodes.len(), 5);
}

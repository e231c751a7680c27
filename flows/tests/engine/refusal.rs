//! A call that a gate refuses: its reason and its time to come again reach the step, the flow's end and the timeline.

use std::time::Duration;

use zerver_flows::adapter::{EffectError, Refusal};
use zerver_flows::fake::{Done, Fake};
use zerver_flows::journal::Got;
use zerver_flows::replay::replay;
use zerver_flows::{Domain, Exit, Flow, Fx, Req, Response, Result, flow, step};
use zerver_telemetry::event::Outcome;

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

const BUSY: Refusal = Refusal { reason: "predicted_wait", retry_after: Duration::from_secs(3) };
const FULL: Refusal = Refusal { reason: "queue_full", retry_after: Duration::from_secs(8) };

#[step]
async fn fetch(target: &str, fx: &Fx<'_>) -> Result<String> {
    Ok(fx.get(format!("{target}:/")).await?.text()?.to_owned())
}

/// How a node of the timeline ended.
fn node(done: &Done, path: &str) -> (Outcome, u16, Option<String>) {
    let node = done.node(path).unwrap_or_else(|| panic!("no node {path}: {:#?}", done.timeline));
    (node.outcome, node.status, node.error.as_deref().map(str::to_owned))
}

/// The run again, from its journal: the same end at the same time.
fn replays(flow: &Flow, done: &Done) {
    done.timeline.check().unwrap();
    let again = replay(flow, &done.journal);
    assert!(again.drifts.is_empty(), "{:?}", again.drifts);
    assert_eq!(again.done.fail(), done.fail());
    assert_eq!((again.done.text(), again.done.elapsed()), (done.text(), done.elapsed()));
    assert_eq!(again.done.timeline.outcome, done.timeline.outcome);
}

mod required {
    use super::*;

    #[step]
    async fn answer(cart: &str) -> Result<Response> {
        Ok(Response::text(cart))
    }
    #[flow("refused-cart")]
    async fn refused(req: &Req) -> Response {
        #[retry(2)]
        let cart = fetch("carts");
        answer(cart)
    }

    #[test]
    fn a_refusal_ends_the_flow_as_one_and_is_not_tried_again() {
        let mut fake = Fake::new();
        fake.on("GET carts:").takes(ms(5)).error(EffectError::Refused(BUSY));
        let done = fake.run(&refused(), Req::get("/"));
        let fail = done.fail().unwrap();
        assert_eq!((fail.status.as_u16(), fail.code, fail.refused), (503, "predicted_wait", Some(BUSY)));
        assert_eq!((fail.domain, fail.step.as_deref()), (Domain::Upstream, Some("cart")));
        assert!(fail.to_string().contains("GET carts:/: refused: predicted_wait"), "{fail}");
        assert_eq!((done.calls.len(), done.elapsed()), (1, ms(5)));
        let why = || Some("predicted_wait".to_owned());
        assert_eq!((done.timeline.outcome, done.timeline.error.as_deref()), (Outcome::Refused, Some("predicted_wait")));
        assert_eq!(node(&done, "cart"), (Outcome::Refused, 503, why()));
        assert_eq!(node(&done, "cart.carts"), (Outcome::Refused, 0, why()));
        assert_eq!(done.journal.entries[0].got, Got::Failed(EffectError::Refused(BUSY)));
        replays(&refused(), &done);
    }
}

mod optional {
    use super::*;

    #[step]
    async fn answer(profile: Option<&String>, fx: &Fx<'_>) -> Result<Response> {
        let refused = fx.failure("profile").and_then(|fail| fail.refused);
        Ok(Response::text(format!("{profile:?} {}", refused.map_or("-", |refusal| refusal.reason))))
    }
    #[flow("refused-profile")]
    async fn without(req: &Req) -> Response {
        #[optional]
        let profile = fetch("profiles");
        answer(profile)
    }

    #[test]
    fn an_optional_step_is_done_without_and_its_node_says_why() {
        let mut fake = Fake::new();
        fake.on("GET profiles:").error(EffectError::Refused(FULL));
        let done = fake.run(&without(), Req::get("/"));
        assert_eq!((done.status(), done.text()), (200, "None queue_full".into()));
        assert_eq!((done.timeline.outcome, done.timeline.error.as_deref()), (Outcome::Ok, None));
        let why = || Some("queue_full".to_owned());
        assert_eq!(node(&done, "profile"), (Outcome::Refused, 503, why()));
        assert_eq!(node(&done, "profile.profiles"), (Outcome::Refused, 0, why()));
        assert_eq!(done.outcome.failures[0].1.refused, Some(FULL));
        replays(&without(), &done);
    }
}

mod handled {
    use super::*;

    #[step]
    async fn quote(fx: &Fx<'_>) -> Result<String> {
        match fx.get("quotes:/").await {
            Ok(answer) => Ok(answer.text()?.to_owned()),
            Err(Exit::Fail(fail)) => {
                let Some(Refusal { reason, retry_after }) = fail.refused else { return Err(Exit::Fail(fail)) };
                Ok(format!("no quote: {reason}, come in {} s", retry_after.as_secs()))
            }
            Err(exit) => Err(exit),
        }
    }
    #[step]
    async fn answer(quote: &str) -> Result<Response> {
        Ok(Response::text(quote))
    }
    #[flow("handled-refusal")]
    async fn handled(req: &Req) -> Response {
        let quote = quote();
        answer(quote)
    }

    #[test]
    fn a_step_that_handles_a_refusal_sees_all_of_it() {
        let mut fake = Fake::new();
        fake.on("GET quotes:").error(EffectError::Refused(FULL));
        let done = fake.run(&handled(), Req::get("/"));
        assert_eq!((done.status(), done.text()), (200, "no quote: queue_full, come in 8 s".into()));
        assert_eq!((node(&done, "quote").0, node(&done, "quote.quotes").0), (Outcome::Ok, Outcome::Refused));
        replays(&handled(), &done);
    }
}

mod joins {
    use super::*;

    #[step]
    async fn join_them(req: &Req, fx: &Fx<'_>) -> Result<String> {
        let calls = ["c-1:/", "c-2:/"].map(|to| fx.get(to));
        let one = match req.path.as_str() {
            "/race" => fx.race(calls).await?,
            "/first_ok" => fx.first_ok(calls).await?,
            "/hedge" => fx.hedge(ms(50), calls).await?,
            "/all" => fx.all(calls).await?.remove(0),
            _ => fx.quorum(1, calls).await?.remove(0),
        };
        Ok(one.text()?.to_owned())
    }
    #[step]
    async fn answer(text: &str) -> Result<Response> {
        Ok(Response::text(text))
    }
    #[flow("joined-refusals")]
    async fn joined(req: &Req) -> Response {
        let text = join_them(req);
        answer(text)
    }

    /// What each policy ends with when the first call ends so after 1 ms and the second after 2 ms, or is begun then.
    fn ends(path: &str, calls: [Option<EffectError>; 2]) -> (String, Option<Refusal>, Outcome) {
        let mut fake = Fake::new();
        for (n, error) in calls.into_iter().enumerate() {
            let rule = fake.on(&format!("GET c-{}:", n + 1));
            rule.takes(ms(n as u64 + 1)).body("good");
            if let Some(error) = error {
                rule.error(error);
            }
        }
        let done = fake.run(&joined(), Req::get(path));
        replays(&joined(), &done);
        let text = done.fail().map_or_else(|| done.text(), |fail| fail.code.to_owned());
        (text, done.fail().and_then(|fail| fail.refused), done.timeline.outcome)
    }

    #[test]
    fn a_join_that_fails_is_refused_only_when_nothing_broke() {
        let (busy, full) = (Some(EffectError::Refused(BUSY)), Some(EffectError::Refused(FULL)));
        let broken = Some(EffectError::Broken("reset".to_owned()));
        let refused = |refusal: Refusal| (refusal.reason.to_owned(), Some(refusal), Outcome::Refused);
        let broke = || ("upstream_broken".to_owned(), None, Outcome::Error);
        for path in ["/first_ok", "/quorum", "/hedge"] {
            assert_eq!(ends(path, [busy.clone(), full.clone()]), refused(FULL), "{path}: the last refusal");
            assert_eq!(ends(path, [broken.clone(), full.clone()]), broke(), "{path}: a failure, then a refusal");
            assert_eq!(ends(path, [busy.clone(), broken.clone()]), broke(), "{path}: a refusal, then a failure");
            assert_eq!(ends(path, [busy.clone(), None]), ("good".to_owned(), None, Outcome::Ok), "{path}");
        }
        for path in ["/race", "/all"] {
            assert_eq!(ends(path, [busy.clone(), broken.clone()]), refused(BUSY), "{path} ends with the first end");
            assert_eq!(ends(path, [broken.clone(), full.clone()]), broke(), "{path} ends with the first end");
        }
    }
}

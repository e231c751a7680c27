//! What calls are held to: retries and their budget, Retry-After, idempotency keys, shared reads, calls in the air.

use std::time::Duration;

use zerver_flows::adapter::EffectError;
use zerver_flows::fake::Fake;
use zerver_flows::replay::replay;
use zerver_flows::{Domain, Fx, Req, Response, Result, flow, step};
use zerver_telemetry::event::{Cause, Outcome};

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

mod retries {
    use super::*;

    #[step]
    async fn charge(fx: &Fx<'_>) -> Result<String> {
        Ok(fx.post("pay:/").await?.text()?.to_owned())
    }
    #[step]
    async fn answer(paid: &str) -> Result<Response> {
        Ok(Response::text(paid))
    }
    #[flow("retried-charge", deadline = "300ms")]
    async fn retried(req: &Req) -> Response {
        #[retry(2)]
        #[idempotent]
        let paid = charge();
        answer(paid)
    }

    #[test]
    fn another_try_carries_the_same_key_and_shows_as_one() {
        let mut fake = Fake::new();
        fake.on("POST pay:").takes(ms(5)).times(1).status(503);
        fake.on("POST pay:").takes(ms(5)).times(1).error(EffectError::Connect("no route".into()));
        fake.on("POST pay:").takes(ms(5)).body("paid");
        let done = fake.run(&retried(), Req::get("/"));
        assert_eq!(done.text(), "paid");
        let keys: Vec<_> = done.calls.iter().map(|call| call.call.idempotency_key.clone().unwrap()).collect();
        assert!(keys.len() == 3 && keys.iter().all(|key| *key == keys[0]), "{keys:?}");
        let effects = done.timeline.nodes.iter().filter(|node| &*node.name == "pay");
        let tries: Vec<_> = effects.map(|node| (node.attempt, node.occurrence)).collect();
        assert_eq!(tries, [(1, 1), (2, 1), (3, 1)]);
        // Two waits: 10 to 20 ms, then 20 to 40 ms.
        assert!(done.elapsed() >= ms(45) && done.elapsed() <= ms(75), "{:?}", done.elapsed());
        assert!(done.node("paid").unwrap().states.iter().any(|state| state.cause == Cause::Timer));
        done.timeline.check().unwrap();
        let again = replay(&retried(), &done.journal);
        assert_eq!((again.drifts, again.done.elapsed()), (vec![], done.elapsed()));
    }

    #[test]
    fn what_cannot_pass_or_has_no_time_is_not_tried_again() {
        let mut fake = Fake::new();
        fake.on("POST pay:").status(400);
        assert_eq!(fake.run(&retried(), Req::get("/")).calls.len(), 1);
        let mut fake = Fake::new();
        fake.on("POST pay:").takes(ms(295)).status(503);
        let done = fake.run(&retried(), Req::get("/"));
        assert_eq!((done.calls.len(), done.fail().unwrap().code), (1, "upstream_status"));
    }
}

mod together {
    use super::*;

    #[step]
    async fn ask(path: &str, fx: &Fx<'_>) -> Result<String> {
        Ok(fx.get(format!("cart:{path}")).await?.text()?.to_owned())
    }
    #[step]
    async fn ask_anew(path: &str, fx: &Fx<'_>) -> Result<String> {
        Ok(fx.get(format!("cart:{path}")).fresh().await?.text()?.to_owned())
    }
    #[step]
    async fn gone(fx: &Fx<'_>) -> Result<()> {
        fx.get("cart:/gone").on_status(404, 404, "no such cart").await?.ok()
    }
    #[step]
    async fn all(a: &str, b: &str, c: &str, d: &str) -> Result<Response> {
        Ok(Response::text(format!("{a}{b}{c}{d}")))
    }
    #[flow("shared-reads")]
    async fn shared(req: &Req) -> Response {
        let a = ask("/1");
        let b = ask("/1");
        let c = ask("/2");
        let d = ask_anew("/1");
        all(a, b, c, d)
    }
    #[flow("few-at-once", calls_at_once = 2)]
    async fn few(req: &Req) -> Response {
        let a = ask("/1");
        let b = ask("/2");
        let c = ask("/3");
        let d = ask("/4");
        all(a, b, c, d)
    }
    #[flow("mapped-status")]
    async fn mapped(req: &Req) -> Response {
        let a = gone();
        nothing(a)
    }
    #[step]
    async fn nothing((): &()) -> Result<Response> {
        Ok(Response::empty(204))
    }

    #[test]
    fn identical_reads_are_made_once() {
        let mut fake = Fake::new();
        fake.on("GET cart:/1").takes(ms(10)).body("1");
        fake.on("GET cart:/2").takes(ms(5)).body("2");
        let done = fake.run(&shared(), Req::get("/"));
        assert_eq!((done.text(), done.elapsed(), done.calls.len()), ("1121".into(), ms(10), 3));
        let follower = done.node("b.cart").unwrap();
        assert_eq!(
            (follower.outcome, follower.states[0].cause, follower.end_ns),
            (Outcome::Ok, Cause::Lock, 10_000_000)
        );
        done.timeline.check().unwrap();
        let again = replay(&shared(), &done.journal);
        assert_eq!((again.drifts, again.done.text()), (vec![], "1121".into()));
    }

    #[test]
    fn calls_beyond_the_most_at_once_queue_for_their_turn() {
        let mut fake = Fake::new();
        fake.on("GET cart:/1").takes(ms(10)).body("1");
        fake.on("GET cart:/2").takes(ms(5)).body("2");
        fake.on("GET cart:/3").takes(ms(20)).body("3");
        fake.on("GET cart:/4").takes(ms(1)).body("4");
        let done = fake.run(&few(), Req::get("/"));
        assert_eq!((done.text(), done.elapsed()), ("1234".into(), ms(25)));
        let [third, fourth] = ["c.cart", "d.cart"].map(|path| done.node(path).unwrap().states[0].clone());
        assert_eq!((third.cause, third.len_ns()), (Cause::Permit, 5_000_000));
        assert_eq!((fourth.cause, fourth.len_ns()), (Cause::Permit, 10_000_000));
        done.timeline.check().unwrap();
    }

    #[test]
    fn a_status_may_mean_another() {
        let mut fake = Fake::new();
        fake.on("GET cart:").status(404);
        let done = fake.run(&mapped(), Req::get("/"));
        let fail = done.fail().unwrap();
        assert_eq!((done.status(), fail.domain, &*fail.message), (404, Domain::Client, "no such cart"));
        fake = Fake::new();
        fake.on("GET cart:").status(410);
        assert_eq!(fake.run(&mapped(), Req::get("/")).status(), 502);
    }

    #[step]
    async fn fragile(fx: &Fx<'_>) -> Result<String> {
        Ok(fx.get("cart:/").await?.text()?.to_owned())
    }
    #[step]
    async fn careless(fx: &Fx<'_>) -> Result<String> {
        Ok(fx.post("cart:/").await?.text()?.to_owned())
    }
    #[flow("retry-after")]
    async fn patient(req: &Req) -> Response {
        #[retry(1)]
        let a = fragile();
        #[retry(1)]
        #[after(a)]
        let b = careless();
        all(a, b, b, b)
    }

    #[test]
    fn retry_after_is_obeyed_and_writes_are_not_repeated_unasked() {
        let mut fake = Fake::new();
        fake.on("GET cart:").times(1).status(503).header("retry-after", "2");
        fake.on("GET cart:").body("1");
        fake.on("POST cart:").times(1).error(EffectError::Connect("no route".into()));
        fake.on("POST cart:").body("2");
        let done = fake.run(&patient(), Req::get("/"));
        assert_eq!((done.text(), done.elapsed() > ms(2_000)), ("1222".into(), true));
        let mut fake = Fake::new();
        fake.on("GET cart:").times(1).status(503).header("retry-after", "60");
        assert_eq!(fake.run(&patient(), Req::get("/")).calls.len(), 1, "nobody waits for so long");
        let mut fake = Fake::new();
        fake.on("GET cart:").body("1");
        fake.on("POST cart:").times(1).status(503);
        let done = fake.run(&patient(), Req::get("/"));
        assert_eq!((done.status(), done.calls.len()), (502, 2), "it may have arrived");
    }
}

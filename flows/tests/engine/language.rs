//! What a flow can say beside "this step reads those slots": joins, loops, sub-flows, fallbacks, undoing, other flows.

use std::time::Duration;

use serde_json::json;
use zerver_flows::adapter::{EffectError, Priority};
use zerver_flows::fake::{Done, Fake};
use zerver_flows::replay::replay;
use zerver_flows::{Fail, Flow, Fx, Req, Response, Result, flow, step, subflow};
use zerver_telemetry::event::{NodeKind, Outcome};
use zerver_telemetry::explain::critical_path;

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// Runs a flow and its replay, and holds what must always be so.
fn run(fake: &Fake, flow: &Flow) -> Done {
    let done = fake.run(flow, Req::get("/"));
    done.timeline.check().unwrap();
    let again = replay(flow, &done.journal);
    assert_eq!(again.drifts, vec![], "a replay asks for the same");
    assert_eq!((again.done.status(), again.done.text()), (done.status(), done.text()));
    done
}

#[step]
async fn get(target: &str, fx: &Fx<'_>) -> Result<String> {
    Ok(fx.get(format!("{target}:/")).await?.text()?.to_owned())
}
#[step]
async fn text(a: &str) -> Result<Response> {
    Ok(Response::text(a))
}

mod joins {
    use super::*;

    #[flow("hedged-read")]
    async fn hedged(req: &Req) -> Response {
        let a = hedge!(after 80ms: get("eu"), get("us"));
        text(a)
    }

    #[test]
    fn a_hedge_asks_the_second_when_the_first_is_slow() {
        for (eu, us, answer, elapsed, calls) in
            [(20, 5, "eu", 20, 1), (200, 30, "us", 110, 2), (100, 50, "eu", 100, 2), (500, 500, "eu", 500, 2)]
        {
            let mut fake = Fake::new();
            fake.on("GET eu:").takes(ms(eu)).body("eu");
            fake.on("GET us:").takes(ms(us)).body("us");
            let done = run(&fake, &hedged());
            assert_eq!(
                (done.text(), done.elapsed(), done.calls.len()),
                (answer.into(), ms(elapsed), calls),
                "{eu} {us}"
            );
            let first = done.node("a.get").unwrap();
            assert_eq!(first.kind, NodeKind::Branch);
            assert_eq!(first.outcome, if answer == "eu" { Outcome::Ok } else { Outcome::Cancelled });
        }
    }

    #[test]
    fn a_hedge_asks_the_second_at_once_when_the_first_failed() {
        let mut fake = Fake::new();
        fake.on("GET eu:").takes(ms(5)).status(500);
        fake.on("GET us:").takes(ms(5)).body("us");
        let done = run(&fake, &hedged());
        assert_eq!((done.text(), done.elapsed()), ("us".into(), ms(10)));
        assert_eq!(done.calls[1].step, "a.2", "a journal knows a branch by its number");
    }

    #[test]
    fn the_critical_path_goes_through_the_branch_that_won() {
        let mut fake = Fake::new();
        fake.on("GET eu:").never();
        fake.on("GET us:").takes(ms(30)).body("us");
        let done = run(&fake, &hedged());
        let path = critical_path(&done.timeline);
        let names: Vec<String> = path.iter().map(|piece| done.timeline.path(piece.node)).collect();
        assert!(names.iter().any(|name| name.ends_with(".us")), "{names:?}");
        assert!(!names.iter().any(|name| name.ends_with(".eu")), "{names:?}");
    }

    #[step]
    async fn pair(both: &(String, Option<String>)) -> Result<Response> {
        Ok(Response::text(format!("{}{}", both.0, both.1.as_deref().unwrap_or("-"))))
    }
    #[flow("all-of-them")]
    async fn all(req: &Req) -> Response {
        let both = all!(get("a"), optional get("b"));
        pair(both)
    }
    #[flow("what-is-required")]
    async fn required(req: &Req) -> Response {
        let both = all_required!(get("a"), optional get("b"));
        pair(both)
    }

    #[test]
    fn all_waits_for_the_optional_ones_and_all_required_does_not() {
        let mut fake = Fake::new();
        fake.on("GET a:").takes(ms(10)).body("a");
        fake.on("GET b:").takes(ms(30)).body("b");
        let done = run(&fake, &all());
        assert_eq!((done.text(), done.elapsed()), ("ab".into(), ms(30)));
        let done = run(&fake, &required());
        assert_eq!((done.text(), done.elapsed()), ("a-".into(), ms(10)));
        let mut fake = Fake::new();
        fake.on("GET a:").takes(ms(10)).body("a");
        fake.on("GET b:").takes(ms(3)).status(500);
        assert_eq!(run(&fake, &all()).text(), "a-");
        assert_eq!(run(&fake, &required()).text(), "a-");
        let mut fake = Fake::new();
        fake.on("GET a:").takes(ms(10)).status(500);
        fake.on("GET b:").never();
        assert_eq!(run(&fake, &all()).elapsed(), ms(10), "a required failure ends it at once");
    }

    #[step]
    async fn list(all: &[String]) -> Result<Response> {
        Ok(Response::text(all.concat()))
    }
    #[flow("two-of-three")]
    async fn two(req: &Req) -> Response {
        let all = quorum!(2: get("a"), get("b"), get("c"));
        list(all)
    }
    #[flow("one-after-the-other")]
    async fn sequential(req: &Req) -> Response {
        let a = first_ok!(sequential: get("a"), get("b"), get("c"));
        text(a)
    }
    #[flow("who-is-first")]
    async fn race(req: &Req) -> Response {
        let a = race!(get("a"), get("b"));
        text(a)
    }

    #[test]
    fn a_quorum_takes_so_many_and_cancels_the_rest() {
        let mut fake = Fake::new();
        fake.on("GET a:").takes(ms(20)).body("a");
        fake.on("GET b:").takes(ms(5)).status(500);
        fake.on("GET c:").takes(ms(10)).body("c");
        let done = run(&fake, &two());
        assert_eq!((done.text(), done.elapsed()), ("ac".into(), ms(20)));
        let mut fake = Fake::new();
        fake.on("GET a:").takes(ms(20)).body("a");
        fake.on("GET").takes(ms(5)).status(500);
        assert_eq!((run(&fake, &two()).status(), run(&fake, &two()).elapsed()), (502, ms(5)));
    }

    #[test]
    fn sequential_branches_wait_for_those_before_them_to_fail() {
        let mut fake = Fake::new();
        fake.on("GET a:").takes(ms(20)).status(500);
        fake.on("GET b:").takes(ms(5)).body("b");
        let done = run(&fake, &sequential());
        assert_eq!((done.text(), done.elapsed(), done.calls.len()), ("b".into(), ms(25), 2));
    }

    #[test]
    fn a_race_is_lost_with_the_first_to_fail() {
        let mut fake = Fake::new();
        fake.on("GET a:").takes(ms(20)).body("a");
        fake.on("GET b:").takes(ms(5)).status(404);
        let done = run(&fake, &race());
        assert_eq!((done.status(), done.elapsed()), (502, ms(5)));
    }
}

mod loops {
    use super::*;

    #[step]
    async fn items(req: &Req) -> Result<Vec<String>> {
        Ok(req.query("n").unwrap_or("").chars().map(String::from).collect())
    }
    #[step]
    async fn price(item: &String, unit: &str, fx: &Fx<'_>) -> Result<String> {
        Ok(format!("{}{unit}", fx.get(format!("price:/{item}?unit={unit}")).await?.text()?))
    }
    #[step]
    async fn list(all: &[String], some: &[Option<String>]) -> Result<Response> {
        let some: Vec<&str> = some.iter().map(|it| it.as_deref().unwrap_or("-")).collect();
        Ok(Response::text(format!("{} {}", all.concat(), some.concat())))
    }
    #[flow("prices-of-items")]
    async fn each(req: &Req) -> Response {
        let items = items(req);
        let all = each!(item in items, max 6, parallel 2: price(item, "E"));
        let some = each!(item in items, max 6: optional price(item, ""));
        list(all, some)
    }

    #[test]
    fn a_loop_takes_each_item_so_many_at_a_time() {
        let mut fake = Fake::new();
        fake.on("GET price:/b").takes(ms(10)).body("B");
        fake.on("GET price:/c").takes(ms(10)).body("C");
        fake.on("GET price:/d").takes(ms(10)).body("D");
        let done = fake.run(&each(), Req::get("/?n=bcdbc"));
        assert_eq!((done.text(), done.elapsed()), ("BECEDEBECE BCDBC".into(), ms(30)));
        done.timeline.check().unwrap();
        let items = done.timeline.nodes.iter().filter(|node| node.kind == NodeKind::Branch).count();
        assert_eq!(items, 10);
        let done = fake.run(&each(), Req::get("/"));
        assert_eq!((done.text(), done.calls.len()), (" ".into(), 0), "an empty list is no failure");
        let done = fake.run(&each(), Req::get("/?n=bcdbcdb"));
        assert_eq!((done.fail().unwrap().code, done.calls.len()), ("too_many_items", 0));
    }

    #[test]
    fn an_item_may_fail_where_it_is_optional() {
        let mut fake = Fake::new();
        fake.on("GET price:/b").body("B");
        fake.on("GET price:/c").times(1).body("C");
        fake.on("GET price:/c").status(500);
        let done = fake.run(&each(), Req::get("/?n=bc"));
        assert_eq!(done.text(), "BECE B-");
    }
}

mod parts {
    use super::*;

    #[step]
    async fn add(a: &String, b: Option<&String>) -> Result<String> {
        Ok(format!("{a}{}", b.map_or("-", |b| b.as_str())))
    }

    /// Two reads in one.
    #[subflow]
    async fn both(left: &str, right: &str) -> String {
        let one = get(left);
        #[optional]
        let two = get(right);
        add(one, two)
    }

    #[flow("made-of-parts")]
    async fn whole(req: &Req) -> Response {
        let x = both("a", "b");
        #[timeout("15ms")]
        #[optional]
        let y = both("c", "d");
        let sum = add(x, y);
        text(sum)
    }

    #[test]
    fn a_sub_flow_is_a_step_with_steps_of_its_own() {
        let mut fake = Fake::new();
        fake.on("GET a:").takes(ms(10)).body("a");
        fake.on("GET b:").takes(ms(10)).body("b");
        fake.on("GET c:").takes(ms(20)).body("c");
        fake.on("GET d:").takes(ms(1)).body("d");
        let done = run(&fake, &whole());
        assert_eq!((done.text(), done.elapsed()), ("ab-".into(), ms(15)));
        let steps: Vec<&str> = done.calls.iter().map(|call| call.step.as_str()).collect();
        assert_eq!(steps, ["x.one", "x.two", "y.one", "y.two"], "the slots of two uses do not meet");
        assert_eq!(done.span("x.one.a"), Some((ms(0), ms(10))));
        assert_eq!(done.node("y.one").unwrap().outcome, Outcome::Cancelled);
        assert_eq!(done.node("y").unwrap().outcome, Outcome::Timeout);
        let graph = whole().graph().nodes()[0].inner.clone().unwrap();
        assert_eq!(graph.nodes().iter().map(|node| &*node.name).collect::<Vec<_>>(), ["one", "two", "respond"]);
    }

    #[test]
    fn a_sub_flow_can_be_tested_by_itself() {
        let mut fake = Fake::new();
        fake.on("GET a:").body("a");
        fake.on("GET b:").status(500);
        assert_eq!(fake.step(async |fx| both::__step("a", "b", fx).await).unwrap(), "a-");
    }
}

mod fallbacks {
    use super::*;

    #[step]
    async fn usual(why: &str) -> Result<String> {
        Ok(why.to_owned())
    }
    #[flow("with-fallback")]
    async fn fallback(req: &Req) -> Response {
        #[timeout("30ms")]
        #[retry(1)]
        #[fallback(usual("usual"))]
        let price = get("price");
        text(price)
    }

    #[test]
    fn a_fallback_stands_in_for_a_failure_and_for_a_timeout() {
        let mut fake = Fake::new();
        fake.on("GET price:").takes(ms(5)).body("7");
        assert_eq!(run(&fake, &fallback()).text(), "7");
        let mut fake = Fake::new();
        fake.on("GET price:").takes(ms(5)).status(500);
        assert_eq!(run(&fake, &fallback()).text(), "usual");
        let mut fake = Fake::new();
        fake.on("GET price:").never();
        let done = run(&fake, &fallback());
        assert_eq!((done.text(), done.elapsed()), ("usual".into(), ms(30)));
        let mut fake = Fake::new();
        fake.on("GET price:").times(1).error(EffectError::Connect("no route".into()));
        fake.on("GET price:").body("8");
        assert_eq!(run(&fake, &fallback()).text(), "8", "a retry comes before the fallback");
    }

    #[step]
    async fn sorry(req: &Req, fail: &Fail, fx: &Fx<'_>) -> Result<Response> {
        fx.get("log:/failed").await?;
        Ok(Response::json(&json!({ "sorry": fail.code, "path": req.path }))?.status(503))
    }
    #[flow("sorry-page", deadline = "20ms", on_error = sorry(req, fail))]
    async fn apologetic(req: &Req) -> Response {
        let a = get("a");
        text(a)
    }

    #[test]
    fn a_step_may_answer_for_a_flow_that_failed_even_out_of_time() {
        let mut fake = Fake::new();
        fake.on("GET a:").never();
        fake.on("GET log:").takes(ms(2));
        let done = run(&fake, &apologetic());
        assert_eq!((done.status(), done.json()), (503, json!({ "sorry": "deadline_exceeded", "path": "/" })));
        assert_eq!(done.elapsed(), ms(22));
        assert_eq!(done.outcome.failures[0].1.code, "deadline_exceeded", "the failure stays visible");
        let mut fake = Fake::new();
        fake.on("GET a:").status(500);
        fake.on("GET log:").status(500);
        let done = run(&fake, &apologetic());
        assert_eq!(done.fail().unwrap().step.as_deref(), Some("a"), "the first failure is the one to tell of");
    }

    #[flow("optional-in-time", optional_within = "25ms")]
    async fn in_time(req: &Req) -> Response {
        #[optional]
        let slow = get("slow");
        let a = get("a");
        #[optional]
        #[after(a)]
        let late = get("late");
        three(a, slow, late)
    }
    #[step]
    async fn three(a: &String, b: Option<&String>, c: Option<&String>) -> Result<Response> {
        Ok(Response::text(format!("{a}{}{}", b.map_or("-", |b| b), c.map_or("-", |c| c))))
    }

    #[test]
    fn optional_steps_are_not_waited_for_for_ever() {
        let mut fake = Fake::new();
        fake.on("GET a:").takes(ms(10)).body("a");
        fake.on("GET late:").takes(ms(5)).body("l");
        fake.on("GET slow:").never();
        let done = run(&fake, &in_time());
        assert_eq!((done.text(), done.elapsed()), ("a-l".into(), ms(25)));
        assert_eq!(done.node("slow").unwrap().outcome, Outcome::Timeout);
        let mut fake = Fake::new();
        fake.on("GET a:").takes(ms(40)).body("a");
        fake.on("GET slow:").never();
        let done = run(&fake, &in_time());
        assert_eq!((done.text(), done.elapsed()), ("a--".into(), ms(40)), "and not begun when it is too late");
        assert_eq!(done.outcome.failures.iter().filter(|(_, fail)| fail.code == "optional_too_late").count(), 2);
    }

    #[step]
    async fn either(a: &str, _b: &str) -> Result<Response> {
        Ok(Response::text(a))
    }
    #[flow("who-goes-first")]
    async fn ranked(req: &Req) -> Response {
        #[priority(batch)]
        let a = get("a");
        #[priority(critical)]
        let b = race!(get("a"), get("c"));
        either(a, b)
    }

    #[test]
    fn a_call_carries_its_steps_priority() {
        let mut fake = Fake::new();
        fake.on("GET a:").takes(ms(1));
        fake.on("GET c:").takes(ms(2));
        let ranks: Vec<_> = run(&fake, &ranked()).calls.iter().map(|call| call.call.priority).collect();
        assert_eq!(ranks, [Priority::Batch, Priority::Critical], "the race shares the read of `a`");
    }
}

mod shown {
    use super::*;

    #[derive(serde::Serialize)]
    struct User {
        name: String,
        api_key: String,
    }
    struct Opaque;

    #[step]
    async fn user(req: &Req) -> Result<User> {
        Ok(User { name: "Ada".to_owned(), api_key: req.path.clone() })
    }
    #[step]
    async fn opaque(_user: &User) -> Result<Opaque> {
        Ok(Opaque)
    }
    #[step]
    async fn secret() -> Result<u8> {
        Ok(7)
    }
    #[step]
    async fn respond(_: &Opaque, _: &u8, best: &str) -> Result<Response> {
        Ok(Response::text(best))
    }
    #[flow("what-steps-gave")]
    async fn gave(req: &Req) -> Response {
        let user = user(req);
        let opaque = opaque(user);
        #[sensitive]
        let pin = secret();
        let best = first_ok!(sequential: get("a"), get("b"));
        respond(opaque, pin, best)
    }

    #[test]
    fn what_steps_gave_can_be_shown_without_what_is_secret() {
        let mut fake = Fake::new();
        fake.on("GET a:").status(500);
        fake.on("GET b:").body("b");
        let done = fake.run(&gave(), Req::get("/key"));
        let value = |slot: &str| &done.values.iter().find(|(name, _)| &**name == slot).unwrap().1;
        assert_eq!(*value("user"), json!({ "name": "Ada", "api_key": "‹masked›" }));
        assert!(value("opaque")["type"].as_str().unwrap().ends_with("Opaque"));
        assert_eq!(*value("pin"), json!("‹masked›"));
        assert_eq!((value("best"), value("best.2")), (&json!("b"), &json!("b")), "a branch has its own");
        assert!(!done.values.iter().any(|(name, _)| &**name == "best.1"), "and gave nothing when it failed");
    }
}

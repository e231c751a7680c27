//! Steps made of steps that are tried again, and reads that wait for one another: no write twice, no place used twice.

use std::time::Duration;

use zerver_flows::fake::{Done, Fake};
use zerver_flows::replay::replay;
use zerver_flows::{Fail, Flow, Fx, Req, Response, Result, flow, step, subflow};
use zerver_telemetry::event::Outcome;

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// Runs a flow and its replay.
fn run(fake: &Fake, flow: &Flow) -> Done {
    let done = fake.run(flow, Req::get("/"));
    done.timeline.check().unwrap();
    let again = replay(flow, &done.journal);
    assert_eq!(again.drifts, vec![]);
    assert_eq!((again.done.status(), again.done.elapsed()), (done.status(), done.elapsed()));
    done
}

#[step]
async fn get(target: &str, fx: &Fx<'_>) -> Result<String> {
    Ok(fx.get(format!("{target}:/")).await?.text()?.to_owned())
}
#[step]
async fn post(target: &str, fx: &Fx<'_>) -> Result<String> {
    Ok(fx.post(format!("{target}:/")).await?.text()?.to_owned())
}
#[step(idempotent)]
async fn post_safely(target: &str, fx: &Fx<'_>) -> Result<String> {
    Ok(fx.post(format!("{target}:/")).await?.text()?.to_owned())
}
#[step]
async fn text(a: &str) -> Result<Response> {
    Ok(Response::text(a))
}
#[step]
async fn join(a: &str, b: &str) -> Result<String> {
    Ok(format!("{a}{b}"))
}

mod writes {
    use super::*;

    #[flow("write-in-a-join")]
    async fn joined(req: &Req) -> Response {
        #[retry(2)]
        let a = first_ok!(sequential: post("pay"));
        text(a)
    }
    #[flow("safe-write-in-a-join")]
    async fn safely(req: &Req) -> Response {
        #[retry(2)]
        let a = first_ok!(sequential: post_safely("pay"));
        text(a)
    }
    #[subflow]
    async fn part(target: &str) -> String {
        let one = post(target);
        let two = get(one);
        join(one, two)
    }
    #[flow("write-in-a-part")]
    async fn parted(req: &Req) -> Response {
        #[retry(2)]
        let a = part("pay");
        text(a)
    }

    #[test]
    fn what_may_have_been_written_inside_a_step_is_not_written_again() {
        let mut fake = Fake::new();
        fake.on("POST pay:").status(503);
        assert_eq!(run(&fake, &joined()).calls.len(), 1, "nobody said that it may happen twice");
        assert_eq!(run(&fake, &safely()).calls.len(), 3);
        let mut fake = Fake::new();
        fake.on("POST pay:").body("ship");
        fake.on("GET ship:").status(503);
        assert_eq!(run(&fake, &parted()).calls.len(), 2, "the write came before what failed");
    }

    #[test]
    fn what_was_not_sent_may_be_tried_again() {
        let mut fake = Fake::new();
        fake.on("POST pay:").error(zerver_flows::adapter::EffectError::Connect("no route".into()));
        assert_eq!(run(&fake, &joined()).calls.len(), 3);
    }
}

mod tries {
    use super::*;

    #[subflow]
    async fn inner(target: &str) -> String {
        #[retry(1)]
        #[idempotent]
        let one = post(target);
        join(one, one)
    }
    #[subflow]
    async fn part(target: &str) -> String {
        let one = inner(target);
        join(one, one)
    }
    #[flow("tries-within-tries")]
    async fn nested(req: &Req) -> Response {
        #[retry(2)]
        let a = part("pay");
        text(a)
    }

    #[test]
    fn the_tries_of_a_part_and_of_its_whole_do_not_meet_in_the_journal() {
        let mut fake = Fake::new();
        fake.on("POST pay:").takes(ms(1)).times(3).status(503);
        fake.on("POST pay:").takes(ms(2)).body("x");
        let done = run(&fake, &nested());
        assert_eq!((done.text(), done.calls.len()), ("xxxx".into(), 4));
        let mut places: Vec<_> = done.journal.entries.iter().map(|entry| entry.key.to_string()).collect();
        assert_eq!(
            places,
            ["a.one.one#0", "a.one.one#0 (try 2)", "a~2.one.one#0 (try 2)", "a~2.one.one#0 (try 3)"],
            "each effect has a place of its own"
        );
        places.dedup();
        assert_eq!(places.len(), 4);
        let key = |n: usize| done.calls[n].call.idempotency_key.clone();
        assert!((0..4).all(|n| key(n).is_some() && key(n) == key(0)), "and all are one write");
    }
}

mod reads {
    use super::*;

    #[step]
    async fn patient(before: &str, fx: &Fx<'_>) -> Result<String> {
        Ok(fx.get(format!("cart:/{before}")).await?.text()?.to_owned())
    }
    #[step]
    async fn hasty(before: &str, fx: &Fx<'_>) -> Result<String> {
        Ok(fx.get(format!("cart:/{before}")).timeout(ms(5)).await?.text()?.to_owned())
    }
    #[step]
    async fn all(a: Option<&String>, b: &str) -> Result<Response> {
        Ok(Response::text(format!("{}{b}", a.map_or("-", |a| a))))
    }
    #[flow("hasty-leader")]
    async fn shared(req: &Req) -> Response {
        #[optional]
        let a = hasty("1");
        let b = patient("1");
        all(a, b)
    }

    #[test]
    fn who_waits_longer_does_not_end_with_the_one_who_gave_up() {
        let mut fake = Fake::new();
        fake.on("GET cart:/1").takes(ms(20)).body("1");
        let done = run(&fake, &shared());
        assert_eq!((done.text(), done.elapsed(), done.calls.len()), ("-1".into(), ms(25), 2));
        assert_eq!(done.node("a.cart").unwrap().outcome, Outcome::Timeout);
        assert_eq!(done.node("b.cart").unwrap().outcome, Outcome::Ok);
    }

    #[test]
    fn a_shared_failure_says_what_was_asked() {
        let mut fake = Fake::new();
        fake.on("GET cart:/1").takes(ms(1)).status(500);
        let fail = run(&fake, &shared()).outcome.result.unwrap_err();
        assert_eq!(fail.to_string(), "step `b`: GET cart:/1 answered 500 (upstream_status)");
    }
}

mod told {
    use super::*;

    #[step]
    async fn sorry(fail: &Fail) -> Result<Response> {
        Ok(Response::text(fail.code).status(503))
    }
    #[flow("sorry-for-a-branch", on_error = sorry(fail))]
    async fn apologetic(req: &Req) -> Response {
        let a = get("a");
        let b = race!(get("b"), get(a));
        text(b)
    }

    #[test]
    fn the_failure_of_a_branch_is_that_of_its_line() {
        let mut fake = Fake::new();
        fake.on("GET a:").takes(ms(1)).body("c");
        fake.on("GET b:").takes(ms(9)).body("b");
        fake.on("GET c:").takes(ms(2)).status(500);
        let done = run(&fake, &apologetic());
        assert_eq!((done.text(), done.outcome.failures[0].0.as_str()), ("upstream_status".into(), "b"));
    }

    #[step]
    async fn or_none(a: Option<&String>) -> Result<String> {
        Ok(a.map_or("-", |a| a).to_owned())
    }
    #[subflow]
    async fn part(target: &str) -> String {
        #[optional]
        let one = get(target);
        or_none(one)
    }
    #[step]
    async fn instead(_req: &Req, a: &str, fx: &Fx<'_>) -> Result<Response> {
        fx.replace(a.replace('-', "other"), Req::get("/"))
    }
    #[flow("part-fails")]
    async fn whole(req: &Req) -> Response {
        let a = part("a");
        instead(req, a)
    }
    #[step]
    async fn two(pair: &(String, Option<String>)) -> Result<Response> {
        Ok(Response::text(format!("{pair:?}")))
    }
    #[flow("other")]
    async fn other(req: &Req) -> Response {
        let pair = all!(get("b"), optional get("c"));
        two(pair)
    }

    #[test]
    fn optional_failures_are_told_wherever_they_are() {
        let mut fake = Fake::new();
        fake.flow(other());
        fake.on("GET a:").status(500);
        fake.on("GET b:").body("b");
        fake.on("GET c:").status(404);
        let done = fake.run(&whole(), Req::get("/"));
        let told: Vec<&str> = done.outcome.failures.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!((done.text().as_str(), told), (r#"("b", None)"#, vec!["a.one", "other.pair.2"]));
    }
}

mod late {
    use super::*;

    #[step]
    async fn items(_req: &Req) -> Result<Vec<String>> {
        Ok(vec!["1".to_owned(), "2".to_owned(), "3".to_owned()])
    }
    #[step(timeout = "5ms")]
    async fn hasty(item: &String, fx: &Fx<'_>) -> Result<String> {
        Ok(fx.get(format!("price:/{item}")).await?.text()?.to_owned())
    }
    #[step]
    async fn list(all: &[Option<String>]) -> Result<Response> {
        Ok(Response::text(all.iter().map(|it| it.as_deref().unwrap_or("-")).collect::<String>()))
    }
    #[flow("hasty-items")]
    async fn each(req: &Req) -> Response {
        let items = items(req);
        let all = each!(item in items, max 3, parallel 2: optional hasty(item));
        list(all)
    }

    #[test]
    fn each_item_has_its_own_time_from_when_its_turn_comes() {
        let mut fake = Fake::new();
        fake.on("GET price:/2").never();
        fake.on("GET price:/").takes(ms(4)).body("x");
        let done = run(&fake, &each());
        assert_eq!((done.text(), done.elapsed()), ("x-x".into(), ms(8)));
        let outcomes: Vec<_> = done
            .timeline
            .nodes
            .iter()
            .filter(|node| &*node.name == "hasty")
            .map(|node| (node.end_ns, node.outcome))
            .collect();
        assert_eq!(
            outcomes,
            [(4_000_000, Outcome::Ok), (5_000_000, Outcome::Timeout), (8_000_000, Outcome::Ok)],
            "the third begins when the first has ended"
        );
    }

    #[step]
    async fn read(fx: &Fx<'_>) -> Result<String> {
        Ok(fx.get("cart:/").await?.text()?.to_owned())
    }
    #[step]
    async fn three(a: &str, b: Option<&String>, c: &str) -> Result<Response> {
        Ok(Response::text(format!("{a}{}{c}", b.map_or("-", |b| b))))
    }
    #[flow("one-in-the-air", calls_at_once = 1)]
    async fn narrow(req: &Req) -> Response {
        let a = post("slow");
        #[optional]
        #[timeout("5ms")]
        let b = read();
        let c = read();
        three(a, b, c)
    }

    #[test]
    fn who_follows_a_call_that_gave_up_in_the_queue_takes_its_place() {
        let mut fake = Fake::new();
        fake.on("POST slow:").takes(ms(10)).body("a");
        fake.on("GET cart:").takes(ms(3)).body("c");
        let done = run(&fake, &narrow());
        assert_eq!((done.text(), done.elapsed(), done.calls.len()), ("a-c".into(), ms(13), 2));
        assert_eq!(done.node("b.cart").unwrap().outcome, Outcome::Cancelled);
        assert_eq!(done.journal.entries.len(), 2, "what was never sent has no entry");
    }

    #[step]
    async fn undo(what: &str, fx: &Fx<'_>) -> Result<()> {
        fx.delete(format!("{what}:/")).await?.ok()
    }
    #[flow("undone-late", deadline = "20ms")]
    async fn undone(req: &Req) -> Response {
        #[compensate(undo("a"))]
        let a = post("a");
        #[compensate(undo("b"))]
        let b = post(a);
        let c = get(b);
        text(c)
    }

    #[test]
    fn a_deadline_that_passes_while_undoing_stops_nothing() {
        let mut fake = Fake::new();
        fake.on("POST a:").takes(ms(5)).body("b");
        fake.on("POST b:").takes(ms(5)).body("c");
        fake.on("GET c:").takes(ms(5)).status(500);
        fake.on("DELETE").takes(ms(30));
        fake.deadline(ms(18));
        let done = fake.run(&undone(), Req::get("/"));
        assert_eq!((done.fail().unwrap().code, done.elapsed()), ("upstream_status", ms(75)));
        let calls: Vec<_> = done.calls.iter().skip(3).map(|call| call.line.as_str()).collect();
        assert_eq!((calls, done.outcome.stuck.is_none()), (vec!["DELETE b:/", "DELETE a:/"], true));
        assert!(done.calls[3].call.deadline.is_some(), "each has its own time");
        done.timeline.check().unwrap();
    }
}

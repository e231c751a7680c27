//! Undoing: what was done is undone in the reverse order of its end, whatever made the flow fail, and never lost from sight.

use std::time::Duration;

use zerver_flows::adapter::{EffectError, Refusal};
use zerver_flows::fake::{Done, Fake};
use zerver_flows::journal::Journal;
use zerver_flows::{Flow, Fx, Req, Response, Result, flow, step};
use zerver_telemetry::event::Outcome;

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

#[step]
async fn book(what: &str, fx: &Fx<'_>) -> Result<String> {
    Ok(fx.post(format!("{what}:/book")).await?.text()?.to_owned())
}
#[step]
async fn cancel(what: &str, id: &String, fx: &Fx<'_>) -> Result<()> {
    fx.delete(format!("{what}:/book/{id}")).await?.ok()
}
#[step]
async fn release(id: &String, fx: &Fx<'_>) -> Result<()> {
    fx.delete(format!("lock:/{id}")).await?.ok()
}
#[step]
async fn ship(_a: &String, _b: &String, fx: &Fx<'_>) -> Result<()> {
    fx.post("ship:/").await?.ok()
}
#[step]
async fn respond(_shipped: &()) -> Result<Response> {
    Ok(Response::text("booked"))
}

#[flow("book-a-trip", deadline = "1s")]
async fn trip(req: &Req) -> Response {
    #[cleanup(release(lock))]
    let lock = book("lock");
    #[compensate(cancel("hotel", hotel))]
    #[after(lock)]
    let hotel = book("hotel");
    #[compensate(cancel("plane", plane))]
    #[after(lock)]
    let plane = book("plane");
    #[compensate(cancel("car", car))]
    #[after(hotel)]
    let car = book("car");
    let shipped = ship(car, plane);
    respond(shipped)
}

fn world() -> Fake {
    let mut fake = Fake::new();
    for (what, takes) in [("lock", 1), ("hotel", 10), ("plane", 20), ("car", 20)] {
        fake.on(&format!("POST {what}:")).takes(ms(takes)).body(what);
    }
    fake
}

/// What was asked for after the booking, in order.
fn after_booking(done: &Done) -> Vec<&str> {
    done.calls.iter().map(|call| call.line.as_str()).filter(|line| line.starts_with("DELETE")).collect()
}

#[test]
fn a_failure_undoes_what_was_done_in_reverse_and_cleans_up() {
    let mut fake = world();
    fake.on("POST ship:").takes(ms(5)).status(500);
    fake.on("DELETE").takes(ms(2));
    let done = fake.run(&trip(), Req::get("/"));
    assert_eq!(
        after_booking(&done),
        ["DELETE car:/book/car", "DELETE plane:/book/plane", "DELETE hotel:/book/hotel", "DELETE lock:/lock"]
    );
    assert_eq!((done.status(), done.fail().unwrap().step.as_deref()), (502, Some("shipped")));
    assert_eq!(done.elapsed(), ms(1 + 10 + 20 + 5 + 4 * 2), "one after the other");
    assert!(done.outcome.stuck.is_none());
    assert_eq!(done.node("undo_plane").unwrap().outcome, Outcome::Ok);
    done.timeline.check().unwrap();
}

#[test]
fn a_flow_that_answers_undoes_nothing_but_cleans_up() {
    let mut fake = world();
    fake.on("POST ship:");
    fake.on("DELETE lock:").status(500);
    let done = fake.run(&trip(), Req::get("/"));
    assert_eq!((done.text(), after_booking(&done)), ("booked".into(), vec!["DELETE lock:/lock"]));
    assert_eq!(done.node("cleanup_lock").unwrap().outcome, Outcome::Error, "which may fail");
}

#[test]
fn only_what_was_done_is_undone() {
    let mut fake = Fake::new();
    fake.on("POST lock:").body("lock");
    fake.on("POST hotel:").takes(ms(10)).body("hotel");
    fake.on("POST plane:").takes(ms(15)).status(409);
    fake.on("POST car:").takes(ms(50)).body("car");
    fake.on("DELETE").takes(ms(2));
    let done = fake.run(&trip(), Req::get("/"));
    assert_eq!(after_booking(&done), ["DELETE hotel:/book/hotel", "DELETE lock:/lock"]);
    assert_eq!(done.node("car").unwrap().outcome, Outcome::Cancelled);
}

#[test]
fn neither_the_deadline_nor_the_client_stops_the_undoing() {
    let mut fake = world();
    fake.on("POST ship:").never();
    fake.on("DELETE").takes(ms(2));
    let done = fake.run(&trip(), Req::get("/"));
    assert_eq!((done.fail().unwrap().code, after_booking(&done).len()), ("deadline_exceeded", 4));
    assert_eq!(done.elapsed(), ms(1008));
    fake.client_leaves(ms(25));
    let done = fake.run(&trip(), Req::get("/"));
    assert_eq!(done.fail().unwrap().code, "client_gone");
    assert_eq!(after_booking(&done), ["DELETE plane:/book/plane", "DELETE hotel:/book/hotel", "DELETE lock:/lock"]);
    done.timeline.check().unwrap();
}

#[test]
fn an_undo_step_is_tried_again_and_then_the_run_is_stuck_and_can_go_on() {
    let mut fake = world();
    fake.on("POST ship:").status(500);
    fake.on("DELETE plane:").times(4).status(503);
    fake.on("DELETE").takes(ms(2));
    let done = fake.run(&trip(), Req::get("/"));
    let planes = after_booking(&done).iter().filter(|line| line.contains("plane")).count();
    assert_eq!(planes, 4, "once and three times more");
    assert_eq!(done.fail().unwrap().step.as_deref(), Some("shipped"), "the answer is the flow's failure");
    let stuck = done.outcome.stuck.clone().expect("it is stuck");
    assert_eq!(
        (stuck.flow.as_str(), stuck.rest.as_slice()),
        ("book-a-trip", &["plane".to_owned(), "hotel".to_owned()][..])
    );
    assert_eq!(stuck.why.step.as_deref(), Some("undo_plane"));
    assert!(done.timeline.nodes[0].attr("zerver.flow.stuck").is_some(), "the timeline says so");

    // The same again while the target is still away, then with it back.
    let mut away = Fake::new();
    away.on("DELETE plane:").error(EffectError::Connect("no route".into()));
    away.on("DELETE lock:");
    let again = away.resume(&trip(), &stuck).unwrap();
    let stuck = again.outcome.stuck.clone().expect("it is stuck again");
    assert_eq!(stuck.rest, ["plane", "hotel"]);
    let mut back = Fake::new();
    back.on("DELETE").takes(ms(2));
    let done = back.resume(&trip(), &stuck).unwrap();
    assert!(done.outcome.stuck.is_none(), "{:?}", done.outcome.stuck);
    assert_eq!(after_booking(&done)[..2], ["DELETE plane:/book/plane", "DELETE hotel:/book/hotel"]);
    assert!(done.calls.iter().all(|call| !call.line.starts_with("POST")), "nothing is booked again");
    assert_eq!(done.fail().unwrap().step.as_deref(), Some("shipped"));
}

#[test]
fn a_stuck_run_does_not_go_on_with_another_version_of_its_flow() {
    #[flow("book-a-trip", version = 2)]
    async fn newer(req: &Req) -> Response {
        let lock = book("lock");
        let shipped = ship(lock, lock);
        respond(shipped)
    }
    let mut fake = world();
    fake.on("POST ship:").status(500);
    fake.on("DELETE").status(500);
    let stuck = fake.run(&trip(), Req::get("/")).outcome.stuck.expect("it is stuck");
    let error = fake.resume(&newer(), &stuck).unwrap_err();
    assert_eq!(error, "the run was one of book-a-trip@1, the flow is now book-a-trip@2");
}

#[test]
fn an_undo_step_has_time_of_its_own_and_may_say_how_much() {
    #[step(timeout = "30ms")]
    async fn hasty(id: &String, fx: &Fx<'_>) -> Result<()> {
        fx.delete(format!("hotel:/book/{id}")).await?.ok()
    }
    #[flow("hasty-undo")]
    async fn hasty_undo(req: &Req) -> Response {
        #[compensate(hasty(hotel))]
        let hotel = book("hotel");
        let shipped = ship(hotel, hotel);
        respond(shipped)
    }
    let mut fake = world();
    fake.on("POST ship:").status(500);
    fake.on("DELETE").never();
    let done = fake.run(&hasty_undo(), Req::get("/"));
    assert_eq!((done.elapsed(), done.outcome.stuck.as_ref().unwrap().why.code), (ms(10 + 30), "step_timeout"));
    let done = fake.run(&trip(), Req::get("/"));
    assert_eq!(
        done.elapsed(),
        ms(1 + 10 + 20) + Duration::from_secs(10 + 5),
        "the undo step's ten seconds, cleanup's five"
    );
}

#[test]
fn a_run_with_more_calls_than_its_journal_holds_does_not_go_on() {
    #[step]
    async fn much(_lock: &String, fx: &Fx<'_>) -> Result<()> {
        for _ in 0..Journal::LIMIT {
            fx.get("car:/").await?.ok()?;
        }
        fx.post("ship:/").await?.ok()
    }
    #[flow("much")]
    async fn flow(req: &Req) -> Response {
        #[compensate(release(lock))]
        let lock = book("lock");
        let shipped = much(lock);
        respond(shipped)
    }
    let mut fake = world();
    fake.on("GET car:");
    fake.on("POST ship:").status(500);
    fake.on("DELETE").status(500);
    let stuck = fake.run(&flow(), Req::get("/")).outcome.stuck.expect("it is stuck");
    let error = fake.resume(&flow(), &stuck).unwrap_err();
    assert!(error.ends_with("of the run's calls were not recorded and would be made a second time"), "{error}");
}

mod others {
    use super::*;

    #[step]
    async fn ask(req: &Req, fx: &Fx<'_>) -> Result<String> {
        let first = fx.flow("inner", Req::get("/1")).await?;
        let second = fx.flow("inner", Req::get("/2")).await?;
        if req.path == "/away" {
            return fx.replace("inner", Req::get("/replaced"));
        }
        let text =
            |answer: &Response| String::from_utf8_lossy(answer.body.whole().expect("it is no stream")).into_owned();
        Ok(text(&first) + &text(&second))
    }
    #[step]
    async fn text(a: &str) -> Result<Response> {
        Ok(Response::text(a))
    }
    #[flow("outer")]
    async fn outer(req: &Req) -> Response {
        let both = ask(req);
        text(both)
    }
    #[step]
    async fn answer(req: &Req, fx: &Fx<'_>) -> Result<Response> {
        fx.get(format!("a:{}", req.path)).await?;
        Ok(Response::text(req.path.clone()))
    }
    #[flow("inner")]
    async fn inner(req: &Req) -> Response {
        answer(req)
    }
    #[step]
    async fn deeper(fx: &Fx<'_>) -> Result<Response> {
        fx.flow("endless", Req::get("/")).await
    }
    #[flow("endless")]
    async fn endless(req: &Req) -> Response {
        deeper()
    }
    #[step]
    async fn bounce(fx: &Fx<'_>) -> Result<Response> {
        fx.replace("bouncing", Req::get("/"))
    }
    #[flow("bouncing")]
    async fn bouncing(req: &Req) -> Response {
        bounce()
    }

    fn run(flow: &Flow, path: &str) -> Done {
        let mut fake = Fake::new();
        fake.on("GET a:").takes(ms(5));
        for flow in [inner(), endless(), bouncing(), trip()] {
            fake.flow(flow);
        }
        let done = fake.run(flow, Req::get(path));
        done.timeline.check().unwrap();
        done
    }

    #[test]
    fn a_step_runs_other_flows_inside_itself() {
        let done = run(&outer(), "/");
        assert_eq!((done.text(), done.elapsed()), ("/1/2".into(), ms(10)));
        let steps: Vec<&str> = done.calls.iter().map(|call| call.step.as_str()).collect();
        assert_eq!(steps, ["both.inner.respond", "both.inner-2.respond"], "each has its own place in the journal");
        assert_eq!(done.span("both.inner.respond.a"), Some((ms(0), ms(5))));
    }

    #[test]
    fn another_flow_may_answer_instead() {
        let done = run(&outer(), "/away");
        assert_eq!((done.text(), done.elapsed()), ("/replaced".into(), ms(15)));
    }

    #[step]
    async fn book_instead(fx: &Fx<'_>) -> Result<Response> {
        fx.get("a:/first").await?;
        fx.replace("book-a-trip", Req::get("/trip"))
    }
    #[flow("books-instead")]
    async fn instead(req: &Req) -> Response {
        book_instead()
    }

    #[test]
    fn what_is_undone_in_a_flow_that_answers_instead_is_not_lost_from_sight() {
        let mut fake = world();
        fake.flow(trip());
        fake.on("GET a:").takes(ms(5));
        fake.on("POST ship:").takes(ms(5)).status(500);
        fake.on("DELETE plane:").status(500);
        fake.on("DELETE").takes(ms(2));
        let done = fake.run(&instead(), Req::get("/"));
        let stuck = done.outcome.stuck.clone().expect("it is stuck");
        assert_eq!((stuck.flow.as_str(), stuck.rest.join(" ")), ("book-a-trip", "plane hotel".to_owned()));
        let mut back = Fake::new();
        back.on("DELETE").takes(ms(2));
        let resumed = back.resume(&trip(), &stuck).unwrap();
        assert!(resumed.outcome.stuck.is_none(), "{:?}", resumed.outcome.stuck);
        assert_eq!(after_booking(&resumed)[..2], ["DELETE plane:/book/plane", "DELETE hotel:/book/hotel"]);
        assert!(resumed.calls.iter().all(|call| call.line.starts_with("DELETE")), "nothing is booked again");
    }

    #[test]
    fn a_client_that_leaves_is_noticed_by_the_flow_that_answers_instead() {
        let mut fake = world();
        fake.flow(trip());
        fake.on("GET a:").takes(ms(5));
        fake.on("POST ship:").never();
        fake.on("DELETE").takes(ms(2));
        fake.client_leaves(ms(30));
        let done = fake.run(&instead(), Req::get("/"));
        assert_eq!(done.fail().unwrap().code, "client_gone");
        assert_eq!(
            after_booking(&done),
            ["DELETE plane:/book/plane", "DELETE hotel:/book/hotel", "DELETE lock:/lock"],
            "it undoes what was done until then"
        );
        assert_eq!(done.elapsed(), ms(36));
        done.timeline.check().unwrap();
    }

    #[test]
    fn flows_in_flows_and_in_place_of_flows_have_an_end() {
        assert_eq!(run(&endless(), "/").fail().unwrap().code, "too_many_flows");
        assert_eq!(run(&bouncing(), "/").fail().unwrap().code, "too_many_flows");
        #[step]
        async fn booking(fx: &Fx<'_>) -> Result<Response> {
            fx.flow("book-a-trip", Req::get("/")).await
        }
        #[flow("books-inside")]
        async fn inside(req: &Req) -> Response {
            booking()
        }
        assert_eq!(run(&inside(), "/").fail().unwrap().code, "undo_inside");
    }
}

#[test]
fn undoing_does_not_leave_it_at_a_gates_refusal() {
    let busy = Refusal { reason: "predicted_wait", retry_after: ms(700) };
    let mut fake = world();
    fake.on("POST ship:").status(500);
    fake.on("DELETE plane:").times(2).error(EffectError::Refused(busy));
    fake.on("DELETE");
    let done = fake.run(&trip(), Req::get("/"));
    assert!(done.outcome.stuck.is_none(), "{:?}", done.outcome.stuck);
    let plane = after_booking(&done).into_iter().filter(|line| line.contains("plane")).count();
    assert_eq!((done.status(), plane), (502, 3));
    assert!(done.elapsed() >= ms(31 + 2 * 700), "it waits as long as it is asked to: {:?}", done.elapsed());
    // What goes on longer than undoing may wait is for an operator.
    let mut fake = world();
    fake.on("POST ship:").status(500);
    fake.on("DELETE car:").error(EffectError::Refused(Refusal { retry_after: ms(60_000), ..busy }));
    let done = fake.run(&trip(), Req::get("/"));
    assert_eq!(done.outcome.stuck.as_ref().map(|stuck| stuck.rest[0].as_str()), Some("car"));
}

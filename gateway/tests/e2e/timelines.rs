//! Point 6: timelines over the admin API, the settings that promote waits, and what the API says to wrong questions.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::sleep;
use zerver_telemetry::event::{Cause, StateKind};
use zerver_telemetry::timeline::{PromotedBy, State, Timeline};

use crate::binary::{Gateway, HEAD};
use crate::client::{Client, ask};
use crate::origin::{Origin, answer};
use crate::support::eventually;

/// An upstream with one seat for a proxied route and for a flow.
fn page(origin: &Origin) -> String {
    format!(
        "{HEAD}upstreams:
  web: {{ peers: ['{}'], admission: {{ limit: {{ fixed: 1 }}, queue: {{ interactive_wait: 20s }} }} }}
flows:
  - flow: ask
    steps: {{ said: {{ get: 'web:/flow' }} }}
    respond: {{ text: '${{said}}' }}
routes:
  - {{ name: web, match: {{ path: '/{{*rest}}' }}, to: {{ upstream: web }}, note_headers: [x-shard] }}
  - {{ name: ask, match: {{ path: '/ask' }}, to: {{ flow: ask }}, tenant: 'header:x-tenant' }}
",
        origin.address
    )
}

#[tokio::test]
async fn every_timeline_is_whole() {
    let origin = Origin::start(|_| async {
        sleep(Duration::from_millis(5)).await;
        answer(200, "\"said\"")
    })
    .await;
    let gateway = Gateway::start(&page(&origin)).await;
    let client = Client::http1();
    let mut answers = Vec::new();
    for path in ["/a", "/ask", "/b", "/ask"] {
        let headers = [("x-tenant", "acme"), ("x-shard", "7")];
        answers.push(client.send(crate::client::request("GET", gateway.address, path, &headers, "")).await);
    }
    for (answer, path) in answers.iter().zip(["/a", "/ask", "/b", "/ask"]) {
        let timeline = gateway.timeline_of(answer).await;
        assert_eq!((timeline.status, timeline.lost_events), (200, 0));
        let attr = |key: &str| timeline.root().attr(key).map(ToString::to_string);
        assert_eq!(attr("url.path").as_deref(), Some(path));
        match &*timeline.route {
            "ask" => assert_eq!((timeline.flow.as_deref(), attr("tenant").as_deref()), (Some("ask"), Some("acme"))),
            _ => assert_eq!((timeline.flow.as_deref(), attr("header.x-shard").as_deref()), (None, Some("7"))),
        }
        let call = timeline.nodes.iter().find(|node| &*node.name == "web").expect("a call to the upstream");
        assert_eq!(call.attr("peer").map(ToString::to_string), Some(origin.address.to_string()));
        let parked: u64 = call.states.iter().filter(|s| s.cause == Cause::Io).map(State::len_ns).sum();
        assert!(parked >= 4_000_000, "the upstream's 5 ms are its park: {timeline:#?}");
    }

    // The feed goes on where it ended, filters, and says what it holds.
    let feed = gateway.ask("/timelines?limit=2").await.json();
    assert_eq!((feed["v"].as_u64(), feed["timelines"].as_array().map(Vec::len)), (Some(1), Some(2)), "{feed}");
    let rest = gateway.ask(&format!("/timelines?since={}", feed["next"])).await.json();
    assert_eq!(rest["timelines"].as_array().map(Vec::len), Some(2), "{rest}");
    let only = gateway.ask("/timelines?route=ask").await.json();
    let only: Vec<Timeline> = serde_json::from_value(only["timelines"].clone()).expect("timelines");
    assert!(only.len() == 2 && only.iter().all(|timeline| &*timeline.route == "ask"));
    let none = gateway.ask("/timelines?min_ms=100000").await.json();
    assert_eq!(none["timelines"].as_array().map(Vec::len), Some(0));
    assert_eq!(none["counters"]["lost_timelines"], 0);
}

/// Two requests for one seat: the second waits until the first is answered. Gives the second's timeline.
async fn second_of_two(env: &[(&str, &str)], path: &str) -> Timeline {
    let allowed = Arc::new(Semaphore::new(0));
    let shared = Arc::clone(&allowed);
    let origin = Origin::start(move |_| {
        let allowed = Arc::clone(&shared);
        async move {
            allowed.acquire().await.expect("it is never closed").forget();
            answer(200, "\"said\"")
        }
    })
    .await;
    let gateway = Gateway::start_with(&page(&origin), env).await;
    let address = gateway.address;
    let start = |path: &str| {
        let request = ask("GET", address, path);
        tokio::spawn(async move { Client::http1().send(request).await })
    };
    let first = start("/first");
    eventually("the first is with the upstream", async || (origin.running() == 1).then_some(())).await;
    let second = start(path);
    eventually("the second waits", async || {
        let upstreams = gateway.ask("/upstreams").await.json();
        (upstreams[0]["gate"]["waiting"]["interactive"] == 1 || gateway.metric("zerver_limit_waiting", &[]).await > 0.0)
            .then_some(())
    })
    .await;
    let running = gateway.ask("/in-flight").await.json();
    assert_eq!(running.as_array().map(Vec::len), Some(2), "{running}");
    // Both answers are held until here, so the waits last longer than the round trips above.
    allowed.add_permits(2);
    first.await.expect("it is answered");
    let answer = second.await.expect("it is answered");
    assert_eq!(answer.status, 200);
    gateway.timeline_of(&answer).await
}

fn promoted(timeline: &Timeline, kind: StateKind) -> Vec<(Cause, PromotedBy)> {
    let states = timeline.nodes.iter().flat_map(|node| &node.states);
    states.filter(|s| s.cause.kind() == kind).filter_map(|s| Some((s.cause, s.promoted?))).collect()
}

#[tokio::test]
async fn thresholds_decide_which_waits_become_spans() {
    let never = ("ZER_VER_PROMOTE_QUEUE_MS", "600000");
    let never_park = ("ZER_VER_PROMOTE_PARK_MS", "600000");
    for path in ["/second", "/ask"] {
        let timeline = second_of_two(&[never, never_park], path).await;
        assert_eq!(promoted(&timeline, StateKind::Queue), []);
        assert_eq!(promoted(&timeline, StateKind::Park), []);

        let timeline = second_of_two(&[("ZER_VER_PROMOTE_QUEUE_MS", "0.5"), never_park], path).await;
        let queued = promoted(&timeline, StateKind::Queue);
        assert!(queued.contains(&(Cause::Permit, PromotedBy::Threshold)), "{timeline:#?}");
        assert_eq!(promoted(&timeline, StateKind::Park), []);

        let timeline = second_of_two(&[never, ("ZER_VER_PROMOTE_PARK_MS", "0")], path).await;
        assert_eq!(promoted(&timeline, StateKind::Queue), []);
        let parked = promoted(&timeline, StateKind::Park);
        assert!(parked.contains(&(Cause::Io, PromotedBy::Threshold)), "{timeline:#?}");
        assert!(parked.iter().all(|(cause, _)| *cause != Cause::Join), "whom a join waits for has a span");
    }
}

#[tokio::test]
async fn debug_jobs_promote_every_wait() {
    let env =
        [("ZER_VER_DEBUG_JOBS", "1"), ("ZER_VER_PROMOTE_QUEUE_MS", "600000"), ("ZER_VER_PROMOTE_PARK_MS", "600000")];
    for path in ["/second", "/ask"] {
        let timeline = second_of_two(&env, path).await;
        for node in &timeline.nodes {
            for state in node.states.iter().filter(|s| s.cause.kind() != StateKind::Run && s.len_ns() > 0) {
                let told = (state.promoted, &node.name, state.cause);
                assert_eq!(state.promoted, Some(PromotedBy::Debug), "{told:?} in {timeline:#?}");
            }
        }
    }
}

#[tokio::test]
async fn wrong_questions_get_clear_answers() {
    let origin = Origin::echo().await;
    let gateway = Gateway::start(&page(&origin)).await;
    let wrong = [
        ("GET", "/timelines/xyz", 400, "a trace id is 32 lower-case hexadecimal digits"),
        ("GET", "/timelines/0123456789abcdef0123456789abcdef", 404, "no timeline of that trace is kept"),
        ("GET", "/timelines?since=soon", 400, "since and limit are whole numbers"),
        ("GET", "/timelines?min_ms=long", 400, "min_ms is a number"),
        ("GET", "/compare?a=1-20", 400, "a and b are two ranges of milliseconds, such as a=1-20&b=80-500"),
        ("GET", "/compare?a=20-1&b=80-500", 400, "a and b are two ranges"),
        ("GET", "/nothing", 404, "GET / lists them"),
        ("DELETE", "/metrics", 405, "are read with GET"),
        ("GET", "/reload", 405, "use POST"),
    ];
    for (method, path, status, says) in wrong {
        let answer = Client::http1().send(ask(method, gateway.admin, path)).await;
        assert_eq!((answer.status, answer.header("content-type")), (status, "application/problem+json"), "{path}");
        let detail = answer.json()["detail"].as_str().expect("it has a detail").to_owned();
        assert!(detail.contains(says), "{path}: {detail}");
    }
    // The list of pages is true: each of them is there.
    let pages = gateway.ask("/").await.json();
    for page in pages["pages"].as_array().expect("a list").iter().filter(|page| page["method"] == "GET") {
        let path = page["path"].as_str().expect("a path").split('?').next().expect("a path");
        if !path.contains('{') {
            assert_eq!(gateway.ask(path).await.status, 200, "{path}");
        }
    }
}

//! Which of several attributes leads when all of them mark the same requests.

use std::sync::Arc;

use zerver_telemetry::explain::{Cohorts, Finding, compare, mark_words};
use zerver_telemetry::timeline::{Node, Timeline, Value};

use crate::flow::{Fault, Scene, timelines};

/// What merely describes a call, and what is known only with its answer.
const SAID_OF_THE_CALL: [(&str, &str); 4] = [
    ("http.request.method", "GET"),
    ("server.address", "quotes.internal"),
    ("url.full", "http://quotes.internal/"),
    ("http.response.body.size", "120"),
];

/// The first finding, after `change` was made to each node of the calls to `quotes`.
fn finding(fault: Fault, change: impl Fn(&mut Node)) -> Finding {
    let scene = Scene { fault, prevalence: 0.05, extra_ms: 40.0, suffering: 1.0, requests: 2000, seed: 3 };
    let mut requests = timelines(scene);
    for request in &mut requests {
        Arc::make_mut(request).nodes.iter_mut().filter(|node| &*node.name == "quotes").for_each(&change);
    }
    first(&requests)
}

fn first(requests: &[Arc<Timeline>]) -> Finding {
    compare(requests, Some("checkout"), &Cohorts::SlowVersusFast).findings.swap_remove(0)
}

fn describe(node: &mut Node) {
    let said = SAID_OF_THE_CALL.iter().map(|(key, value)| (Arc::from(*key), Value::Text(Arc::from(*value))));
    node.attrs.splice(0..0, said);
}

fn on_slow_peer(node: &Node) -> bool {
    node.attr("peer").is_some_and(|peer| *peer == Value::Text("10.0.0.0:80".into()))
}

#[test]
fn a_peer_leads_before_what_describes_its_calls() {
    let found = finding(Fault::SlowPeer, |node| {
        if on_slow_peer(node) {
            describe(node);
        }
    });
    assert_eq!(mark_words(&found.marks[0]), "peer=10.0.0.0:80", "{}", found.sentence);
    let also = &found.marks[0].also;
    let said_again = |mark: &String| mark.starts_with("server.") || mark.starts_with("http.response.body.size");
    assert!(!also.iter().any(said_again), "{also:?}");
}

#[test]
fn a_second_attempt_leads_before_what_only_its_node_says() {
    let found = finding(Fault::Retry, |node| {
        if node.attempt > 1 {
            describe(node);
        }
    });
    let mark = mark_words(&found.marks[0]);
    assert!(!mark.starts_with("http.") && !mark.starts_with("server.") && !mark.starts_with("url."), "{mark}");
}

#[test]
fn a_description_leads_when_nothing_else_marks_the_requests() {
    let found = finding(Fault::SlowPeer, |node| {
        let slow = on_slow_peer(node);
        node.attrs.clear();
        if slow {
            node.attrs.push(("server.address".into(), Value::Text("slow.internal".into())));
        }
    });
    assert_eq!(mark_words(&found.marks[0]), "server.address=slow.internal", "{}", found.sentence);
}

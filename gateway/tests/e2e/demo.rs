//! Point 1: the demo's verdict names the fault that was injected, and no fault where there is none.

use serde_json::Value;
use zerver_telemetry::event::Cause;
use zerver_telemetry::explain::{Comparison, VerdictKind};

use crate::binary::{Ran, zerver};
use crate::support::turn;

/// What is known of a fault: the place ends with this, the time goes there, and this marks those that suffer.
struct Truth {
    fault: &'static str,
    place: &'static str,
    cause: Cause,
    marks: &'static [&'static str],
}

const TRUTHS: [Truth; 5] = [
    Truth { fault: "slow-replica", place: "price.quotes", cause: Cause::Io, marks: &["peer"] },
    Truth { fault: "cold-cache", place: "profile.profiles", cause: Cause::Io, marks: &["tenant=acme"] },
    Truth { fault: "small-pool", place: "price.quotes", cause: Cause::Permit, marks: &[] },
    Truth { fault: "heavy-step", place: "score", cause: Cause::Run, marks: &["items"] },
    Truth { fault: "flaky", place: "cart.carts", cause: Cause::Timer, marks: &[] },
];

/// Runs the demo. Each run is judged on its own; on a machine that other work stalls for a tenth of a second now and
/// then, the stall is the truth of that run, so a fault has a few runs of which one must be quiet enough.
async fn found(fault: &str, judge: impl Fn(&Comparison) -> Result<(), String>) {
    let mut refuted = Vec::new();
    for rate in ["60", "60", "100", "60"] {
        let args = ["demo", "--fault", fault, "--for", "6s", "--rate", rate, "--format", "json"];
        let ran: Ran = zerver(&args).await;
        assert_eq!(ran.code, 0, "{ran:?}");
        let comparison: Comparison = serde_json::from_str(&ran.out).expect("the demo prints a comparison");
        let says_so = ran.err.contains("the verdict names the injected fault");
        assert!(says_so || ran.err.contains("the verdict does not name the injected fault"), "{}", ran.err);
        match judge(&comparison) {
            Ok(()) if says_so => return,
            Ok(()) => panic!("the demo does not see that its fault is found: {}\n{}", comparison.verdict, ran.err),
            Err(why) => {
                assert!(!says_so, "the demo says that its fault is found, but {why}: {}", comparison.verdict);
                refuted.push(format!("{why}: {}", comparison.verdict));
            }
        }
    }
    panic!("`{fault}` is not found:\n{}", refuted.join("\n"));
}

fn judge(truth: &Truth, comparison: &Comparison) -> Result<(), String> {
    if comparison.kind != VerdictKind::Cause {
        return Err(format!("{:?}", comparison.kind));
    }
    let first = comparison.findings.first().ok_or("there is no finding")?;
    if !first.place.ends_with(truth.place) {
        return Err(format!("the place is {}", first.place));
    }
    let reason = first.reasons.first().ok_or("there is no reason")?;
    if reason.cause != truth.cause {
        return Err(format!("the cause is {:?}", reason.cause));
    }
    let named: Vec<String> =
        first.marks.iter().flat_map(|m| [format!("{}={}", m.key, m.value)].into_iter().chain(m.also.clone())).collect();
    match truth.marks.iter().find(|mark| !named.iter().any(|text| text.starts_with(**mark))) {
        Some(mark) => Err(format!("`{mark}` is not among the marks {named:?}")),
        None => Ok(()),
    }
}

#[tokio::test]
async fn every_fault_is_found() {
    let _turn = turn();
    let list = zerver(&["demo", "--list"]).await;
    assert_eq!(list.code, 0);
    let listed: Vec<&str> = list.out.lines().filter_map(|line| line.split_whitespace().next()).collect();
    let known: Vec<&str> = TRUTHS.iter().map(|truth| truth.fault).chain(["none"]).collect();
    assert_eq!(listed, known, "every fault has a truth that it is held against");
    for truth in &TRUTHS {
        found(truth.fault, |comparison| judge(truth, comparison)).await;
    }
}

#[tokio::test]
async fn without_a_fault_there_is_no_single_cause() {
    let _turn = turn();
    found("none", |comparison| match comparison.kind {
        VerdictKind::Cause => Err("there is a cause".to_owned()),
        VerdictKind::NotEnoughData => Err("there are too few requests".to_owned()),
        VerdictKind::NoSingleCause | VerdictKind::Uniform => Ok(()),
    })
    .await;
}

#[tokio::test]
async fn too_few_requests_are_said_to_be_too_few() {
    let ran = zerver(&["demo", "--for", "200ms", "--rate", "20", "--format", "json"]).await;
    let comparison: Value = serde_json::from_str(&ran.out).expect("JSON");
    assert_eq!((ran.code, &comparison["kind"]), (4, &"not_enough_data".into()), "{ran:?}");
    let wrong = zerver(&["demo", "--rate", "0"]).await;
    assert_eq!((wrong.code, wrong.err.trim()), (2, "error: --rate lies between 1 and 2000 requests a second"));
}

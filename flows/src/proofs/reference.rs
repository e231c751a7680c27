//! What a random flow should do, worked out one step after the other in the order written; it shares no code with the driver.

use std::time::Duration;

use zerver_telemetry::event::Outcome;

use super::model::WAIT;
use super::plan::{DEADLINE, Day, End, Step, leaves, limit, reads, tens, value};

const NEVER: Duration = Duration::MAX;

/// A call: its target, from when to when, and how it ended.
pub(super) type Call = (String, Duration, Duration, Outcome);

/// What should come of a run.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Expected {
    pub(super) answer: Result<String, &'static str>,
    pub(super) elapsed: Duration,
    /// In the order of their beginnings and their targets.
    pub(super) calls: Vec<Call>,
    /// Of the steps that began.
    pub(super) steps: Vec<(String, Duration, Duration, Outcome)>,
    /// Optional steps that failed, in the order of their ends.
    pub(super) failures: Vec<(String, &'static str)>,
    /// What could not be undone, in the order in which it is to be.
    pub(super) stuck: Vec<String>,
}

/// What comes of a step when nothing cuts it off.
struct Came {
    ready: Duration,
    end: Duration,
    outcome: Outcome,
    code: &'static str,
    value: Option<u64>,
    calls: Vec<Call>,
}

/// The reference, and the sums that the steps read.
pub(super) fn expected(steps: &[Step], day: &Day) -> (Expected, Vec<u64>) {
    let (mut came, mut sums): (Vec<Came>, Vec<u64>) = (Vec::new(), Vec::new());
    for n in 0..steps.len() {
        let ready = reads(steps, n).map(|m| came[m].end).max().unwrap_or(Duration::ZERO);
        sums.push(reads(steps, n).filter_map(|m| came[m].value).sum());
        came.push(if ready == NEVER { never(ready) } else { step(&steps[n], day, n, ready, sums[n]) });
    }
    let failed = |n: &usize| !steps[*n].optional && matches!(came[*n].outcome, Outcome::Error | Outcome::Timeout);
    let first = (0..steps.len()).filter(failed).min_by_key(|n| came[*n].end);
    let answered = came.iter().map(|step| step.end).max().unwrap_or_default();
    let cuts = [
        (first.map_or(NEVER, |n| came[n].end), first.map_or("", |n| came[n].code)),
        (day.leaves.map_or(NEVER, leaves), "client_gone"),
        (DEADLINE, "deadline_exceeded"),
    ];
    let (cut, code) = cuts.into_iter().min().expect("there are three");
    let fails = first.is_some() || answered > cut;
    let over = if fails { cut } else { answered };

    let seen = |to: Duration, outcome| if to <= over { (to, outcome) } else { (over, Outcome::Cancelled) };
    let mut out = Expected {
        answer: Err(code),
        elapsed: over,
        calls: Vec::new(),
        steps: Vec::new(),
        failures: Vec::new(),
        stuck: Vec::new(),
    };
    for (n, step) in came.iter().enumerate().filter(|(_, step)| step.ready < over || (!fails && step.ready == over)) {
        let (end, outcome) = seen(step.end, step.outcome);
        out.steps.push((format!("s{n}"), step.ready, end, outcome));
        for (target, from, to, outcome) in step.calls.iter().filter(|call| call.1 < over) {
            let (to, outcome) = seen(*to, *outcome);
            out.calls.push((target.clone(), *from, to, outcome));
        }
    }
    let mut ended: Vec<usize> = (0..steps.len()).filter(|n| came[*n].end <= over).collect();
    ended.sort_by_key(|n| came[*n].end);
    let optional =
        ended.iter().filter(|n| steps[**n].optional && came[**n].value.is_none() && !came[**n].code.is_empty());
    out.failures = optional.map(|n| (format!("s{n}"), came[*n].code)).collect();
    if fails {
        let done: Vec<usize> = ended.into_iter().rev().filter(|n| steps[*n].undo && came[*n].value.is_some()).collect();
        undo(day, &done, &mut out);
    } else {
        let text = |step: &Came| step.value.map_or("-".to_owned(), |value| value.to_string());
        out.answer = Ok(came.iter().map(text).collect::<Vec<_>>().join(","));
    }
    out.calls.sort_by(|a, b| (a.1, &a.0).cmp(&(b.1, &b.0)));
    (out, sums)
}

fn never(ready: Duration) -> Came {
    Came { ready, end: NEVER, outcome: Outcome::Cancelled, code: "", value: None, calls: Vec::new() }
}

fn step(step: &Step, day: &Day, n: usize, ready: Duration, sum: u64) -> Came {
    if step.when && sum % 2 == 1 {
        return Came { end: ready, outcome: Outcome::Skipped, ..never(ready) };
    }
    let weather = &day.steps[n];
    let mut came = Came { outcome: Outcome::Ok, value: Some(value(n, sum)), ..never(ready) };
    let due = step.timeout.map_or(NEVER, |time| ready + limit(time, n));
    let again = step.retry && (!step.writes || step.idempotent);
    // Its own call, with its tries.
    let (mut from, takes) = (ready, tens(weather.takes, n));
    let mut fails = None;
    for tries in 0..2 {
        let to = if weather.end == End::Never { NEVER } else { from + takes };
        let (outcome, code) = match weather.end {
            End::Bad => (Outcome::Error, Some("upstream_status")),
            End::Flaky if tries == 0 => (Outcome::Error, Some("upstream_status")),
            End::Panics => (Outcome::Ok, Some("step_panicked")),
            _ => (Outcome::Ok, None),
        };
        came.calls.push((format!("t{n}"), from, to, outcome));
        (came.end, fails) = (to, code);
        if weather.end == End::Flaky && tries == 0 && again && to + WAIT < due.min(DEADLINE) {
            from = to + WAIT;
        } else {
            break;
        }
    }
    if came.end > due {
        (came.end, fails) = (due, Some("step_timeout"));
        came.calls.retain(|call| call.1 < due);
        if let Some(call) = came.calls.last_mut().filter(|call| call.2 > due) {
            (call.2, call.3) = (due, Outcome::Cancelled);
        }
    }
    // The call in its place.
    if step.fallback && fails.is_some() && came.end != NEVER {
        let (from, to) = (came.end, came.end + tens(3, n));
        let outcome = if weather.fallback_fails { Outcome::Error } else { Outcome::Ok };
        came.calls.push((format!("f{n}"), from, to, outcome));
        (came.end, fails) = (to, weather.fallback_fails.then_some("upstream_status"));
        came.value = Some(value(n, sum) + 5_000);
    }
    if let Some(code) = fails {
        let outcome = if code == "step_timeout" { Outcome::Timeout } else { Outcome::Error };
        (came.value, came.code, came.outcome) = (None, code, outcome);
    }
    came
}

/// Undoes these steps in this order, until one of them cannot be.
fn undo(day: &Day, done: &[usize], out: &mut Expected) {
    for (at, n) in done.iter().enumerate() {
        let how = day.steps[*n].undo;
        for tries in 0..2 {
            let (from, to) = (out.elapsed, out.elapsed + tens(1, *n));
            let well = how == End::Good || how == End::Flaky && tries == 1;
            let outcome = if well { Outcome::Ok } else { Outcome::Error };
            out.calls.push((format!("u{n}"), from, to, outcome));
            out.elapsed = to;
            if how != End::Flaky || tries == 1 {
                break;
            }
            out.elapsed += WAIT;
        }
        if how == End::Bad {
            out.stuck = done[at..].iter().map(|n| format!("s{n}")).collect();
            return;
        }
    }
}

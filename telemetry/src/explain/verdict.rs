//! The words: reasons, marks and the one sentence that says why the slow requests are slow.

use super::align::Aligned;
use super::attribute::Attributes;
use super::cause::Found;
use super::search::{Interval, Predicate, Scored};
use super::{Mark, Reason};
use crate::event::Cause;

/// Where and on what time is spent: `waiting at price for the answer of quotes`.
///
/// `place` is a node's path, `everywhere`, or empty for the request itself.
#[must_use]
pub fn reason_words(cause: Cause, name: Option<&str>, place: &str) -> String {
    // A call is named after what it calls; where it is made from is the step above.
    let (above, last) = match place {
        "everywhere" => ("everywhere", ""),
        _ => place.rsplit_once('.').unwrap_or(("", place)),
    };
    let name = name.filter(|name| !name.is_empty());
    let called = name.unwrap_or(last);
    let at = |place: &str| match place {
        "" => String::new(),
        "everywhere" => " everywhere".into(),
        _ => format!(" at {place}"),
    };
    let of = |what: Option<&str>| what.map_or(String::new(), |what| format!(" of {what}"));
    let caller = if last == called { at(above) } else { at(place) };
    match cause {
        Cause::Run => format!("computing{}", at(place)),
        Cause::Worker => format!("waiting{} for a worker", at(place)),
        Cause::Permit if called.is_empty() => format!("waiting{} for a slot", at(place)),
        Cause::Permit => format!("waiting{caller} for a slot to {called}"),
        Cause::Io if called.is_empty() => format!("waiting{} for an answer", at(place)),
        Cause::Io => format!("waiting{caller} for the answer of {called}"),
        Cause::Join => format!("waiting{} for something that was not recorded", at(place)),
        Cause::Rate => format!("being held{} by the rate limit{}", at(place), of(name)),
        Cause::Timer => match name {
            Some("back_off") => format!("waiting out the retry delay{}", at(place)),
            Some(name) => format!("waiting out the timer {name}{}", at(place)),
            None => format!("waiting out a timer{}", at(place)),
        },
        Cause::Lock => format!("waiting{} for the lock{}", at(place), of(name)),
        Cause::Read => format!("waiting{} for the client to send", at(place)),
        Cause::Write => format!("waiting{} for the client to read", at(place)),
    }
}

/// A mark as a person says it: `peer=b`, `bytes ≥ 120000`, `arrival 14:01:07–14:02:10 UTC`.
#[must_use]
pub fn mark_words(mark: &Mark) -> String {
    let numbers = |(from, to): (&str, &str)| from.parse::<f64>().is_ok() && to.parse::<f64>().is_ok();
    let interval = mark.value.starts_with(['≥', '≤']) || mark.value.split_once('–').is_some_and(numbers);
    if interval || mark.key == "arrival" {
        format!("{} {}", mark.key, mark.value)
    } else {
        format!("{}={}", mark.key, mark.value)
    }
}

/// Milliseconds with the digits that matter.
pub(crate) fn milliseconds(ms: f64) -> String {
    if ms.abs() >= 100.0 {
        format!("{ms:.0} ms")
    } else if ms.abs() >= 1.0 {
        format!("{ms:.1} ms")
    } else {
        format!("{:.0} µs", ms * 1e3)
    }
}

/// A share in percent, never a rounded 0 or 100 that is not one.
pub(crate) fn percent(share: f64) -> String {
    if share > 0.0 && share < 0.01 {
        "<1%".into()
    } else if share < 1.0 && share > 0.99 {
        ">99%".into()
    } else {
        format!("{:.0}%", share * 100.0)
    }
}

/// What the time is spent on, in words: the one reason that holds most of it, or the first two.
pub(crate) fn reasons_words(reasons: &[Reason], place: &str) -> String {
    let words = |reason: &Reason, place: &str| reason_words(reason.cause, reason.name.as_deref(), place);
    let whole: f64 = reasons.iter().map(|reason| reason.share).sum();
    match reasons {
        [] if place.is_empty() => "spent in the request itself".into(),
        [] if place == "everywhere" => "spent everywhere".into(),
        [] => format!("spent at {place}"),
        [first, second, ..] if first.share < 0.8 * whole && second.share >= 0.1 * whole => {
            format!(
                "{} ({}) and {} ({})",
                words(first, place),
                percent(first.share),
                words(second, ""),
                percent(second.share)
            )
        }
        [first, ..] => words(first, place),
    }
}

/// The sentence of one finding, without its full stop.
pub(crate) fn sentence(share: f64, delta_ms: f64, words: &str, marks: &[Mark]) -> String {
    let part = format!("{} of the extra {} is {words}", percent(share), milliseconds(delta_ms));
    if marks.is_empty() { format!("{part}; no attribute marks it") } else { format!("{part}; {}", marks_words(marks)) }
}

/// What marks the requests that suffer, with both shares; empty without marks.
pub(crate) fn marks_words(marks: &[Mark]) -> String {
    let Some(first) = marks.first() else { return String::new() };
    let all: Vec<String> = marks.iter().map(mark_words).collect();
    let (slow, rest) = (percent(first.in_slow), percent(first.in_rest));
    format!("{} in {slow} of those vs {rest} of the rest", all.join(" and "))
}

/// The marks of a cause, in words; of a pair, both with the shares of the pair.
pub(crate) fn marks(aligned: &Aligned<'_>, attributes: &Attributes, found: &Found, place: Option<u32>) -> Vec<Mark> {
    let Some(scored) = &found.mark else { return Vec::new() };
    let mut marks: Vec<Mark> = match &scored.predicate {
        Predicate::Both(both) => both.iter().map(|one| mark(aligned, attributes, scored, one, place)).collect(),
        one => vec![mark(aligned, attributes, scored, one, place)],
    };
    // The same word may be told of the request and of the place: once is enough.
    let mut told: Vec<String> = marks.iter().map(mark_words).collect();
    for other in &found.also {
        let words = mark_words(&mark(aligned, attributes, other, &other.predicate, place));
        if !told.contains(&words) {
            told.push(words);
        }
    }
    told.drain(..marks.len());
    if let Some(first) = marks.first_mut() {
        first.also = told;
    }
    marks
}

fn mark(
    aligned: &Aligned<'_>,
    attributes: &Attributes,
    scored: &Scored,
    predicate: &Predicate,
    place: Option<u32>,
) -> Mark {
    let label = attributes.label(aligned, predicate.attribute(attributes), place);
    let value = match predicate {
        Predicate::Item(item) => attributes.items[*item as usize].value.to_string(),
        Predicate::Interval(interval) if interval.column == 0 => arrival_words(interval),
        Predicate::Interval(interval) => interval_words(interval),
        Predicate::Burst(burst) => match burst.period_s {
            Some(period) => format!("every {period:.1} s"),
            None => format!("in {} bursts", burst.windows),
        },
        // Pairs are taken apart by the caller, and never nest.
        Predicate::Both(_) => String::new(),
    };
    Mark { key: label, value, in_slow: scored.separation.p, in_rest: scored.separation.q, also: Vec::new() }
}

fn interval_words(interval: &Interval) -> String {
    let (from, to) = (number(interval.from), number(interval.to));
    match (interval.open_below, interval.open_above) {
        _ if interval.from >= interval.to => from,
        (false, true) => format!("≥ {from}"),
        (true, false) => format!("≤ {to}"),
        _ => format!("{from}–{to}"),
    }
}

/// A number with up to four significant digits after the point, whole ones in full.
fn number(x: f64) -> String {
    if x.fract() == 0.0 && x.abs() < 1e15 { format!("{x:.0}") } else { format!("{x:.3}") }
}

fn arrival_words(interval: &Interval) -> String {
    // Windows of some seconds need the fraction, long ones do not.
    let fraction = interval.to - interval.from < 20e9;
    let (from, to) = (time_of_day(interval.from, fraction), time_of_day(interval.to, fraction));
    match (interval.open_below, interval.open_above) {
        (false, true) => format!("from {from} UTC"),
        (true, false) => format!("until {to} UTC"),
        _ => format!("{from}–{to} UTC"),
    }
}

/// Nanoseconds since the Unix epoch as a time of day, UTC.
fn time_of_day(unix_ns: f64, fraction: bool) -> String {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates, and time is not negative")]
    let ms = (unix_ns / 1e6) as u64;
    let seconds = ms / 1000 % 86_400;
    let text = format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
    if fraction { format!("{text}.{:03}", ms % 1000) } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cause_reads_as_a_person_says_it() {
        let check = |cause, name, place, expected: &str| {
            let told = sentence(0.8, 52.5, &reason_words(cause, name, place), &[]);
            assert_eq!(told, format!("80% of the extra 52.5 ms is {expected}; no attribute marks it"));
        };
        check(Cause::Run, None, "render", "computing at render");
        check(Cause::Run, None, "everywhere", "computing everywhere");
        check(Cause::Run, None, "", "computing");
        check(Cause::Worker, None, "price", "waiting at price for a worker");
        check(Cause::Worker, None, "everywhere", "waiting everywhere for a worker");
        check(Cause::Worker, None, "", "waiting for a worker");
        check(Cause::Permit, Some("quotes"), "price.quotes", "waiting at price for a slot to quotes");
        check(Cause::Permit, Some("quotes"), "", "waiting for a slot to quotes");
        check(Cause::Permit, Some("quotes"), "everywhere", "waiting everywhere for a slot to quotes");
        check(Cause::Permit, None, "everywhere", "waiting everywhere for a slot");
        check(Cause::Permit, None, "", "waiting for a slot");
        check(Cause::Io, Some("quotes"), "price.quotes", "waiting at price for the answer of quotes");
        check(Cause::Io, Some("b"), "upstream", "waiting at upstream for the answer of b");
        check(Cause::Io, None, "upstream", "waiting for the answer of upstream");
        check(Cause::Io, None, "everywhere", "waiting everywhere for an answer");
        check(Cause::Io, None, "", "waiting for an answer");
        check(Cause::Join, None, "price", "waiting at price for something that was not recorded");
        check(Cause::Join, None, "", "waiting for something that was not recorded");
        check(Cause::Rate, Some("tenant"), "admission", "being held at admission by the rate limit of tenant");
        check(Cause::Rate, None, "", "being held by the rate limit");
        check(Cause::Timer, Some("back_off"), "cart.carts", "waiting out the retry delay at cart.carts");
        check(Cause::Timer, Some("pause"), "price", "waiting out the timer pause at price");
        check(Cause::Timer, None, "price", "waiting out a timer at price");
        check(Cause::Lock, Some("cart"), "price", "waiting at price for the lock of cart");
        check(Cause::Lock, None, "price", "waiting at price for the lock");
        check(Cause::Read, Some("client"), "upload", "waiting at upload for the client to send");
        check(Cause::Write, None, "", "waiting for the client to read");
    }

    #[test]
    fn the_sentence_names_share_place_reason_and_mark() {
        let peer = Mark {
            key: "peer".into(),
            value: "10.0.0.2:80".into(),
            in_slow: 0.98,
            in_rest: 0.03,
            also: vec!["zone=2".into()],
        };
        let reason = Reason { cause: Cause::Io, name: Some("quotes".into()), share: 0.94 };
        let permit = Reason { cause: Cause::Permit, name: Some("quotes".into()), share: 0.3 };
        let words = reasons_words(std::slice::from_ref(&reason), "price.quotes");
        assert_eq!(
            sentence(0.94, 137.0, &words, std::slice::from_ref(&peer)),
            "94% of the extra 137 ms is waiting at price for the answer of quotes; \
             peer=10.0.0.2:80 in 98% of those vs 3% of the rest"
        );
        assert_eq!(
            reasons_words(&[reason, permit], "price.quotes"),
            "waiting at price for the answer of quotes (94%) and waiting for a slot to quotes (30%)"
        );
        assert_eq!(
            sentence(0.4, 9.5, "computing at render", &[]),
            "40% of the extra 9.5 ms is computing at render; no attribute marks it"
        );
    }

    #[test]
    fn marks_and_numbers_read_well() {
        let mark = |key: &str, value: &str| {
            mark_words(&Mark { key: key.into(), value: value.into(), in_slow: 1.0, in_rest: 0.0, also: Vec::new() })
        };
        assert_eq!(mark("peer", "b"), "peer=b");
        assert_eq!(mark("bytes", "≥ 120000"), "bytes ≥ 120000");
        assert_eq!(percent(0.004), "<1%");
        assert_eq!(percent(0.0), "0%");
        assert_eq!(percent(0.995), ">99%");
        assert_eq!(milliseconds(137.4), "137 ms");
        assert_eq!(milliseconds(0.25), "250 µs");
        assert_eq!(time_of_day(1_700_000_000_123e6, false), "22:13:20");
        assert_eq!(time_of_day(1_700_000_000_123e6, true), "22:13:20.123");
    }
}

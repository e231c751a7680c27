//! The whole comparison: cohorts, exact difference, causes, and the verdict in one sentence.

use std::sync::Arc;

use super::align::Aligned;
use super::attribute::Attributes;
use super::cause::{self, Found};
use super::cohorts::{self, Chosen};
use super::difference;
use super::usual;
use super::verdict;
use super::{Cohorts, Comparison, Evidence, Finding, Part, Reason, VerdictKind};
use crate::timeline::Timeline;

/// Below this many slow requests there is no verdict, only the table.
const SLOW_LEAST: usize = 10;

/// The least share of the extra time that a headline explains.
const HEADLINE: f64 = 0.15;

/// All parts grew alike when three quarters of them grew at least this much of what the whole did.
const EVEN: f64 = 0.5;

/// What marks requests that are slow all over must separate at least this well to be told.
const UNIFORM_BOUND: f64 = 0.3;

/// A finding smaller than this is not shown.
const SHOWN: f64 = 0.01;

/// The most findings shown.
const FINDINGS_MAX: usize = 8;

/// Critical paths count as exact up to this inferred share; what is recorded as two events is never quite gapless.
const INFERRED_MOST: f64 = 0.01;

/// Compares two cohorts of one route.
///
/// `route` none takes the route with the largest extra time. Timelines of weight 0 count in nothing; those that break
/// [`Timeline::check`] are left out, and a note says how many. A pure function: same input, same answer.
///
/// Never fails: without enough slow requests the answer is [`VerdictKind::NotEnoughData`]. Cost: linear in the
/// states and attributes of all timelines of the route, and about 1 KB of memory for each.
#[must_use]
pub fn compare(timelines: &[Arc<Timeline>], route: Option<&str>, cohorts: &Cohorts) -> Comparison {
    let route = route.map(Arc::from).or_else(|| cohorts::slowest_route(timelines)).unwrap_or_else(|| Arc::from(""));
    let aligned = Aligned::new(timelines, &route);
    let chosen = cohorts::choose(&aligned, cohorts);
    let parts = difference::parts(&aligned, &chosen);
    let enough = chosen.b.len() >= SLOW_LEAST && chosen.a.len() >= SLOW_LEAST;
    let delta = aligned.mean_latency(&chosen.b) - aligned.mean_latency(&chosen.a);
    let mut notes = notes(&aligned, &chosen);
    let mut findings = Vec::new();
    if enough && delta > 0.0 {
        let attributes = Attributes::new(&aligned);
        if attributes.overflow > 0 {
            notes.push(format!(
                "{} attribute values were too many or not finite, and are not searched",
                attributes.overflow
            ));
        }
        let mut found = cause::find(&aligned, &attributes, &chosen);
        found.retain(|found| found.share >= SHOWN);
        found.truncate(FINDINGS_MAX);
        findings = found.iter().map(|found| finding(&aligned, &attributes, &chosen, delta, found)).collect();
    }
    let even = difference::evenness(&aligned, &chosen).is_some_and(|even| even >= EVEN);
    if let Some(first) = findings.iter().position(is_headline) {
        findings[..=first].rotate_right(1);
    }
    let (kind, verdict) = judge(&aligned, &chosen, enough, even, delta / 1e6, &findings, &parts);
    let inferred = inferred_share(&aligned, &chosen);
    if inferred > INFERRED_MOST {
        notes.push(format!("{} of the critical time is inferred, not recorded", verdict::percent(inferred)));
    }
    Comparison {
        a: cohorts::describe(&aligned, &chosen.a, &chosen.a_label),
        b: cohorts::describe(&aligned, &chosen.b, &chosen.b_label),
        delta_ms: delta / 1e6,
        unused: aligned.rows.len() - chosen.a.len() - chosen.b.len(),
        parts,
        findings,
        verdict,
        kind,
        exact: inferred <= INFERRED_MOST,
        notes,
        route: route.to_string(),
    }
}

fn is_headline(finding: &Finding) -> bool {
    finding.share >= HEADLINE && !finding.marks.is_empty()
}

/// Chooses the kind of answer and words it.
fn judge(
    aligned: &Aligned<'_>,
    chosen: &Chosen,
    enough: bool,
    even: bool,
    delta_ms: f64,
    findings: &[Finding],
    parts: &[Part],
) -> (VerdictKind, String) {
    if !enough {
        let (a, b) = (chosen.a.len(), chosen.b.len());
        let text = format!("Not enough data: {b} slow and {a} fast requests; {SLOW_LEAST} of each are needed.");
        return (VerdictKind::NotEnoughData, text);
    }
    if delta_ms <= 0.0 {
        return (VerdictKind::NoSingleCause, "No difference: B is not slower than A.".into());
    }
    if even {
        let factor = aligned.mean_latency(&chosen.b) / aligned.mean_latency(&chosen.a);
        let mut text = format!(
            "Uniform: every part grew by about the same factor, {factor:.1} times in all ({} more)",
            verdict::milliseconds(delta_ms)
        );
        // No part is to blame, and still something may say which requests it is that are slow all over.
        if let Some(first) = findings.first().filter(|first| is_headline(first) && first.bound >= UNIFORM_BOUND) {
            text.push_str(&format!("; {}", verdict::marks_words(&first.marks)));
        }
        text.push('.');
        return (VerdictKind::Uniform, text);
    }
    if let Some(first) = findings.first().filter(|first| is_headline(first)) {
        let mut text = first.sentence.clone();
        if let Some(second) = findings[1..].iter().find(|second| is_headline(second)) {
            text.push_str(". Then ");
            text.push_str(&second.sentence);
        }
        text.push('.');
        return (VerdictKind::Cause, text);
    }
    let mut text = String::from("No single cause");
    if let Some(part) = parts.iter().find(|part| part.cause.is_some() && part.share > 0.0) {
        let cause = part.cause.expect("filtered for it");
        text.push_str(&format!(
            ": the largest part, {} of the extra {}, is the spread of {}",
            verdict::percent(part.share),
            verdict::milliseconds(delta_ms),
            verdict::reason_words(cause, part.name.as_deref(), &part.place)
        ));
    }
    if let Some(smaller) = findings.iter().find(|finding| !finding.marks.is_empty()) {
        let marks: Vec<String> = smaller.marks.iter().map(verdict::mark_words).collect();
        text.push_str(&format!("; smaller: {} {}", marks.join(" and "), verdict::percent(smaller.share)));
    }
    text.push('.');
    (VerdictKind::NoSingleCause, text)
}

/// Puts a cause into words and numbers.
fn finding(aligned: &Aligned<'_>, attributes: &Attributes, chosen: &Chosen, delta: f64, found: &Found) -> Finding {
    let place = found.place(aligned);
    let place_text = place.map_or("everywhere", |place| aligned.places[place as usize].as_str());
    let reasons = reasons(aligned, found);
    let marks = verdict::marks(aligned, attributes, found, place);
    let sentence = verdict::sentence(found.share, delta / 1e6, &verdict::reasons_words(&reasons, place_text), &marks);
    let marked: Vec<usize> = chosen.b.iter().copied().filter(|&row| found.marked[row]).collect();
    let rest: Vec<usize> = chosen.b.iter().copied().filter(|&row| !found.marked[row]).collect();
    let without = found.mark.is_some() && !rest.is_empty() && !marked.is_empty();
    let example = typical(aligned, found, &marked);
    let twin = example.and_then(|row| usual::nearest(aligned, &chosen.a, row));
    let bound = found.bound();
    let id = |row: usize| aligned.timelines[row].trace_id.to_string();
    Finding {
        share: found.share,
        place: place_text.to_owned(),
        reasons,
        marks,
        bound,
        evidence: match chosen.b.len() {
            n if bound >= 0.6 && n >= 100 => Evidence::High,
            n if bound >= 0.3 && n >= 30 => Evidence::Medium,
            _ => Evidence::Low,
        },
        without_ms: without.then(|| aligned.mean_latency(&rest) / 1e6),
        example_slow: example.map(id),
        example_fast: twin.map(id),
        sentence,
    }
}

/// What the time of a cause is spent on, with shares that sum to the cause's.
fn reasons(aligned: &Aligned<'_>, found: &Found) -> Vec<Reason> {
    let whole: f64 = found.mass.iter().map(|(_, mass)| mass).sum();
    let mut reasons: Vec<Reason> = Vec::new();
    for (key, mass) in found.mass.iter().filter(|(_, mass)| *mass > 0.0) {
        let key = &aligned.keys[*key as usize];
        let share = found.share * mass / whole;
        match reasons.iter_mut().find(|known| known.cause == key.cause && known.name.as_deref() == key.name.as_deref())
        {
            Some(known) => known.share += share,
            None => {
                reasons.push(Reason { cause: key.cause, name: key.name.as_deref().map(str::to_owned), share });
            }
        }
    }
    reasons.sort_by(|x, y| y.share.total_cmp(&x.share));
    reasons
}

/// The marked slow request whose time at the cause's parts is in the middle of theirs.
fn typical(aligned: &Aligned<'_>, found: &Found, marked: &[usize]) -> Option<usize> {
    let mut wanted = vec![false; aligned.keys.len()];
    for (key, _) in &found.mass {
        wanted[*key as usize] = true;
    }
    let mut order: Vec<(f64, usize)> = marked.iter().map(|&row| (aligned.time_at(row, &wanted), row)).collect();
    order.sort_by(|x, y| x.0.total_cmp(&y.0).then(x.1.cmp(&y.1)));
    order.get(order.len() / 2).map(|(_, row)| *row)
}

/// The inferred share of the critical time of both cohorts.
fn inferred_share(aligned: &Aligned<'_>, chosen: &Chosen) -> f64 {
    let rows = || chosen.a.iter().chain(&chosen.b).map(|&row| &aligned.rows[row]);
    let all: f64 = rows().map(|row| row.latency).sum();
    let inferred: f64 = rows().map(|row| row.inferred).sum();
    if all > 0.0 { inferred / all } else { 0.0 }
}

/// What a reader should know about the data.
fn notes(aligned: &Aligned<'_>, chosen: &Chosen) -> Vec<String> {
    let mut notes = Vec::new();
    if aligned.malformed > 0 {
        notes.push(format!("{} timelines are malformed and left out", aligned.malformed));
    }
    if aligned.lossy > 0 {
        notes.push(format!("{} timelines lost events", aligned.lossy));
    }
    if (SLOW_LEAST..30).contains(&chosen.b.len()) {
        notes.push(format!("only {} slow requests: treat the findings as hints", chosen.b.len()));
    }
    let mut group = super::score::Group::default();
    chosen.a.iter().for_each(|&row| group.add(aligned.rows[row].weight));
    if !chosen.a.is_empty() && group.effective() < 100.0 {
        notes.push(format!("the fast cohort counts like {:.0} requests", group.effective()));
    }
    if let Some(span) = uncovered(aligned, chosen) {
        notes.push(span);
    }
    notes
}

/// Warns when the fast requests cover only a part of the time that the slow ones come from: then time looks like a
/// cause, and no weight can repair it.
fn uncovered(aligned: &Aligned<'_>, chosen: &Chosen) -> Option<String> {
    let from = chosen.a.iter().map(|&row| aligned.rows[row].start).min()?;
    let to = chosen.a.iter().map(|&row| aligned.rows[row].start).max()?;
    let outside = chosen.b.iter().filter(|&&row| !(from..=to).contains(&aligned.rows[row].start)).count();
    (outside * 5 > chosen.b.len())
        .then(|| format!("{outside} slow requests are from times without a fast one: arrival is no evidence"))
}

//! Slow beside fast: where the two cohorts lie, the table that adds up to their difference, and the findings.

use ratatui::layout::Rect;
use zerver_telemetry::event::{Cause, StateKind};
use zerver_telemetry::explain::{Comparison, Finding, Part};

use crate::histogram::{BUCKETS, Histogram, edge_ms};
use crate::layout;
use crate::model::Model;
use crate::pen::{Pen, cast, fit, wrap};
use crate::report::{evidence, evidence_word, mark_words, part_name};
use crate::theme::Role;
use crate::units::{count, ms, ms_exact, ms_signed, percent};

pub(super) fn draw(pen: &mut Pen<'_>, body: Rect, model: &Model) {
    let parts = model.compare.result.as_ref().map_or(0, |c| c.parts.len());
    let [top, table, findings] = layout::compare(body, parts);
    cohorts(pen, top, model);
    let Some(result) = &model.compare.result else {
        let text = if model.compare.pending { "comparing …" } else { "no comparison yet" };
        let room = pen.frame(table, "A and B, part by part", "");
        pen.text(room, 1, 0, text, Role::Dim);
        pen.frame(findings, "Findings", "");
        return;
    };
    difference(pen, table, model, result);
    list(pen, findings, model, result);
}

/// Which buckets are drawn, and how wide each is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scale {
    first: usize,
    cells: u16,
    count: usize,
}

impl Scale {
    pub(crate) fn new(histogram: &Histogram, edges: [usize; 4], width: u16) -> Self {
        let (mut first, mut last) = histogram.range().unwrap_or((0, 8));
        for edge in edges {
            first = first.min(edge);
            last = last.max(edge.min(BUCKETS - 1));
        }
        let (first, last) = (first.saturating_sub(1), (last + 1).min(BUCKETS - 1));
        let count = last - first + 1;
        let cells = (usize::from(width) / count).clamp(1, 4);
        Self { first, cells: cast(cells), count }
    }

    fn column(self, bucket: usize) -> u16 {
        cast(bucket.saturating_sub(self.first).min(self.count)).saturating_mul(self.cells)
    }

    /// The edge nearest to a column.
    pub(crate) fn bucket(self, column: u16) -> usize {
        self.first + usize::from((column + self.cells / 2) / self.cells).min(self.count)
    }
}

fn cohorts(pen: &mut Pen<'_>, area: Rect, model: &Model) {
    let compare = &model.compare;
    let route = compare.route.as_deref().unwrap_or("–");
    let swapped = if compare.swapped { ", swapped" } else { "" };
    let busy = if compare.pending { " …" } else { "" };
    let remark = format!("p {}{swapped}{busy}", compare.choice.as_str());
    let room = pen.frame(area, &format!("Cohorts  {route}"), &remark);
    let Some(route) = compare.route.as_ref().and_then(|name| model.route(name)) else {
        pen.text(room, 1, 0, "nothing has arrived on this route yet", Role::Dim);
        return;
    };
    if room.height < 4 {
        return;
    }
    let histogram = &route.histogram;
    let scale = Scale::new(histogram, compare.edges, room.width);
    let edges = compare.edges;
    let side = |bucket: usize| match () {
        () if compare.result.is_none() => Role::Dim,
        () if (edges[0]..edges[1]).contains(&bucket) => Role::CohortA,
        () if (edges[2]..edges[3]).contains(&bucket) => Role::CohortB,
        () => Role::Dim,
    };
    let bars = room.height - 2;
    let most = histogram.weights.iter().copied().fold(0.0, f64::max).ln_1p().max(f64::MIN_POSITIVE);
    for bucket in scale.first..(scale.first + scale.count).min(BUCKETS) {
        let weight = histogram.weights[bucket];
        if weight <= 0.0 {
            continue;
        }
        // Heights are logarithms: the slow ones are few, and they are what matters.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at most 8 times the rows")]
        let eighths = ((weight.ln_1p() / most * f64::from(bars) * 8.0).ceil() as usize).max(1);
        for row in 0..bars {
            let full = eighths.saturating_sub(usize::from(bars - 1 - row) * 8).min(8);
            if full > 0 {
                for cell in 0..scale.cells {
                    let x = scale.column(bucket) + cell;
                    pen.glyph(room, x, row, pen.glyphs.heights[full], side(bucket));
                }
            }
        }
    }
    brushes(pen, room, bars, model, scale);
    axis(pen, room, room.height - 1, scale);
}

fn brushes(pen: &mut Pen<'_>, room: Rect, y: u16, model: &Model, scale: Scale) {
    let compare = &model.compare;
    let Some(result) = &compare.result else { return };
    let letters = if compare.swapped { ["B", "A"] } else { ["A", "B"] };
    for (n, (letter, role)) in letters.into_iter().zip([Role::CohortA, Role::CohortB]).enumerate() {
        let (from, to) = (scale.column(compare.edges[n * 2]), scale.column(compare.edges[n * 2 + 1]).max(1) - 1);
        let [open, line, close] = pen.glyphs.brace;
        for x in from..=to {
            pen.glyph(room, x, y, line, role);
        }
        pen.glyph(room, from, y, open, role);
        pen.glyph(room, to, y, close, role);
        let cohort = if letter == "A" { &result.a } else { &result.b };
        let label = format!(" {letter} {} ", count(cohort.count as u64));
        let wide = cast(label.chars().count());
        if to > from + wide {
            pen.text(room, from + (to - from - wide) / 2 + 1, y, &label, role);
        } else {
            // No room within: the letter alone, where it cannot hide an edge.
            pen.glyph(room, (from + to) / 2, y, letter.chars().next().unwrap_or(' '), role);
        }
        for (edge, x) in [(n * 2, from), (n * 2 + 1, to)] {
            if compare.edge == edge {
                pen.select(Rect { x: room.x + x, width: 1, ..room }.intersection(room), y);
            }
        }
    }
}

fn axis(pen: &mut Pen<'_>, room: Rect, y: u16, scale: Scale) {
    let mut free = 0;
    for bucket in (scale.first..scale.first + scale.count).filter(|b| b.is_multiple_of(4)) {
        let x = scale.column(bucket);
        if x < free {
            continue;
        }
        let edge = edge_ms(bucket);
        let text = if edge < 1.0 {
            format!("{edge:.3}").trim_end_matches('0').trim_end_matches('.').to_owned()
        } else {
            ms_exact(edge)
        };
        let text = text.trim_end_matches(".0").to_owned();
        if x + cast(text.len()) + 3 < room.width {
            free = pen.text(room, x, y, &text, Role::Dim) + 1;
        }
    }
    pen.text(room, free, y, "ms", Role::Dim);
}

fn difference(pen: &mut Pen<'_>, area: Rect, model: &Model, result: &Comparison) {
    let order = if model.compare.by_time { "order: time in B" } else { "order: Δ" };
    let exact = if result.exact { "exact paths" } else { "~ inferred paths" };
    let room = pen.frame(area, "A and B, part by part", &format!("{exact}   {order} (o)   sum = Δ"));
    if room.height == 0 {
        return;
    }
    let wide = room.width >= 110;
    let (name, bar) = if wide { (34, 12) } else { (27, 0) };
    let share_bar = if wide { 18 } else { 12 };
    let heading = format!(
        "{} {:>8} {:>8} {}{:>9} {:>5}",
        fit("critical time", name),
        "A ms",
        "B ms",
        if bar > 0 { format!(" {} ", fit("A | B", bar * 2)) } else { String::new() },
        "Δ ms",
        "share",
    );
    pen.text(room, 1, 0, &heading, Role::Dim);
    let mut parts: Vec<&Part> = result.parts.iter().collect();
    if model.compare.by_time {
        parts.sort_by(|a, b| b.b_ms.total_cmp(&a.b_ms));
    }
    let longest = parts.iter().map(|p| p.a_ms.max(p.b_ms)).fold(f64::MIN_POSITIVE, f64::max);
    let largest = parts.iter().map(|p| p.share.abs()).fold(f64::MIN_POSITIVE, f64::max);
    let shown = usize::from(room.height.saturating_sub(2));
    let rest = parts.len().saturating_sub(shown);
    for (n, part) in parts.iter().take(shown).enumerate() {
        let y = cast(n) + 1;
        let kind = part.cause.map_or(StateKind::Park, Cause::kind);
        let sign = if part.cause.is_some() { pen.glyphs.of(kind) } else { ' ' };
        pen.glyph(room, 1, y, sign, Role::of(kind));
        let x = pen.text(room, 3, y, &fit(&part_name(part), name - 2), Role::Text);
        let numbers = format!(" {:>8} {:>8} ", ms_exact(part.a_ms), ms_exact(part.b_ms));
        let mut x = pen.text(room, x, y, &numbers, Role::Text);
        if bar > 0 {
            for (at, time) in [(x + 1, part.a_ms), (x + 1 + cast(bar), part.b_ms)] {
                let cells = cells_of(time / longest, bar - 1);
                pen.bar(room, at, y, cells, &[(1.0, pen.glyphs.of(kind), Role::of(kind))]);
            }
            x += cast(bar) * 2 + 2;
        }
        let numbers = format!("{:>9} {:>5}  ", ms_signed(part.delta_ms), percent(part.share));
        let x = pen.text(room, x, y, &numbers, Role::Text);
        let cells = cells_of(part.share.abs() / largest, share_bar);
        let glyph = if part.share < 0.0 { '-' } else { pen.glyphs.share };
        pen.bar(room, x, y, cells, &[(1.0, glyph, Role::CohortB)]);
        if part.few {
            pen.text(room, x + cells + 1, y, "few", Role::Alarm);
        }
    }
    let more = if rest > 0 { format!("total, with {rest} more parts") } else { "total".into() };
    let total = format!(
        "{} {:>8} {:>8} {}{:>9} {:>5}",
        fit(&more, name),
        ms_exact(result.a.mean_ms),
        ms_exact(result.b.mean_ms),
        " ".repeat(if bar > 0 { bar * 2 + 2 } else { 0 }),
        ms_signed(result.delta_ms),
        "100%"
    );
    pen.text(room, 1, room.height - 1, &total, Role::Strong);
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at most `cells`")]
fn cells_of(share: f64, cells: usize) -> u16 {
    (share.clamp(0.0, 1.0) * f64::from(cast(cells))).round() as u16
}

fn list(pen: &mut Pen<'_>, area: Rect, model: &Model, result: &Comparison) {
    let about = format!(
        "A {} {}–{} ms   B {} {}–{} ms   {} unused",
        count(result.a.count as u64),
        ms(result.a.min_ms),
        ms(result.a.max_ms),
        count(result.b.count as u64),
        ms(result.b.min_ms),
        ms(result.b.max_ms),
        count(result.unused as u64)
    );
    let room = pen.frame(area, &format!("Findings {}", result.findings.len()), &about);
    let width = usize::from(room.width.saturating_sub(14));
    let chosen = model.compare.finding;
    // The chosen finding is shown whole; the others in a line each, from where the chosen one fits.
    let mut lines: Vec<(usize, bool, String)> = Vec::new();
    for (n, finding) in result.findings.iter().enumerate() {
        let sentence = wrap(&finding.sentence, width);
        for (part, text) in sentence.into_iter().take(if n == chosen { 3 } else { 1 }).enumerate() {
            lines.push((n, part == 0, text));
        }
        if n == chosen {
            lines.extend(facts(finding).into_iter().map(|text| (n, false, text)));
        }
    }
    if result.findings.is_empty() {
        for (n, note) in wrap(&result.verdict, usize::from(room.width.saturating_sub(2))).iter().enumerate() {
            pen.text(room, 1, cast(n), note, Role::Dim);
        }
        return;
    }
    lines.extend(result.notes.iter().map(|note| (usize::MAX, false, format!("note: {note}"))));
    let height = usize::from(room.height);
    let begin = lines.iter().position(|(n, ..)| *n == chosen).unwrap_or(0);
    let first = begin.min(lines.len().saturating_sub(height));
    for (y, (n, head, text)) in lines.iter().skip(first).take(height).enumerate() {
        let y = cast(y);
        if *head && let Some(finding) = result.findings.get(*n) {
            let signs = evidence(finding.evidence, pen.glyphs.evidence);
            let text = format!("{} {signs} {:>4}", n + 1, percent(finding.share));
            let role = if *n == chosen { Role::Strong } else { Role::Text };
            pen.text(room, 1, y, &text, role);
            if *n == chosen {
                pen.glyph(room, 0, y, pen.glyphs.cursor, Role::Strong);
                pen.select(Rect { width: 12, ..room }, y);
            }
        }
        let x = if *n == usize::MAX { 1 } else { 13 };
        let role = if *head { Role::Text } else { Role::Dim };
        pen.text(room, x, y, text, role);
    }
}

/// Cause, check and examples of the chosen finding.
fn facts(finding: &Finding) -> Vec<String> {
    let mut out: Vec<String> = finding.marks.iter().map(|mark| format!("cause  {}", mark_words(mark))).collect();
    let without =
        finding.without_ms.map(|w| format!("mean of B without these {} ms, ", ms_exact(w))).unwrap_or_default();
    let pair = if finding.example_slow.is_some() { "   Enter example pair" } else { "" };
    out.push(format!("check  {without}evidence {} (J ≥ {:.2}){pair}", evidence_word(finding.evidence), finding.bound));
    out
}

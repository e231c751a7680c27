//! The list of requests with its filter line, and the facts of the selected one.

use std::sync::Arc;

use ratatui::layout::Rect;
use zerver_telemetry::event::StateKind;
use zerver_telemetry::timeline::Value;

use crate::layout;
use crate::model::{Model, Side};
use crate::pen::{Pen, cast, fit};
use crate::row::Row;
use crate::theme::Role;
use crate::units::{count, ms_exact, ns_to_ms, percent, short_id, time_of_day};

pub(super) fn draw(pen: &mut Pen<'_>, body: Rect, model: &Model) {
    let [filter, list, detail] = layout::requests(body);
    filter_line(pen, filter, model);
    table(pen, list, model);
    if detail.height > 0 {
        facts(pen, detail, model);
    }
}

fn filter_line(pen: &mut Pen<'_>, area: Rect, model: &Model) {
    let requests = &model.requests;
    let matches = format!("{} of {}", count(requests.view.len() as u64), count(model.store.len() as u64));
    let room = pen.frame(area, "Filter", &matches);
    if room.height == 0 {
        return;
    }
    let Some(line) = &requests.input else {
        match requests.filter.text.as_str() {
            "" => pen.text(
                room,
                1,
                0,
                "all requests; / filters: route:checkout lat:>10ms -status:2xx queue@price>5ms",
                Role::Dim,
            ),
            text => pen.text(room, 1, 0, text, Role::Text),
        };
        return;
    };
    // The part of a long line around the cursor.
    let width = usize::from(room.width.saturating_sub(2)).max(1);
    let before = line.before().chars().count();
    let skip = (before + 1).saturating_sub(width);
    let error = requests.error.as_ref();
    for (n, (at, c)) in line.text().char_indices().enumerate().skip(skip) {
        let wrong = error.is_some_and(|e| e.at.contains(&at));
        pen.glyph(room, 1 + cast(n - skip), 0, c, if wrong { Role::Alarm } else { Role::Text });
    }
    let cursor = Rect { x: room.x.saturating_add(1 + cast(before - skip)), width: 1, ..room }.intersection(room);
    pen.select(cursor, 0);
    if let Some(error) = error {
        // The frame's lower edge has room for the spot and the sentence.
        let from = line.text().get(..error.at.start).map_or(0, |t| t.chars().count()).saturating_sub(skip);
        let x = 1 + cast(from.min(width));
        let spot = error.at.len().clamp(1, width.saturating_sub(from).max(1));
        let mark = format!("{} {} ", "^".repeat(spot), error.message);
        let edge = Rect { y: area.y + area.height - 1, height: 1, ..room };
        let fits = usize::from(edge.width.saturating_sub(x)) >= mark.chars().count();
        let x = if fits { x } else { edge.width.saturating_sub(cast(mark.chars().count())) };
        pen.text(edge, x, 0, &mark, Role::Alarm);
    }
}

fn table(pen: &mut Pen<'_>, area: Rect, model: &Model) {
    let requests = &model.requests;
    let tail = if requests.follow { "tail on" } else { "tail off (F)" };
    let room = pen.frame(area, "Requests", &format!("{tail}   sort {}", requests.sort.as_str()));
    let wide = room.width >= 110;
    let (name, bar) = if wide { (16, 24) } else { (10, 16) };
    let time = if wide { 12 } else { 9 };
    let heading = format!(
        "  {} {} {:>3} {:>9} {} {}",
        fit("time", time),
        fit("route", name),
        "st",
        "ms",
        fit("critical path", bar + 1),
        "why slow"
    );
    pen.text(room, 0, 0, &heading, Role::Dim);
    let list = layout::list(area, 1);
    if requests.view.is_empty() {
        let text = if model.store.len() == 0 { "no request has finished yet" } else { "no request matches the filter" };
        pen.text(list, 2, 0, text, Role::Dim);
        return;
    }
    let first = layout::first_shown(requests.cursor, requests.view.len(), list.height);
    let shown = requests.view.iter().enumerate().skip(first).take(usize::from(list.height));
    // Bars share the scale of the slowest in view, not of one that is far away.
    let longest = shown.clone().filter_map(|(_, id)| model.store.get(*id)).map(|row| row.timeline.latency_ns).max();
    let longest = longest.unwrap_or(1).max(1);
    for (place, id) in shown {
        let y = cast(place - first);
        let Some(row) = model.store.get(*id) else {
            pen.text(list, 2, y, "(no longer in memory)", Role::Dim);
            continue;
        };
        let timeline = &row.timeline;
        let mark = match model.marks.get(&timeline.trace_id) {
            Some(Side::Fast) => ('A', Role::CohortA),
            Some(Side::Slow) => ('B', Role::CohortB),
            None if model.store.is_pinned(*id) => (pen.glyphs.pin, Role::Strong),
            None => (' ', Role::Text),
        };
        pen.glyph(list, 1, y, mark.0, mark.1);
        let at = time_of_day(timeline.start_unix_ns);
        let at = if wide { at.as_str() } else { &at[3..] };
        let x = pen.text(list, 2, y, &format!("{at} {} ", fit(&timeline.route, name)), Role::Text);
        let role = if row.failed() { Role::Alarm } else { Role::Text };
        let x = pen.text(list, x, y, &format!("{:>3}", timeline.status), role);
        let latency = ns_to_ms(timeline.latency_ns);
        let x = pen.text(list, x, y, &format!(" {:>9} ", ms_exact(latency)), Role::Text);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at most the bar's width")]
        let cells = (latency / ns_to_ms(longest) * f64::from(cast(bar))).ceil().min(f64::from(cast(bar))) as u16;
        pen.bar(list, x, y, cells, &parts(pen, row));
        let x = x + cast(bar) + 2;
        // Slow is what takes twice as long as usual on its route.
        let slow = model.around.percentiles.get(&timeline.route).is_some_and(|p| latency >= p[1].min(p[0] * 2.0));
        if slow || row.failed() {
            pen.text(list, x, y, &fit(&row.why(), usize::from(list.width.saturating_sub(x)).min(28)), Role::Text);
        }
        if wide {
            let after = x + 29;
            pen.text(list, after, y, &values(row, 3), Role::Dim);
        }
        if place == requests.cursor {
            pen.glyph(list, 0, y, pen.glyphs.cursor, Role::Strong);
            pen.select(Rect { width: x.saturating_sub(cast(bar) + 2), ..list }, y);
        }
    }
}

fn parts(pen: &Pen<'_>, row: &Row) -> [(f64, char, Role); 3] {
    let g = pen.glyphs;
    let split = row.split;
    [
        (ns_to_ms(split.queue_ns), g.queue, Role::of(StateKind::Queue)),
        (ns_to_ms(split.park_ns), g.park, Role::of(StateKind::Park)),
        (ns_to_ms(split.run_ns), g.run, Role::of(StateKind::Run)),
    ]
}

/// A request's attributes, those of the request first; the operator's own (`tenant`, `peer`) before the conventions'
/// (`http.request.method`), which are much the same in every row.
fn told(row: &Row) -> impl Iterator<Item = &(Arc<str>, Value)> {
    let all = |own: bool| {
        let nodes = row.timeline.nodes.iter();
        nodes.flat_map(|node| &node.attrs).filter(move |(key, _)| key.contains('.') != own)
    };
    all(true).chain(all(false))
}

/// The texts among the first few attributes, without their keys: `acme b`.
fn values(row: &Row, most: usize) -> String {
    let mut values: Vec<&str> = Vec::new();
    for (_, value) in told(row) {
        if let Value::Text(text) = value
            && values.len() < most
            && !values.contains(&&**text)
        {
            values.push(text);
        }
    }
    values.join(" ")
}

/// The first few different attributes, those of the request first: `tenant=acme peer=b`.
pub(super) fn attributes(row: &Row, most: usize) -> String {
    let mut seen: Vec<&Arc<str>> = Vec::new();
    let mut out = String::new();
    for (key, value) in told(row) {
        if seen.len() == most {
            break;
        }
        if !seen.contains(&key) {
            seen.push(key);
            out.push_str(&format!("{key}={value} "));
        }
    }
    out
}

fn facts(pen: &mut Pen<'_>, area: Rect, model: &Model) {
    let title = model
        .selected_row()
        .map_or("Selected".into(), |row| format!("Selected {}", short_id(&row.timeline.trace_id.to_string())));
    let room = pen.frame(area, &title, "Enter timeline  a mark fast  b mark slow");
    let Some(row) = model.selected_row() else { return };
    let timeline = &row.timeline;
    let whole = ns_to_ms(timeline.latency_ns).max(f64::MIN_POSITIVE);
    let part = |name: &str, ns: u64| format!("{name} {} ({})  ", ms_exact(ns_to_ms(ns)), percent(ns_to_ms(ns) / whole));
    let split = row.split;
    let text = format!(
        "{}  {}{}{}{}",
        timeline.route,
        part("queue", split.queue_ns),
        part("park", split.park_ns),
        part("run", split.run_ns),
        row.why()
    );
    pen.text(room, 1, 0, &text, Role::Text);
    let kept: Vec<String> = timeline.kept.iter().map(|k| format!("{k:?}").to_lowercase()).collect();
    let lost = if timeline.lost_events > 0 { format!("  {} events lost", timeline.lost_events) } else { String::new() };
    let text = format!(
        "{}  {}  config {}  kept {}  stands for {:.0}{lost}",
        timeline.outcome.as_str(),
        attributes(row, 6).trim_end(),
        timeline.config_version,
        if kept.is_empty() { "–".into() } else { kept.join("+") },
        timeline.weight
    );
    pen.text(room, 1, 1, &text, Role::Dim);
}

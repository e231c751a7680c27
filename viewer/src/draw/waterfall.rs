//! The waterfall of one request: a lane for each node, thick on the critical path, and the facts of the selected one.

use ratatui::layout::Rect;
use zerver_telemetry::event::Cause;
use zerver_telemetry::timeline::{Node, State};

use crate::layout;
use crate::model::{Lane, Model, TimelineView};
use crate::pen::{Pen, cast, fit};
use crate::row::{Row, node_path, place, shares};
use crate::theme::Role;
use crate::units::{ms_exact, ns_to_ms, percent, short_id};
use crate::update::timeline::{shown, window};

pub(super) fn draw(pen: &mut Pen<'_>, body: Rect, model: &Model) {
    let [head, lanes, path, node] = layout::timeline(body);
    let view = &model.timeline;
    let Some(row) = &view.row else {
        let room = pen.frame(body, "Timeline", "");
        pen.text(room, 1, 0, "no request is chosen; Enter on one in the list (2) shows it here", Role::Dim);
        return;
    };
    title(pen, head, model, row);
    waterfall(pen, lanes, view, row);
    if path.height > 0 {
        critical(pen, path, row);
        details(pen, node, view, row);
    }
}

fn title(pen: &mut Pen<'_>, area: Rect, model: &Model, row: &Row) {
    let timeline = &row.timeline;
    let latency = ns_to_ms(timeline.latency_ns);
    let rank = model.route(&timeline.route).map_or("", |route| match latency {
        l if l >= route.p99_ms => "≥ p99",
        l if l >= route.p95_ms => "≥ p95",
        l if l >= route.p50_ms => "≥ p50",
        _ => "< p50",
    });
    let exact = if row.path_is_exact() { "exact path" } else { "~ inferred path" };
    let text = format!(
        "{}  {}  {}  {} ms  {rank}   {}  {exact}",
        short_id(&timeline.trace_id.to_string()),
        timeline.route,
        timeline.status,
        ms_exact(latency),
        super::requests::attributes(row, 3).trim_end()
    );
    let x = pen.text(area, 1, 0, &text, Role::Strong);
    let twin = if model.timeline.twin.is_some() { "w twin" } else { "" };
    if x + 8 < area.width {
        pen.right(area, area.width - 1, 0, twin, Role::Alarm);
    }
}

/// Columns of the names, and of the durations after them.
fn columns(width: u16) -> (u16, u16) {
    if width >= 110 { (30, 8) } else { (22, 7) }
}

fn waterfall(pen: &mut Pen<'_>, area: Rect, view: &TimelineView, row: &Row) {
    let mode = if view.path_only { "path only   " } else { "" };
    let zoom = if view.zoom > 1.0 { format!("zoom {:.0}×", view.zoom) } else { "whole".into() };
    let room = pen.frame(area, "Timeline", &format!("{mode}{zoom}"));
    let (names, numbers) = columns(room.width);
    let lead = names + numbers + 1;
    if room.width <= lead + 4 {
        return;
    }
    let bars = Rect { x: room.x + lead, width: room.width - lead - 1, ..room };
    let (from, to) = window(view);
    pen.text(room, 2, 0, "node", Role::Dim);
    pen.right(room, names + numbers, 0, "ms", Role::Dim);
    ruler(pen, bars, from, to);
    let list = layout::list(area, 1);
    let lanes = shown(view).count();
    let first = layout::first_shown(view.cursor, lanes, list.height);
    for (n, lane) in shown(view).enumerate().skip(first).take(usize::from(list.height)) {
        let Some(node) = row.timeline.node(lane.node) else { continue };
        let y = cast(n - first);
        let sign = if lane.on_path { pen.glyphs.path } else { ' ' };
        pen.glyph(list, 1, y, sign, Role::Strong);
        let name = lane_name(pen, lane, node, row);
        pen.text(Rect { width: names, ..list }, 3, y, &name, if lane.on_path { Role::Text } else { Role::Dim });
        let life = ms_exact(ns_to_ms(node.end_ns.saturating_sub(node.start_ns)));
        pen.right(list, names + numbers, y, &life, Role::Text);
        let line = Rect { y: list.y + y, height: 1, ..bars };
        states(pen, line, lane, node, row, (from, to));
        if n == view.cursor {
            pen.glyph(list, 0, y, pen.glyphs.cursor, Role::Strong);
            pen.select(Rect { width: names + numbers, ..list }, y);
        }
    }
    // A short tree leaves room to say what the signs mean.
    if usize::from(list.height) > lanes {
        let g = pen.glyphs;
        let text = format!(
            "{} critical path  {} queue  {} park  {} run  {} waits for a child  {} off the path",
            g.path, g.queue, g.park, g.run, g.wait, g.off
        );
        pen.text(list, 1, list.height - 1, &text, Role::Dim);
    }
}

fn lane_name(pen: &Pen<'_>, lane: &Lane, node: &Node, row: &Row) -> String {
    let Some((own, above)) = lane.last.split_last() else { return format!("{} (request)", row.timeline.route) };
    let mut name = String::new();
    // The children of the request itself need no rail: everything belongs to it.
    let _ = own;
    for last in above.iter().skip(1) {
        name.push_str(if *last { "  " } else { pen.glyphs.rail });
    }
    if !above.is_empty() {
        name.push_str(if *own { pen.glyphs.last } else { pen.glyphs.branch });
    }
    name.push_str(&node.name);
    if node.attempt > 1 {
        name.push_str(&format!(" #{}", node.attempt));
    }
    if let Some(peer) = node.attr("peer") {
        name.push_str(&format!(" {peer}"));
    }
    if node.end_ns > row.timeline.latency_ns {
        name.push_str(" (detached)");
    }
    name
}

/// The times along the top.
fn ruler(pen: &mut Pen<'_>, bars: Rect, from: u64, to: u64) {
    let marks = (bars.width / 14).clamp(1, 8);
    for n in 0..=marks {
        let x = u64::from(bars.width.saturating_sub(1)) * u64::from(n) / u64::from(marks);
        let at = from + (to - from) / u64::from(marks) * u64::from(n);
        let digits = if to - from < 10_000_000 { 3 } else { 1 };
        let text = format!("{:.digits$}", ns_to_ms(at));
        let x = u16::try_from(x).unwrap_or(u16::MAX);
        if n == marks {
            pen.right(bars, bars.width, 0, &text, Role::Dim);
        } else {
            pen.text(bars, x, 0, &text, Role::Dim);
        }
    }
}

/// One cell for each slice of time: the state that fills most of it.
fn states(pen: &mut Pen<'_>, line: Rect, lane: &Lane, node: &Node, row: &Row, (from, to): (u64, u64)) {
    let cells = u64::from(line.width);
    let slice = |n: u64| from + u64::try_from(u128::from(to - from) * u128::from(n) / u128::from(cells)).unwrap_or(0);
    let mut first = 0;
    for n in 0..cells {
        let (begin, end) = (slice(n), slice(n + 1).max(slice(n) + 1));
        if node.end_ns < begin || node.start_ns >= end || (node.end_ns == begin && node.start_ns < begin) {
            continue;
        }
        while node.states.get(first).is_some_and(|state| state.to_ns <= begin && state.to_ns < node.end_ns) {
            first += 1;
        }
        let inside = |state: &&State| state.from_ns < end;
        let overlap = |state: &&State| (state.to_ns.min(end).saturating_sub(state.from_ns.max(begin)), state.from_ns);
        let Some(state) = node.states[first..].iter().take_while(inside).max_by_key(overlap) else { continue };
        let on_path = lane.on_path && {
            let pieces = &row.path;
            pieces.iter().any(|p| p.node == lane.node && p.from_ns < end && p.to_ns > begin)
        };
        let kind = state.cause.kind();
        let (glyph, role) = match state.cause {
            Cause::Join => (pen.glyphs.wait, Role::Dim),
            _ if on_path => (pen.glyphs.of(kind), Role::of(kind)),
            _ => (pen.glyphs.off, Role::Dim),
        };
        pen.glyph(line, u16::try_from(n).unwrap_or(u16::MAX), 0, glyph, role);
    }
}

/// The critical path added up.
fn critical(pen: &mut Pen<'_>, area: Rect, row: &Row) {
    let timeline = &row.timeline;
    let latency = ns_to_ms(timeline.latency_ns).max(f64::MIN_POSITIVE);
    let room = pen.frame(area, "Critical path", &format!("{} ms", ms_exact(latency)));
    let shares = shares(&row.path);
    let lines = usize::from(room.height);
    let whole = shares.len() <= lines;
    let most = if whole { lines } else { lines.saturating_sub(1) };
    for (n, share) in shares.iter().take(most).enumerate() {
        let kind = share.cause.kind();
        let y = cast(n);
        let ms = ns_to_ms(share.ns);
        let x = pen.text(room, 0, y, &format!("{:>7} {:>4} ", ms_exact(ms), percent(ms / latency)), Role::Text);
        pen.glyph(room, x, y, pen.glyphs.of(kind), Role::of(kind));
        let mut text = place(timeline, share);
        if let Some(name) = &share.name {
            text.push_str(&format!(" ({name})"));
        }
        pen.text(room, x + 2, y, &text, Role::Text);
    }
    if !whole && lines > 0 {
        let rest = shares.iter().skip(most).map(|share| share.ns).sum::<u64>();
        let text = format!(
            "{:>7} {:>4}   {} more parts",
            ms_exact(ns_to_ms(rest)),
            percent(ns_to_ms(rest) / latency),
            shares.len() - most
        );
        pen.text(room, 0, cast(most), &text, Role::Dim);
    }
}

/// What is known of the selected node.
fn details(pen: &mut Pen<'_>, area: Rect, view: &TimelineView, row: &Row) {
    let timeline = &row.timeline;
    let Some(node) = shown(view).nth(view.cursor).and_then(|lane| timeline.node(lane.node)) else {
        pen.frame(area, "Node", "");
        return;
    };
    let path = node_path(timeline, node.id);
    let room = pen.frame(area, &path, &format!("{:?}", node.kind).to_lowercase());
    let split = node.split();
    let error = node.error.as_deref().map(|e| format!(" ({e})")).unwrap_or_default();
    let status = if node.status > 0 { format!(" {}", node.status) } else { String::new() };
    let at = |ns: u64| ms_exact(ns_to_ms(ns));
    let mut lines = vec![
        format!("{} to {} ms   {}{error}{status}", at(node.start_ns), at(node.end_ns), node.outcome.as_str()),
        format!("queue {}  park {}  run {}", at(split.queue_ns), at(split.park_ns), at(split.run_ns)),
    ];
    let attrs: Vec<String> = node.attrs.iter().map(|(key, value)| format!("{key}={value}")).collect();
    if !attrs.is_empty() {
        lines.push(attrs.join(" "));
    }
    if let Some(after) = node.after {
        lines.push(format!("ready after {}", node_path(timeline, after)));
    }
    for state in &node.states {
        let name = state.name.as_deref().map(|n| format!(" {n}")).unwrap_or_default();
        let woken = state.woken_by.map(|by| format!("  woken by {}", node_path(timeline, by))).unwrap_or_default();
        let worker = state.worker.map(|w| format!("  worker {w}")).unwrap_or_default();
        let folded = if state.folded { "  (sum of many)" } else { "" };
        let promoted = state.promoted.map(|p| format!("  span: {}", p.as_str())).unwrap_or_default();
        lines.push(format!(
            "{:>8} +{:<7} {}{name}{woken}{worker}{folded}{promoted}",
            at(state.from_ns),
            at(state.len_ns()),
            state.cause.as_str()
        ));
    }
    let height = usize::from(room.height);
    let hidden = lines.len().saturating_sub(height);
    for (n, line) in lines.iter().take(height).enumerate() {
        pen.text(room, 1, cast(n), line, if n < 2 { Role::Text } else { Role::Dim });
    }
    if hidden > 0 && height > 0 {
        let text = fit(&format!("… {} more", hidden + 1), usize::from(room.width.saturating_sub(1)));
        pen.text(room, 1, cast(height - 1), &text, Role::Dim);
    }
}

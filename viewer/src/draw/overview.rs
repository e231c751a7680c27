//! The overview: one line for each route, and the latency of the chosen one over time.

use ratatui::layout::Rect;
use zerver_telemetry::event::StateKind;

use crate::layout;
use crate::model::Model;
use crate::pen::{Pen, cast, fit};
use crate::routes::{HEAT_COLUMNS, HEAT_ROWS, Heat, Route};
use crate::theme::Role;
use crate::units::{count, ms, ns_to_ms, percent, short, time_of_day};

pub(super) fn draw(pen: &mut Pen<'_>, body: Rect, model: &Model) {
    let [table, heat] = layout::overview(body);
    routes(pen, table, model);
    if heat.height > 0 {
        picture(pen, heat, model);
    }
}

/// Columns of the split bar, and of the name.
fn columns(width: u16) -> (usize, u16) {
    if width >= 110 { (22, 24) } else { (12, 8) }
}

fn routes(pen: &mut Pen<'_>, area: Rect, model: &Model) {
    let title = format!("Routes {}", model.routes.len());
    let room = pen.frame(area, &title, &format!("sort {}  s next", model.overview.sort.as_str()));
    if model.routes.is_empty() {
        pen.text(room, 1, 0, "no request has finished yet; they appear here as they do", Role::Dim);
        return;
    }
    let (name, bar) = columns(room.width);
    let heading = format!(
        "{} {:>5} {:>5} {:>5} {:>5} {:>5} {:>5} {} largest part",
        fit("route", name),
        "count",
        "rq/s",
        "err%",
        "p50",
        "p95",
        "p99",
        fit(if bar > 9 { "slow time" } else { "slow" }, usize::from(bar))
    );
    pen.text(room, 1, 0, &heading, Role::Dim);
    let list = layout::list(area, 1);
    // The last line explains the glyphs when there is room for it.
    let legend = usize::from(list.height) > model.routes.len();
    let first = layout::first_shown(model.overview.cursor, model.routes.len(), list.height);
    for (place, route) in model.routes.iter().enumerate().skip(first).take(usize::from(list.height)) {
        let y = cast(place - first);
        line(pen, list, y, route);
        if place == model.overview.cursor {
            pen.glyph(list, 0, y, pen.glyphs.cursor, Role::Strong);
            pen.select(Rect { width: cast(name) + 1, ..list }, y);
        }
    }
    if legend {
        let g = pen.glyphs;
        let text = format!(
            "{} queue  {} park  {} run: critical time of the slowest twentieth; latencies in ms",
            g.queue, g.park, g.run
        );
        pen.text(list, 1, list.height.saturating_sub(1), &text, Role::Dim);
    }
}

fn line(pen: &mut Pen<'_>, list: Rect, y: u16, route: &Route) {
    let (name, bar) = columns(list.width);
    let x = pen.text(list, 1, y, &fit(&route.name, name), Role::Text);
    let numbers = format!(" {:>5} {:>5} ", short(route.count), short(route.rate));
    let x = pen.text(list, x, y, &numbers, Role::Text);
    let role = if route.errors >= 0.005 { Role::Alarm } else { Role::Text };
    let x = pen.text(list, x, y, &format!("{:>5.2}", route.errors * 100.0), role);
    let percentiles = format!(" {:>5} {:>5} {:>5} ", ms(route.p50_ms), ms(route.p95_ms), ms(route.p99_ms));
    let x = pen.text(list, x, y, &percentiles, Role::Text);
    let g = pen.glyphs;
    let parts = [
        (ns_to_ms(route.split.queue_ns), g.queue, Role::of(StateKind::Queue)),
        (ns_to_ms(route.split.park_ns), g.park, Role::of(StateKind::Park)),
        (ns_to_ms(route.split.run_ns), g.run, Role::of(StateKind::Run)),
    ];
    pen.bar(list, x, y, bar, &parts);
    if let Some((place, share)) = &route.top {
        let room = usize::from(list.width.saturating_sub(x + bar + 1));
        let share = percent(*share);
        let text = format!("{} {share:>4}", fit(place, room.saturating_sub(5)));
        pen.text(list, x + bar + 1, y, &text, Role::Text);
    }
}

fn picture(pen: &mut Pen<'_>, area: Rect, model: &Model) {
    let Some(route) = model.focused_route() else {
        pen.frame(area, "latency over time", "");
        return;
    };
    let kept = format!("{} timelines", count(route.kept as u64));
    let room = pen.frame(area, &format!("{}: latency over time", route.name), &kept);
    let Some(heat) = &model.heat else { return };
    cells(pen, room, heat);
}

fn cells(pen: &mut Pen<'_>, room: Rect, heat: &Heat) {
    const AXIS: u16 = 9;
    let (width, height) = (room.width.saturating_sub(AXIS + 1), room.height.saturating_sub(1));
    if width == 0 || height == 0 {
        return;
    }
    let used = |row: &usize| heat.cells[*row].iter().any(|n| *n > 0.0);
    let top = (0..HEAT_ROWS).rev().find(used).unwrap_or(0).max(usize::from(height).min(HEAT_ROWS) - 1);
    let columns = usize::from(width).min(HEAT_COLUMNS);
    let most = heat.cells.iter().flatten().copied().fold(1.0_f32, f32::max);
    for y in 0..height.min(cast(top + 1)) {
        let row = top - usize::from(y);
        let more = if row == HEAT_ROWS - 1 { "≥" } else { "" };
        pen.text(room, 0, y, &format!("{:>6}", format!("{more}{}", 1_u32 << row)), Role::Dim);
        pen.glyph(room, 7, y, pen.glyphs.brace[2], Role::Dim);
        for column in 0..columns {
            let (from, to) = (column * HEAT_COLUMNS / columns, (column + 1) * HEAT_COLUMNS / columns);
            let n: f32 = heat.cells[row][from..to].iter().sum();
            if n <= 0.0 {
                continue;
            }
            // By the logarithm: one slow request among thousands must be seen.
            let level = (n.ln_1p() / most.ln_1p() * 8.0).clamp(1.0, 8.0);
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 1 and 8")]
            let glyph = pen.glyphs.heights[level as usize];
            pen.glyph(room, AXIS - 1 + cast(column), y, glyph, Role::Park);
        }
    }
    let from = time_of_day(heat.from_unix_ns);
    let x = pen.text(room, 3, room.height - 1, &format!(" ms  {}", from.get(..8).unwrap_or_default()), Role::Dim);
    let to = time_of_day(heat.to_unix_ns);
    let right = AXIS - 1 + cast(columns);
    if x + 10 < right {
        pen.right(room, right, room.height - 1, to.get(..8).unwrap_or_default(), Role::Dim);
    }
}

//! The picture of a model: a pure function into a buffer, which takes no lock and reads no clock.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use crate::arrival::Link;
use crate::keys::{self, Screen};
use crate::layout;
use crate::model::{Model, Overlay};
use crate::pen::{Pen, cast};
use crate::theme::Role;
use crate::units::{count, ms, short, span};

mod overview;
mod requests;
mod waterfall;
pub(crate) mod compare;
mod overlays;

/// Draws the whole screen.
pub(crate) fn draw(model: &Model, buffer: &mut Buffer) {
    let mut pen = Pen::new(buffer, model.theme, model.glyphs());
    let screen = pen.area();
    let size = (screen.width, screen.height);
    if size.0 < layout::LEAST.0 || size.1 < layout::LEAST.1 {
        let (wide, high) = layout::LEAST;
        pen.text(screen, 0, 0, &format!("zerver: {wide}x{high} needed, q leaves"), Role::Text);
        return;
    }
    let strips = layout::strips(size);
    header(&mut pen, strips.header, model);
    tabs(&mut pen, strips.tabs, model);
    banner(&mut pen, strips.banner, model);
    match model.screen {
        Screen::Overview => overview::draw(&mut pen, strips.body, model),
        Screen::Requests => requests::draw(&mut pen, strips.body, model),
        Screen::Timeline => waterfall::draw(&mut pen, strips.body, model),
        Screen::Compare => compare::draw(&mut pen, strips.body, model),
    }
    footer(&mut pen, strips.footer, model);
    match &model.overlay {
        Some(Overlay::Help { scroll }) => overlays::help(&mut pen, screen, model, *scroll),
        Some(Overlay::Palette { line, cursor }) => overlays::palette(&mut pen, screen, model, line, *cursor),
        None => {}
    }
}

/// Who is watched, whether it answers, the numbers over all routes, and what was lost.
fn header(pen: &mut Pen<'_>, area: Rect, model: &Model) {
    let wide = area.width >= 110;
    let mut x = pen.text(area, 1, 0, "zerver", Role::Strong) + 2;
    let who = match (model.gateway.name.as_str(), wide) {
        ("", _) => model.source.clone(),
        (name, true) => format!("{name} {}", model.source),
        (name, false) => name.to_owned(),
    };
    let who = crate::pen::fit(&who, who.chars().count().min(if wide { 36 } else { 20 }));
    x = pen.text(area, x, 0, &who, Role::Text) + 2;
    let live = pen.glyphs.live;
    let (word, role) = match &model.link {
        _ if model.paused => (format!("PAUSED +{}", count(model.held.len() as u64)), Role::Alarm),
        Link::Live => (format!("{live} LIVE"), Role::Good),
        Link::Connecting => ("connecting".into(), Role::Alarm),
        Link::Retrying { .. } => ("no answer".into(), Role::Alarm),
        Link::Ended => ("capture".into(), Role::Good),
        Link::Failed(_) => ("failed".into(), Role::Alarm),
    };
    x = pen.text(area, x, 0, &word, role) + 2;
    let [p50, p95, p99] = model.overall;
    let mut numbers = String::new();
    if let Some(rate) = model.rate {
        numbers.push_str(&format!("{}/s  ", short(rate)));
    }
    if model.store.len() > 0 {
        let errors = model.errors * 100.0;
        numbers.push_str(&match wide {
            true => format!("err {errors:.2}%  p50 {}  p95 {}  p99 {} ms", ms(p50), ms(p95), ms(p99)),
            false => format!("p50 {}  p99 {} ms", ms(p50), ms(p99)),
        });
    }
    x = pen.text(area, x, 0, &numbers, Role::Text) + 2;
    // What the viewer holds, and every loss: the gateway's own, and ours.
    let lost = model.counters.lost_timelines.saturating_add(model.unreadable).saturating_add(model.held_lost);
    let kept = match wide {
        true => format!("kept {}/{}", count(model.store.len() as u64), count(model.store.capacity() as u64)),
        #[expect(clippy::cast_precision_loss, reason = "a count on screen")]
        false => format!("kept {}", short(model.store.len() as f64)),
    };
    let mut losses = format!("lost {}", short(lost as f64));
    if model.counters.lost_events > 0 {
        losses.push_str(&format!(" +{} events", short(model.counters.lost_events as f64)));
    }
    let role = if lost > 0 || model.counters.lost_events > 0 { Role::Alarm } else { Role::Dim };
    let right = area.width.saturating_sub(1);
    let losses_at = right.saturating_sub(cast(losses.chars().count()));
    if losses_at > x {
        pen.text(area, losses_at, 0, &losses, role);
    }
    let kept_at = losses_at.saturating_sub(cast(kept.chars().count()) + 2);
    if kept_at >= x {
        pen.text(area, kept_at, 0, &kept, Role::Dim);
    }
}

fn tabs(pen: &mut Pen<'_>, area: Rect, model: &Model) {
    for (number, (screen, from, _)) in layout::tabs(area.width).into_iter().enumerate() {
        let name = format!("{} {}", number + 1, screen.name());
        let (text, role) = if screen == model.screen {
            (format!("[{name}]"), Role::Strong)
        } else {
            (format!(" {name} "), Role::Text)
        };
        pen.text(area, from, 0, &text, role);
    }
    let under_way = match model.counters.in_flight {
        n if n > 0 && area.width >= 100 => format!("{} in flight   ", count(n)),
        _ => String::new(),
    };
    let text = format!("{under_way}/ filter  : all  ? help");
    pen.right(area, area.width.saturating_sub(1), 0, &text, Role::Dim);
}

/// The verdict; before there is one, what is being waited for.
fn banner(pen: &mut Pen<'_>, area: Rect, model: &Model) {
    let (text, role) = match (&model.compare.result, &model.link) {
        (_, Link::Retrying { attempt, error, next_unix_ns }) => {
            let wait = span(next_unix_ns.saturating_sub(model.now_unix_ns));
            (format!("{}: {error}; attempt {attempt}, next try in {wait}", model.source), Role::Alarm)
        }
        (_, Link::Failed(error)) => (error.clone(), Role::Alarm),
        (Some(result), _) => {
            let sign = pen.glyphs.alarm;
            let cause = result.kind == zerver_telemetry::explain::VerdictKind::Cause;
            let sign = if cause { format!("{sign} ") } else { String::new() };
            let role = if cause { Role::Strong } else { Role::Text };
            (format!("{sign}{}: {}", result.route, result.verdict), role)
        }
        (None, Link::Connecting) => (format!("trying {} …", model.source), Role::Text),
        (None, _) if model.store.len() == 0 => ("no request has finished yet".into(), Role::Dim),
        (None, _) if model.compare.pending => ("comparing slow with fast …".into(), Role::Dim),
        (None, _) => ("c compares slow requests with fast ones".into(), Role::Dim),
    };
    let lines = crate::pen::wrap(&text, usize::from(area.width.saturating_sub(2)));
    let shown = usize::from(area.height);
    for (y, line) in lines.iter().take(shown).enumerate() {
        // What does not fit is cut with an ellipsis; the comparison's screen and report have all of it.
        let rest = if y + 1 == shown { lines[y..].join(" ") } else { line.clone() };
        pen.text(Rect { width: area.width - 1, ..area }, 1, cast(y), &rest, role);
    }
}

/// The answer to the last key, or the keys that work here.
fn footer(pen: &mut Pen<'_>, area: Rect, model: &Model) {
    if let Some(status) = &model.status {
        pen.text(area, 1, 0, status, Role::Strong);
        return;
    }
    let mut x = 1;
    if model.requests.input.is_some() {
        for (key, help) in keys::EDITING {
            x = hint(pen, area, x, key, help);
        }
        return;
    }
    let end = hint_width("? help") + hint_width("q quit");
    for binding in keys::on(model.screen).filter(|b| !b.foot.is_empty() && !matches!(b.foot, "? help" | "q quit")) {
        if x + hint_width(binding.foot) + end <= area.width {
            let (key, word) = binding.foot.split_once(' ').unwrap_or((binding.foot, ""));
            x = hint(pen, area, x, key, word);
        }
    }
    x = hint(pen, area, x, "?", "help");
    hint(pen, area, x, "q", "quit");
}

fn hint(pen: &mut Pen<'_>, area: Rect, x: u16, key: &str, word: &str) -> u16 {
    let x = pen.text(area, x, 0, key, Role::Key);
    pen.text(area, x + 1, 0, word, Role::Dim) + 2
}

fn hint_width(foot: &str) -> u16 {
    cast(foot.chars().count()) + 2
}

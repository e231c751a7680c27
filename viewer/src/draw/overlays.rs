//! What lies over a screen: the help with every key, and the palette of all commands.

use ratatui::layout::Rect;

use crate::keys::{self, Scope};
use crate::line::Line;
use crate::model::Model;
use crate::pen::{Pen, cast, fit};
use crate::theme::Role;
use crate::update::palette::entries;

/// A box in the middle of the screen.
fn middle(screen: Rect, width: u16, height: u16) -> Rect {
    let (width, height) = (width.min(screen.width), height.min(screen.height));
    Rect { x: screen.x + (screen.width - width) / 2, y: screen.y + (screen.height - height) / 2, width, height }
}

pub(super) fn help(pen: &mut Pen<'_>, screen: Rect, model: &Model, scroll: usize) {
    let mut lines: Vec<(String, String)> = Vec::new();
    let mut scope = None;
    for binding in keys::on(model.screen) {
        if scope != Some(binding.scope) {
            if scope.is_some() {
                lines.push((String::new(), String::new()));
            }
            let title = if binding.scope == Scope::Everywhere { "Everywhere" } else { model.screen.name() };
            lines.push((title.to_owned(), String::new()));
            scope = Some(binding.scope);
        }
        lines.push((binding.label.to_owned(), binding.help.to_owned()));
    }
    let g = pen.glyphs;
    lines.push((String::new(), String::new()));
    lines.push(("Signs".into(), String::new()));
    lines.push((g.queue.to_string(), "queue: ready, but no worker or permit".into()));
    lines.push((g.park.to_string(), "park: waits for I/O, a join, a limit, a timer".into()));
    lines.push((g.run.to_string(), "run: on a processor".into()));
    lines.push((g.path.to_string(), "on the critical path: shorter here is shorter for the client".into()));
    lines.push((
        crate::report::evidence(zerver_telemetry::explain::Evidence::Medium, g.evidence),
        "strength of the evidence, J ≥ its lower bound".into(),
    ));
    let area = middle(screen, 76, cast(lines.len()) + 2);
    pen.clear(area);
    let room = pen.frame(area, &format!("Help: {}", model.screen.name()), "jk scroll  any other key closes");
    let first = scroll.min(lines.len().saturating_sub(usize::from(room.height)));
    for (y, (key, text)) in lines.iter().skip(first).take(usize::from(room.height)).enumerate() {
        if text.is_empty() {
            pen.text(room, 1, cast(y), key, Role::Title);
        } else {
            pen.text(room, 3, cast(y), &fit(key, 12), Role::Key);
            pen.text(room, 16, cast(y), text, Role::Text);
        }
    }
}

pub(super) fn palette(pen: &mut Pen<'_>, screen: Rect, model: &Model, line: &Line, cursor: usize) {
    let entries = entries(model, line.text());
    let area = middle(screen, 72, 14);
    pen.clear(area);
    let room = pen.frame(area, "Commands", "route NAME  compare NAME  filter EXPRESSION");
    if room.height < 2 {
        return;
    }
    pen.text(room, 1, 0, ":", Role::Key);
    pen.text(room, 2, 0, line.text(), Role::Text);
    let at = cast(line.before().chars().count()) + 2;
    pen.select(Rect { x: room.x.saturating_add(at), width: 1, ..room }.intersection(room), 0);
    let list = Rect { y: room.y + 1, height: room.height - 1, ..room };
    let first = crate::layout::first_shown(cursor, entries.len(), list.height);
    for (n, entry) in entries.iter().enumerate().skip(first).take(usize::from(list.height)) {
        let y = cast(n - first);
        let wide = usize::from(list.width).saturating_sub(14);
        pen.text(list, 1, y, &fit(&entry.text, wide), Role::Text);
        pen.text(list, 2 + cast(wide), y, entry.key, Role::Key);
        if n == cursor {
            pen.select(list, y);
        }
    }
    if entries.is_empty() {
        pen.text(list, 1, 0, "no command fits", Role::Dim);
    }
}

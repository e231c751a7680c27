//! How messages change the model; what must happen outside of it is answered as effects.

use crate::keys::{Action, Key, Meaning, Screen, meaning};
use crate::layout;
use crate::model::{Choice, Effect, Model, Msg, Overlay, Side};
use crate::row::{Row, node_path};
use crate::units::short_id;

mod arrivals;
pub(crate) mod requests;
pub(crate) mod timeline;
mod compare;
pub(crate) mod palette;
mod mouse;

/// Takes one message. Pure but for the model: no clock, no terminal, no thread.
pub(crate) fn update(model: &mut Model, msg: Msg) -> Vec<Effect> {
    match msg {
        Msg::Key(key) => {
            model.dirty = true;
            model.status = None;
            on_key(model, key)
        }
        Msg::Paste(text) => {
            model.dirty = true;
            if let Some(Overlay::Palette { line, cursor }) = &mut model.overlay {
                line.insert(&text);
                *cursor = 0;
            } else if model.requests.input.is_some() {
                requests::paste(model, &text);
            }
            Vec::new()
        }
        Msg::Click { x, y } => {
            model.dirty = true;
            mouse::click(model, x, y)
        }
        Msg::Scroll { down } => {
            model.dirty = true;
            mouse::scroll(model, down)
        }
        Msg::Resize(width, height) => {
            model.dirty = true;
            model.size = (width, height);
            Vec::new()
        }
        Msg::Arrival(arrival) => {
            arrivals::arrive(model, arrival);
            Vec::new()
        }
        Msg::Link(link) => {
            model.dirty |= model.link != link;
            model.link = link;
            Vec::new()
        }
        Msg::Compared { generation, comparison } => compare::answer(model, generation, comparison),
        Msg::Refresh { now_unix_ns } => {
            model.now_unix_ns = now_unix_ns;
            // The countdown to the next try is the only thing that changes by itself.
            model.dirty |= model.stale || matches!(model.link, crate::ingest::Link::Retrying { .. });
            if model.stale {
                arrivals::add_up(model);
            }
            compare::keep_fresh(model)
        }
    }
}

fn on_key(model: &mut Model, key: Key) -> Vec<Effect> {
    if key == Key::Ctrl('c') {
        return vec![Effect::Quit];
    }
    match &mut model.overlay {
        Some(Overlay::Palette { .. }) => return palette::on_key(model, key),
        Some(Overlay::Help { scroll }) => {
            match key {
                Key::Char('j') | Key::Down => *scroll += 1,
                Key::Char('k') | Key::Up => *scroll = scroll.saturating_sub(1),
                _ => model.overlay = None,
            }
            return Vec::new();
        }
        None => {}
    }
    if model.requests.input.is_some() {
        requests::edit(model, key);
        return Vec::new();
    }
    match meaning(model.screen, key) {
        Meaning::Does(action) => act(model, action),
        Meaning::Elsewhere(scope, help) => {
            model.status = Some(format!("{} works on the {} screen: {help}", name(key), scope.name()));
            Vec::new()
        }
        Meaning::Nothing => {
            model.status = Some(format!("{} does nothing; ? shows the keys", name(key)));
            Vec::new()
        }
    }
}

fn name(key: Key) -> String {
    match key {
        Key::Char(c) => format!("`{c}`"),
        Key::Ctrl(c) => format!("Ctrl-{c}"),
        other => format!("{other:?}"),
    }
}

/// Does what a key, a palette entry or a click asks for.
fn act(model: &mut Model, action: Action) -> Vec<Effect> {
    match action {
        Action::Go(screen) => go(model, screen),
        Action::NextScreen => go(model, Screen::ALL[(model.screen as usize + 1) % 4]),
        Action::PreviousScreen => go(model, Screen::ALL[(model.screen as usize + 3) % 4]),
        Action::Down => step(model, 1),
        Action::Up => step(model, -1),
        Action::Top => step(model, isize::MIN),
        Action::Bottom => step(model, isize::MAX),
        Action::PageDown => step(model, page(model)),
        Action::PageUp => step(model, -page(model)),
        Action::Open => open(model),
        Action::Back => {
            let to = model.back.pop().unwrap_or(Screen::Overview);
            if model.screen == to {
                model.status = Some("this is the first screen; q leaves".into());
            }
            model.screen = to;
            Vec::new()
        }
        Action::Filter => {
            requests::begin(model);
            if model.screen == Screen::Requests { Vec::new() } else { go(model, Screen::Requests) }
        }
        Action::Palette => {
            model.overlay = Some(Overlay::Palette { line: crate::line::Line::default(), cursor: 0 });
            Vec::new()
        }
        Action::Help => {
            model.overlay = Some(Overlay::Help { scroll: 0 });
            Vec::new()
        }
        Action::Pause => {
            arrivals::pause(model);
            Vec::new()
        }
        Action::Theme => {
            model.theme = model.theme.next();
            model.status = Some(format!("theme {}", model.theme.as_str()));
            Vec::new()
        }
        Action::Mouse => {
            model.mouse = !model.mouse;
            let whose = if model.mouse { "the viewer" } else { "the terminal, to select text" };
            model.status = Some(format!("the mouse belongs to {whose}"));
            vec![Effect::Mouse(model.mouse)]
        }
        Action::Redraw => vec![Effect::Redraw],
        Action::Copy => copy(model),
        Action::Compare => why(model),
        Action::MarkFast => mark(model, Side::Fast),
        Action::MarkSlow => mark(model, Side::Slow),
        Action::ClearMarks => {
            model.status = Some(format!("{} marks forgotten", model.marks.len()));
            model.marks.clear();
            Vec::new()
        }
        Action::Quit => vec![Effect::Quit],
        Action::Sort if model.screen == Screen::Overview => {
            model.overview.sort = model.overview.sort.next();
            arrivals::add_up(model);
            Vec::new()
        }
        Action::Sort | Action::Follow | Action::Pin | Action::NextSlow | Action::PreviousSlow | Action::OnlyRoute => {
            requests::act(model, action)
        }
        Action::ZoomIn
        | Action::ZoomOut
        | Action::PanLeft
        | Action::PanRight
        | Action::Fit
        | Action::PathOnly
        | Action::NextPiece
        | Action::PreviousPiece
        | Action::NextRequest
        | Action::PreviousRequest
        | Action::Twin => timeline::act(model, action),
        Action::EdgeLeft
        | Action::EdgeRight
        | Action::EdgeFarLeft
        | Action::EdgeFarRight
        | Action::OtherEdge
        | Action::Preset
        | Action::Swap
        | Action::Order
        | Action::Reset
        | Action::NextRoute
        | Action::PreviousRoute => compare::act(model, action),
    }
}

/// More steps back than this are forgotten.
const BACK_MAX: usize = 32;

fn go(model: &mut Model, screen: Screen) -> Vec<Effect> {
    if model.screen == screen {
        return Vec::new();
    }
    if screen == Screen::Timeline {
        match model.requests.selected.and_then(|id| model.store.get(id)).cloned() {
            // A timeline that was opened from elsewhere stays until another one is selected.
            _ if model.timeline.row.is_some() && model.screen != Screen::Requests => {}
            Some(row) => timeline::show(model, row),
            None if model.timeline.row.is_some() => {}
            None => {
                model.status = Some("no request to show yet; the list (2) is empty".into());
                return Vec::new();
            }
        }
    }
    if model.back.len() == BACK_MAX {
        model.back.remove(0);
    }
    model.back.push(model.screen);
    model.screen = screen;
    if screen == Screen::Compare && model.compare.result.is_none() { compare::ask(model) } else { Vec::new() }
}

/// A cursor moved by some rows within a list; the extremes go to its ends.
fn moved(cursor: usize, by: isize, len: usize) -> usize {
    match by {
        isize::MIN => 0,
        isize::MAX => len.saturating_sub(1),
        by => cursor.saturating_add_signed(by).min(len.saturating_sub(1)),
    }
}

fn page(model: &Model) -> isize {
    isize::try_from(layout::strips(model.size).body.height / 2).unwrap_or(1).max(1)
}

fn step(model: &mut Model, by: isize) -> Vec<Effect> {
    match model.screen {
        Screen::Overview => {
            let place = moved(model.overview.cursor, by, model.routes.len());
            model.overview.cursor = place;
            model.overview.selected = model.routes.get(place).map(|route| route.name.clone());
            arrivals::picture(model);
            compare::follow_overview(model)
        }
        Screen::Requests => {
            requests::step(model, by);
            Vec::new()
        }
        Screen::Timeline => {
            let len = timeline::shown(&model.timeline).count();
            model.timeline.cursor = moved(model.timeline.cursor, by, len);
            Vec::new()
        }
        Screen::Compare => {
            let findings = model.compare.result.as_ref().map_or(0, |c| c.findings.len());
            model.compare.finding = moved(model.compare.finding, by, findings);
            Vec::new()
        }
    }
}

fn open(model: &mut Model) -> Vec<Effect> {
    match model.screen {
        Screen::Overview => {
            let Some(route) = model.focused_route().map(|r| r.name.clone()) else {
                model.status = Some("no route yet; nothing has arrived".into());
                return Vec::new();
            };
            requests::set_filter(model, &format!("route:{}", quoted(&route)));
            go(model, Screen::Requests)
        }
        Screen::Requests => go(model, Screen::Timeline),
        Screen::Timeline => {
            model.status = Some("this is the deepest screen; Esc goes back".into());
            Vec::new()
        }
        Screen::Compare => compare::open_example(model),
    }
}

/// A value as the filter language takes it.
fn quoted(value: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "._-/".contains(c);
    let clean: String = value.chars().map(|c| if c == '"' || c.is_control() { '*' } else { c }).collect();
    if !clean.is_empty() && clean.chars().all(plain) { clean } else { format!("\"{clean}\"") }
}

fn copy(model: &mut Model) -> Vec<Effect> {
    let (what, text) = match model.screen {
        Screen::Requests | Screen::Timeline => match model.selected_row() {
            Some(row) => ("the trace id", row.timeline.trace_id.to_string()),
            None => {
                model.status = Some("nothing to copy: no request is selected".into());
                return Vec::new();
            }
        },
        Screen::Overview | Screen::Compare => match &model.compare.result {
            Some(result) => ("the comparison", crate::report::text(result, crate::report::DEFAULT_WIDTH)),
            None => {
                model.status = Some("nothing to copy: no comparison is done yet".into());
                return Vec::new();
            }
        },
    };
    model.status = Some(format!("{what} went to the terminal's clipboard"));
    vec![Effect::Copy(text)]
}

/// `c`: marks on both sides are compared; otherwise the route in view.
fn why(model: &mut Model) -> Vec<Effect> {
    let sides = |side| model.marks.values().filter(|s| **s == side).count();
    let marked = model.screen != Screen::Overview && sides(Side::Fast) > 0 && sides(Side::Slow) > 0;
    let route = match model.screen {
        Screen::Overview => model.focused_route().map(|r| r.name.clone()),
        Screen::Requests | Screen::Timeline => model.selected_row().map(|row| row.timeline.route.clone()),
        Screen::Compare => model.compare.route.clone(),
    };
    let choice = if marked { Choice::Marked } else { Choice::SlowVersusFast };
    let mut effects = compare::choose(model, route, choice);
    effects.extend(go(model, Screen::Compare));
    effects
}

fn mark(model: &mut Model, side: Side) -> Vec<Effect> {
    let Some(row) = model.selected_row().cloned() else {
        model.status = Some("nothing to mark: no request is selected".into());
        return Vec::new();
    };
    let trace = row.timeline.trace_id;
    if model.marks.get(&trace) == Some(&side) {
        model.marks.remove(&trace);
    } else if model.marks.len() < crate::model::MARKS_MAX {
        model.marks.insert(trace, side);
    }
    let count = |side| model.marks.values().filter(|s| **s == side).count();
    model.status = Some(format!(
        "{}: {} fast (A), {} slow (B) marked; c compares",
        short_id(&trace.to_string()),
        count(Side::Fast),
        count(Side::Slow)
    ));
    Vec::new()
}

/// The path of a lane's node, for messages.
fn lane_name(row: &Row, node: zerver_telemetry::event::NodeId) -> String {
    node_path(&row.timeline, node)
}

#[cfg(test)]
mod tests;

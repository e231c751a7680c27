//! What each action does, whether a key, the palette or a click asks for it.

use super::screens::{go, open, step, why};
use super::{arrivals, compare, requests, timeline};
use crate::keys::{Action, Screen};
use crate::layout;
use crate::model::{Effect, Model, Overlay, Side};
use crate::units::short_id;

/// Does what a key, a palette entry or a click asks for.
pub(super) fn act(model: &mut Model, action: Action) -> Vec<Effect> {
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

fn page(model: &Model) -> isize {
    isize::try_from(layout::strips(model.size).body.height / 2).unwrap_or(1).max(1)
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

//! Moving about: from screen to screen, and along the lists that they show.

use std::sync::Arc;

use zerver_telemetry::id::TraceId;

use super::{arrivals, compare, requests, timeline};
use crate::filter::quoted;
use crate::keys::Screen;
use crate::layout::moved;
use crate::model::{Choice, Effect, Model, Side};

/// More steps back than this are forgotten.
const BACK_MAX: usize = 32;

pub(super) fn go(model: &mut Model, screen: Screen) -> Vec<Effect> {
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

pub(super) fn step(model: &mut Model, by: isize) -> Vec<Effect> {
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

pub(super) fn open(model: &mut Model) -> Vec<Effect> {
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
        Screen::Compare => open_example(model),
    }
}

/// `c`: marks on both sides are compared; otherwise the route in view.
pub(super) fn why(model: &mut Model) -> Vec<Effect> {
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

/// Opens the finding's slow example; its fast twin is one key away.
fn open_example(model: &mut Model) -> Vec<Effect> {
    let finding = model.compare.result.as_ref().and_then(|result| result.findings.get(model.compare.finding));
    let Some(finding) = finding else {
        model.status = Some("no finding to open".into());
        return Vec::new();
    };
    let find = |trace: &Option<String>| {
        let trace: TraceId = trace.as_ref()?.parse().ok()?;
        model.store.iter().map(|(_, row)| row).find(|row| row.timeline.trace_id == trace).cloned()
    };
    let (slow, fast) = (find(&finding.example_slow), find(&finding.example_fast));
    let Some(slow) = slow else {
        model.status = Some("this finding's example is no longer in memory".into());
        return Vec::new();
    };
    let place = finding.place.clone();
    timeline::show(model, Arc::clone(&slow));
    let lane = timeline::shown(&model.timeline).position(|lane| slow.timeline.path(lane.node) == place);
    model.timeline.cursor = lane.unwrap_or(0);
    model.status = Some(match fast {
        Some(_) => "the slow one of the pair; w shows its fast twin".into(),
        None => "a slow example; its fast twin is no longer in memory".to_owned(),
    });
    model.timeline.twin = fast;
    go(model, Screen::Timeline)
}

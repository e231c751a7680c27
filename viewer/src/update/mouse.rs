//! The mouse: a click selects what is under it, a second click opens it, the wheel scrolls.

use ratatui::layout::{Position, Rect};

use crate::keys::Screen;
use crate::layout;
use crate::model::{Effect, Model};
use crate::update::timeline::shown;

pub(super) fn click(model: &mut Model, x: u16, y: u16) -> Vec<Effect> {
    model.status = None;
    if model.overlay.take().is_some() {
        return Vec::new();
    }
    let strips = layout::strips(model.size);
    if strips.tabs.contains(Position { x, y }) {
        let tab = layout::tabs(model.size.0).into_iter().find(|(_, from, to)| (*from..*to).contains(&x));
        return tab.map(|(screen, ..)| super::screens::go(model, screen)).unwrap_or_default();
    }
    if strips.banner.contains(Position { x, y }) {
        return super::screens::why(model);
    }
    match model.screen {
        Screen::Overview => {
            let area = layout::list(layout::overview(strips.body)[0], 1);
            match place(area, x, y, model.overview.cursor, model.routes.len()) {
                Some(place) if place == model.overview.cursor && model.overview.selected.is_some() => {
                    super::screens::open(model)
                }
                Some(place) => {
                    let by = place.cast_signed() - model.overview.cursor.cast_signed();
                    super::screens::step(model, by)
                }
                None => Vec::new(),
            }
        }
        Screen::Requests => {
            let [filter, list, _] = layout::requests(strips.body);
            if filter.contains(Position { x, y }) {
                super::requests::begin(model);
                return Vec::new();
            }
            let area = layout::list(list, 1);
            match place(area, x, y, model.requests.cursor, model.requests.view.len()) {
                Some(place) if place == model.requests.cursor && !model.requests.follow => super::screens::open(model),
                Some(place) => {
                    super::requests::select(model, place);
                    Vec::new()
                }
                None => Vec::new(),
            }
        }
        Screen::Timeline => {
            let area = layout::list(layout::timeline(strips.body)[1], 1);
            let len = shown(&model.timeline).count();
            if let Some(place) = place(area, x, y, model.timeline.cursor, len) {
                model.timeline.cursor = place;
            }
            Vec::new()
        }
        Screen::Compare => {
            let parts = model.compare.result.as_ref().map_or(0, |c| c.parts.len());
            let [cohorts, ..] = layout::compare(strips.body, parts);
            let area = layout::inside(cohorts);
            let Some(route) = model.compare.route.as_ref().and_then(|name| model.route(name)) else {
                return Vec::new();
            };
            if !area.contains(Position { x, y }) {
                return Vec::new();
            }
            let scale = crate::draw::compare::Scale::new(&route.histogram, model.compare.edges, area.width);
            let to = scale.bucket(x - area.x);
            // The nearest edge comes to the click.
            let edges = model.compare.edges;
            model.compare.edge = (0..4).min_by_key(|n| edges[*n].abs_diff(to)).unwrap_or(0);
            super::compare::set_edge(model, to)
        }
    }
}

/// The row of a list under the mouse.
fn place(area: Rect, x: u16, y: u16, cursor: usize, len: usize) -> Option<usize> {
    if !area.contains(Position { x, y }) {
        return None;
    }
    let place = layout::first_shown(cursor, len, area.height) + usize::from(y - area.y);
    (place < len).then_some(place)
}

pub(super) fn scroll(model: &mut Model, down: bool) -> Vec<Effect> {
    if let Some(crate::model::Overlay::Help { scroll }) = &mut model.overlay {
        *scroll = if down { *scroll + 1 } else { scroll.saturating_sub(1) };
        return Vec::new();
    }
    let rows = if model.screen == Screen::Compare { 1 } else { 3 };
    super::screens::step(model, if down { rows } else { -rows })
}

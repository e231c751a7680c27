//! The list of requests: its filter, its order, its cursor.

use std::collections::HashSet;

use crate::filter::Filter;
use crate::keys::{Action, Key};
use crate::line::Line;
use crate::model::{Effect, Model, RequestSort};
use crate::units::ns_to_ms;

/// Filters remembered.
const HISTORY_MAX: usize = 100;

/// The keys that complete while a filter is typed.
pub(crate) const FILTER_KEYS: [&str; 18] = [
    "route:", "status:", "lat:>", "outcome:", "error:", "trace:", "has:", "slow:p99", "since:", "flow:", "config:",
    "kept:", "queue@", "park@", "run@", "io@", "permit@", "path@",
];

/// Makes the list anew: what matches, in order, with the cursor on the same request as before.
pub(super) fn list(model: &mut Model) {
    let (requests, around) = (&mut model.requests, &model.around);
    let all = requests.filter.is_empty();
    // What was tested before is not tested again: a filter over all requests may take tens of milliseconds.
    let tested =
        requests.tested.take().filter(|(text, _)| *text == requests.filter.text && !requests.filter.looks_around());
    let known = tested.map_or(0, |(_, next)| next);
    let before: HashSet<u64> = if known > 0 && !all { requests.view.iter().copied().collect() } else { HashSet::new() };
    let matching = model.store.iter().rev().filter(|(id, row)| {
        all || if *id < known { before.contains(id) } else { requests.filter.matches(row, around) }
    });
    let mut view: Vec<(u64, u64)> = Vec::with_capacity(if all { model.store.len() } else { 0 });
    for (id, row) in matching {
        let key = match requests.sort {
            RequestSort::Time => id,
            RequestSort::Latency => row.timeline.latency_ns,
            RequestSort::Queue => row.split.queue_ns,
        };
        view.push((key, id));
    }
    if requests.sort != RequestSort::Time {
        view.sort_unstable_by_key(|entry| std::cmp::Reverse(*entry));
    }
    requests.view = view.into_iter().map(|(_, id)| id).collect();
    requests.tested = Some((requests.filter.text.clone(), model.store.next()));
    let same = requests.selected.filter(|_| !requests.follow);
    let place = same.and_then(|id| requests.view.iter().position(|other| *other == id));
    let cursor = if requests.follow { 0 } else { place.unwrap_or(requests.cursor) };
    put_cursor(model, cursor);
}

fn put_cursor(model: &mut Model, place: usize) {
    let requests = &mut model.requests;
    requests.cursor = place.min(requests.view.len().saturating_sub(1));
    requests.selected = requests.view.get(requests.cursor).copied();
}

/// Moves the cursor; moving away from the newest stops following.
pub(super) fn step(model: &mut Model, by: isize) {
    let place = crate::layout::moved(model.requests.cursor, by, model.requests.view.len());
    model.requests.follow = model.requests.follow && place == 0;
    put_cursor(model, place);
}

/// Puts the cursor on a row of the list.
pub(super) fn select(model: &mut Model, place: usize) {
    model.requests.follow = false;
    put_cursor(model, place);
}

pub(super) fn begin(model: &mut Model) {
    model.requests.input = Some(Line::new(&model.requests.filter.text));
    model.requests.error = None;
    model.requests.recalled = 0;
}

pub(super) fn paste(model: &mut Model, text: &str) {
    if let Some(line) = &mut model.requests.input {
        line.insert(text);
        apply(model);
    }
}

pub(super) fn edit(model: &mut Model, key: Key) {
    let Some(line) = &mut model.requests.input else { return };
    match key {
        Key::Enter => match Filter::parse(line.text()) {
            Ok(filter) => {
                model.requests.input = None;
                remember(model, &filter.text);
            }
            Err(error) => model.status = Some(format!("{error}; Esc keeps the last good filter")),
        },
        Key::Esc => {
            model.requests.input = None;
            model.requests.error = None;
        }
        Key::Up | Key::Down => {
            let history = &model.requests.history;
            let back =
                if key == Key::Up { model.requests.recalled + 1 } else { model.requests.recalled.saturating_sub(1) };
            if back <= history.len() {
                let text = back.checked_sub(1).map_or("", |n| &history[history.len() - 1 - n]);
                *line = Line::new(text);
                model.requests.recalled = back;
                apply(model);
            }
        }
        Key::Tab => complete(model),
        key => {
            if line.key(key) {
                apply(model);
            }
        }
    }
}

/// Completes the word before the cursor when exactly one key or route begins with it.
fn complete(model: &mut Model) {
    let Some(line) = &mut model.requests.input else { return };
    let word_from = line.before().rfind([' ', '(', '-']).map_or(0, |at| at + 1);
    let word = line.before()[word_from..].to_owned();
    let routes = model.routes.iter().map(|route| format!("route:{}", crate::filter::quoted(&route.name)));
    let keys = FILTER_KEYS.iter().map(|key| (*key).to_owned());
    let fits: Vec<String> = keys.chain(routes).filter(|c| c.starts_with(&word) && *c != word).collect();
    match fits.as_slice() {
        [] => model.status = Some(format!("nothing begins with `{word}`")),
        [only] => {
            line.cut(word_from);
            line.insert(only);
            apply(model);
        }
        many => model.status = Some(many.join("  ")),
    }
}

/// Takes the line as the filter when it is understood; otherwise keeps the last one that was.
fn apply(model: &mut Model) {
    let Some(line) = &model.requests.input else { return };
    match Filter::parse(line.text()) {
        Ok(filter) => {
            model.requests.error = None;
            model.requests.filter = filter;
            list(model);
        }
        Err(error) => model.requests.error = Some(error),
    }
}

/// Sets the filter from elsewhere: a route that was opened, the palette, the command line.
pub(crate) fn set_filter(model: &mut Model, text: &str) {
    match Filter::parse(text) {
        Ok(filter) => {
            model.requests.filter = filter;
            model.requests.error = None;
            remember(model, text);
            list(model);
        }
        Err(error) => model.status = Some(format!("filter: {error}")),
    }
}

fn remember(model: &mut Model, text: &str) {
    let history = &mut model.requests.history;
    if text.trim().is_empty() || history.last().is_some_and(|last| last == text) {
        return;
    }
    if history.len() == HISTORY_MAX {
        history.remove(0);
    }
    history.push(text.to_owned());
}

pub(super) fn act(model: &mut Model, action: Action) -> Vec<Effect> {
    match action {
        Action::Sort => {
            model.requests.sort = model.requests.sort.next();
            model.requests.follow = false;
            list(model);
            select(model, 0);
        }
        Action::Follow => {
            model.requests.follow = !model.requests.follow;
            if model.requests.follow {
                model.requests.sort = RequestSort::Time;
                list(model);
            }
        }
        Action::Pin => match model.requests.selected.map(|id| model.store.toggle_pin(id)) {
            Some(Some(true)) => model.status = Some("pinned: it stays when the memory is full".into()),
            Some(Some(false)) => model.status = Some("no longer pinned".into()),
            Some(None) => model.status = Some(format!("no more than {} pins", crate::store::PINS_MAX)),
            None => model.status = Some("nothing to pin: no request is selected".into()),
        },
        Action::NextSlow => seek(model, true),
        Action::PreviousSlow => seek(model, false),
        Action::OnlyRoute => match model.selected_row().map(|row| row.timeline.route.clone()) {
            Some(route) => set_filter(model, &format!("route:{}", crate::filter::quoted(&route))),
            None => model.status = Some("no request is selected".into()),
        },
        _ => {}
    }
    Vec::new()
}

/// Goes to the next request that failed or is at least as slow as its route's 95th percentile.
fn seek(model: &mut Model, forward: bool) {
    let telling = |place: &usize| {
        let Some(row) = model.requests.view.get(*place).and_then(|id| model.store.get(*id)) else { return false };
        let slow = model.around.percentiles.get(&row.timeline.route).map_or(f64::INFINITY, |p| p[1]);
        row.failed() || ns_to_ms(row.timeline.latency_ns) >= slow
    };
    let cursor = model.requests.cursor;
    let found =
        if forward { (cursor + 1..model.requests.view.len()).find(telling) } else { (0..cursor).rev().find(telling) };
    match found {
        Some(place) => select(model, place),
        None => model.status = Some("no further failed or slow request that way".into()),
    }
}

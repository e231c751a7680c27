//! How messages change the model; what must happen outside of it is answered as effects.

use crate::keys::{Key, Meaning, meaning};
use crate::model::{Effect, Model, Msg, Overlay};

mod arrivals;
pub(crate) mod requests;
pub(crate) mod timeline;
mod compare;
mod screens;
mod actions;
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
            model.dirty |= model.stale || matches!(model.link, crate::arrival::Link::Retrying { .. });
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
        Meaning::Does(action) => actions::act(model, action),
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

#[cfg(test)]
mod tests;

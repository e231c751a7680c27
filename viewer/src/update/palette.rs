//! The command palette: every action by its name, and the few commands that take a word.

use std::sync::Arc;

use crate::keys::{Action, BINDINGS, Key};
use crate::model::{Choice, Effect, Model, Overlay};
use crate::theme::Theme;

/// What a palette entry does.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Run {
    Action(Action),
    /// Shows the requests of a route.
    Route(Arc<str>),
    /// Compares within a route.
    Compare(Arc<str>),
    Theme(Theme),
    Filter(String),
}

/// One line of the palette.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    pub(crate) text: String,
    /// The key that does the same.
    pub(crate) key: &'static str,
    pub(crate) run: Run,
}

/// The entries that fit what was typed: its letters, in order. A `filter …` line is an entry of its own.
pub(crate) fn entries(model: &Model, typed: &str) -> Vec<Entry> {
    let typed = typed.trim_start();
    if let Some(filter) = typed.strip_prefix("filter ") {
        let text = format!("filter {filter}");
        return vec![Entry { text, key: "/", run: Run::Filter(filter.trim().to_owned()) }];
    }
    let mut all: Vec<Entry> = Vec::new();
    for binding in BINDINGS {
        if !all.iter().any(|entry| entry.run == Run::Action(binding.action)) {
            let run = Run::Action(binding.action);
            all.push(Entry { text: binding.help.to_owned(), key: binding.label, run });
        }
    }
    for route in &model.routes {
        let name = &route.name;
        all.push(Entry { text: format!("route {name}"), key: "", run: Run::Route(name.clone()) });
        all.push(Entry { text: format!("compare {name}"), key: "", run: Run::Compare(name.clone()) });
    }
    for theme in Theme::ALL {
        all.push(Entry { text: format!("theme {}", theme.as_str()), key: "T", run: Run::Theme(theme) });
    }
    let mut ranked: Vec<(usize, Entry)> =
        all.into_iter().filter_map(|entry| Some((rank(&entry.text, typed)?, entry))).collect();
    ranked.sort_by_key(|(rank, _)| *rank);
    ranked.into_iter().map(|(_, entry)| entry).collect()
}

/// How well the letters fit: the stretch of text they cover, and where it begins; none when they do not.
fn rank(text: &str, letters: &str) -> Option<usize> {
    let text = text.to_lowercase();
    if let Some(at) = text.find(&letters.to_lowercase()) {
        return Some(at.min(100));
    }
    let mut left = text.char_indices();
    let (mut first, mut last) = (None, 0);
    for letter in letters.to_lowercase().chars() {
        let (at, _) = left.find(|(_, c)| *c == letter)?;
        first = first.or(Some(at));
        last = at;
    }
    Some(200 + last - first.unwrap_or(0))
}

pub(super) fn on_key(model: &mut Model, key: Key) -> Vec<Effect> {
    let Some(Overlay::Palette { line, cursor }) = &mut model.overlay else { return Vec::new() };
    match key {
        Key::Esc => model.overlay = None,
        Key::Up => *cursor = cursor.saturating_sub(1),
        Key::Down => *cursor += 1,
        Key::Backspace if line.text().is_empty() => model.overlay = None,
        Key::Enter => {
            let (typed, place) = (line.text().to_owned(), *cursor);
            let entries = entries(model, &typed);
            let chosen = entries.into_iter().enumerate().filter(|(n, _)| *n <= place).last();
            model.overlay = None;
            match chosen {
                Some((_, entry)) => return run(model, entry.run),
                None => model.status = Some(format!("no command fits `{typed}`")),
            }
        }
        key => {
            if line.key(key) {
                *cursor = 0;
            }
        }
    }
    if let Some(Overlay::Palette { line, cursor }) = &model.overlay {
        let most = entries(model, line.text()).len().saturating_sub(1);
        let cursor = (*cursor).min(most);
        let line = line.clone();
        model.overlay = Some(Overlay::Palette { line, cursor });
    }
    Vec::new()
}

fn run(model: &mut Model, run: Run) -> Vec<Effect> {
    use crate::keys::{Meaning, Screen, meaning};
    match run {
        Run::Action(action) => {
            let binding = BINDINGS.iter().find(|b| b.action == action);
            let works = |screen| {
                binding.is_some_and(|b| b.keys.iter().any(|key| meaning(screen, *key) == Meaning::Does(action)))
            };
            // A command of another screen goes there first.
            let screen =
                if works(model.screen) { Some(model.screen) } else { Screen::ALL.into_iter().find(|s| works(*s)) };
            let mut effects = screen.map(|screen| super::screens::go(model, screen)).unwrap_or_default();
            effects.extend(super::actions::act(model, action));
            effects
        }
        Run::Route(name) => {
            super::requests::set_filter(model, &format!("route:{}", crate::filter::quoted(&name)));
            super::screens::go(model, Screen::Requests)
        }
        Run::Compare(name) => {
            let mut effects = super::compare::choose(model, Some(name), Choice::SlowVersusFast);
            effects.extend(super::screens::go(model, Screen::Compare));
            effects
        }
        Run::Theme(theme) => {
            model.theme = theme;
            Vec::new()
        }
        Run::Filter(text) => {
            super::requests::set_filter(model, &text);
            super::screens::go(model, Screen::Requests)
        }
    }
}

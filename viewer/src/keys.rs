//! Every key of the viewer in one table: the footer, the help, the palette and the manual are made from it.

use std::fmt::Write as _;

/// A key as the viewer knows it, without the terminal's spelling.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Key {
    Char(char),
    Ctrl(char),
    Enter,
    Esc,
    Tab,
    BackTab,
    Backspace,
    Delete,
    Up,
    Down,
    Left,
    Right,
    Home,
    End,
    PageUp,
    PageDown,
}

/// The four screens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Screen {
    #[default]
    Overview,
    Requests,
    Timeline,
    Compare,
}

impl Screen {
    pub(crate) const ALL: [Self; 4] = [Self::Overview, Self::Requests, Self::Timeline, Self::Compare];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Overview => "Overview",
            Self::Requests => "Requests",
            Self::Timeline => "Timeline",
            Self::Compare => "Compare",
        }
    }

    const fn scope(self) -> Scope {
        match self {
            Self::Overview => Scope::Overview,
            Self::Requests => Scope::Requests,
            Self::Timeline => Scope::Timeline,
            Self::Compare => Scope::Compare,
        }
    }
}

/// Where a key works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    Everywhere,
    Overview,
    Requests,
    Timeline,
    Compare,
}

impl Scope {
    const ALL: [Self; 5] = [Self::Everywhere, Self::Overview, Self::Requests, Self::Timeline, Self::Compare];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Everywhere => "everywhere",
            Self::Overview => "overview",
            Self::Requests => "requests",
            Self::Timeline => "timeline",
            Self::Compare => "compare",
        }
    }
}

/// What a key does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Go(Screen),
    NextScreen,
    PreviousScreen,
    Down,
    Up,
    Top,
    Bottom,
    PageDown,
    PageUp,
    Open,
    Back,
    Filter,
    Palette,
    Help,
    Pause,
    Theme,
    Mouse,
    Redraw,
    Copy,
    Compare,
    MarkFast,
    MarkSlow,
    ClearMarks,
    Quit,
    Sort,
    Follow,
    Pin,
    NextSlow,
    PreviousSlow,
    OnlyRoute,
    ZoomIn,
    ZoomOut,
    PanLeft,
    PanRight,
    Fit,
    PathOnly,
    NextPiece,
    PreviousPiece,
    NextRequest,
    PreviousRequest,
    Twin,
    EdgeLeft,
    EdgeRight,
    EdgeFarLeft,
    EdgeFarRight,
    OtherEdge,
    Preset,
    Swap,
    Order,
    Reset,
    NextRoute,
    PreviousRoute,
}

/// One line of the table.
#[derive(Debug)]
pub(crate) struct Binding {
    pub(crate) scope: Scope,
    pub(crate) keys: &'static [Key],
    /// The keys as they are written.
    pub(crate) label: &'static str,
    pub(crate) action: Action,
    /// What it does, for help and manual.
    pub(crate) help: &'static str,
    /// What the footer says, or nothing when it is not worth the room.
    pub(crate) foot: &'static str,
}

const fn bind(
    scope: Scope,
    keys: &'static [Key],
    label: &'static str,
    action: Action,
    help: &'static str,
    foot: &'static str,
) -> Binding {
    Binding { scope, keys, label, action, help, foot }
}

use Key::{
    BackTab, Backspace, Char, Ctrl, Delete, Down, End, Enter, Esc, Home, Left, PageDown, PageUp, Right, Tab, Up,
};
use Scope::{Compare, Everywhere, Overview, Requests, Timeline};

/// The table. A key of a screen goes before the same key of everywhere.
pub(crate) const BINDINGS: &[Binding] = &[
    bind(Everywhere, &[Char('j'), Down], "j ↓", Action::Down, "next row", "jk row"),
    bind(Everywhere, &[Char('k'), Up], "k ↑", Action::Up, "previous row", ""),
    bind(Everywhere, &[Char('g'), Home], "g Home", Action::Top, "first row", ""),
    bind(Everywhere, &[Char('G'), End], "G End", Action::Bottom, "last row", ""),
    bind(Everywhere, &[Ctrl('d'), PageDown], "^D PgDn", Action::PageDown, "a page down", ""),
    bind(Everywhere, &[Ctrl('u'), PageUp], "^U PgUp", Action::PageUp, "a page up", ""),
    bind(Everywhere, &[Enter], "Enter", Action::Open, "open: route, request, example pair", "Enter open"),
    bind(Everywhere, &[Esc, Backspace], "Esc", Action::Back, "back to where you were", ""),
    bind(Everywhere, &[Char('1')], "1", Action::Go(Screen::Overview), "overview of the routes", ""),
    bind(Everywhere, &[Char('2')], "2", Action::Go(Screen::Requests), "list of requests", ""),
    bind(Everywhere, &[Char('3')], "3", Action::Go(Screen::Timeline), "timeline of the selected request", ""),
    bind(Everywhere, &[Char('4')], "4", Action::Go(Screen::Compare), "slow against fast", ""),
    bind(Everywhere, &[Tab], "Tab", Action::NextScreen, "next screen", ""),
    bind(Everywhere, &[BackTab], "Shift-Tab", Action::PreviousScreen, "previous screen", ""),
    bind(Everywhere, &[Char('c')], "c", Action::Compare, "why is it slow: compare this route, or the marks", "c why"),
    bind(Everywhere, &[Char('/')], "/", Action::Filter, "filter the requests", "/ filter"),
    bind(Everywhere, &[Char(':')], ":", Action::Palette, "all commands by name", ""),
    bind(Everywhere, &[Char('?')], "?", Action::Help, "this help", "? help"),
    bind(
        Everywhere,
        &[Char(' ')],
        "Space",
        Action::Pause,
        "hold the screen still; arrivals are kept and counted",
        "Space pause",
    ),
    bind(Everywhere, &[Char('y')], "y", Action::Copy, "copy the trace, or the verdict (OSC 52)", ""),
    bind(Everywhere, &[Char('T')], "T", Action::Theme, "next theme: auto, okabe, mono", ""),
    bind(Everywhere, &[Char('M')], "M", Action::Mouse, "give the mouse to the terminal, and take it back", ""),
    bind(Everywhere, &[Ctrl('l')], "^L", Action::Redraw, "draw everything anew", ""),
    bind(Everywhere, &[Char('q'), Ctrl('c')], "q ^C", Action::Quit, "leave", "q quit"),
    bind(Overview, &[Char('s')], "s", Action::Sort, "sort by p99, count, errors, name", "s sort"),
    bind(Requests, &[Char('F')], "F", Action::Follow, "follow the newest", "F tail"),
    bind(Requests, &[Char('s')], "s", Action::Sort, "sort by time, latency, queue time", "s sort"),
    bind(Requests, &[Char('a')], "a", Action::MarkFast, "mark as fast (cohort A), or unmark", "a/b mark"),
    bind(Requests, &[Char('b')], "b", Action::MarkSlow, "mark as slow (cohort B), or unmark", ""),
    bind(Requests, &[Char('u')], "u", Action::ClearMarks, "forget all marks", ""),
    bind(Requests, &[Char('p')], "p", Action::Pin, "pin: keep it when the memory is full", "p pin"),
    bind(Requests, &[Char('n')], "n", Action::NextSlow, "next failed or slow (its route's p95) request", "n slow"),
    bind(Requests, &[Char('N')], "N", Action::PreviousSlow, "previous failed or slow request", ""),
    bind(Requests, &[Char('*')], "*", Action::OnlyRoute, "only the selected request's route", ""),
    bind(Timeline, &[Char('+'), Char('=')], "+", Action::ZoomIn, "zoom in around the selected node", "+- zoom"),
    bind(Timeline, &[Char('-')], "-", Action::ZoomOut, "zoom out", ""),
    bind(Timeline, &[Char('h'), Left], "h ←", Action::PanLeft, "earlier", "hl pan"),
    bind(Timeline, &[Char('l'), Right], "l →", Action::PanRight, "later", ""),
    bind(Timeline, &[Char('0')], "0", Action::Fit, "the whole request", "0 fit"),
    bind(Timeline, &[Char('o')], "o", Action::PathOnly, "only nodes on the critical path", "o path only"),
    bind(Timeline, &[Char('n')], "n", Action::NextPiece, "next piece of the critical path", "nN piece"),
    bind(Timeline, &[Char('N')], "N", Action::PreviousPiece, "previous piece of the critical path", ""),
    bind(Timeline, &[Char('}')], "}", Action::NextRequest, "next request of the list", "{} request"),
    bind(Timeline, &[Char('{')], "{", Action::PreviousRequest, "previous request of the list", ""),
    bind(Timeline, &[Char('w')], "w", Action::Twin, "the other one of a finding's example pair", "w twin"),
    bind(Timeline, &[Char('a')], "a", Action::MarkFast, "mark as fast (cohort A), or unmark", ""),
    bind(Timeline, &[Char('b')], "b", Action::MarkSlow, "mark as slow (cohort B), or unmark", ""),
    bind(Compare, &[Char('h'), Left], "h ←", Action::EdgeLeft, "move the edge to faster", "hl edge"),
    bind(Compare, &[Char('l'), Right], "l →", Action::EdgeRight, "move the edge to slower", ""),
    bind(Compare, &[Char('H')], "H", Action::EdgeFarLeft, "move the edge by a doubling", ""),
    bind(Compare, &[Char('L')], "L", Action::EdgeFarRight, "move the edge by a doubling", ""),
    bind(Compare, &[Tab], "Tab", Action::OtherEdge, "take the next edge", "Tab other"),
    bind(Compare, &[Char('p')], "p", Action::Preset, "next way to choose A and B", "p preset"),
    bind(Compare, &[Char('x')], "x", Action::Swap, "swap A and B", "x swap"),
    bind(Compare, &[Char('o')], "o", Action::Order, "order parts by difference or by time", "o order"),
    bind(Compare, &[Char('R')], "R", Action::Reset, "back to slow against fast", ""),
    bind(Compare, &[Char(']')], "]", Action::NextRoute, "next route", "[] route"),
    bind(Compare, &[Char('[')], "[", Action::PreviousRoute, "previous route", ""),
];

/// Keys while a line is edited; they are no bindings, because every letter is text there.
pub(crate) const EDITING: &[(&str, &str)] = &[
    ("Enter", "done"),
    ("Esc", "leave it as it was"),
    ("↑ ↓", "earlier filters; in the palette: choose"),
    ("Tab", "complete a key"),
    ("^W ^U", "delete a word, all"),
];

/// What a key means on a screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Meaning {
    Does(Action),
    /// It does something, but elsewhere.
    Elsewhere(Scope, &'static str),
    Nothing,
}

/// Looks a key up.
pub(crate) fn meaning(screen: Screen, key: Key) -> Meaning {
    let of = |scope: Scope| BINDINGS.iter().find(move |b| b.scope == scope && b.keys.contains(&key));
    if let Some(binding) = of(screen.scope()).or_else(|| of(Everywhere)) {
        return Meaning::Does(binding.action);
    }
    match BINDINGS.iter().find(|b| b.keys.contains(&key)) {
        Some(binding) => Meaning::Elsewhere(binding.scope, binding.help),
        None => Meaning::Nothing,
    }
}

/// The bindings that work on a screen, its own first.
pub(crate) fn on(screen: Screen) -> impl Iterator<Item = &'static Binding> {
    let own = BINDINGS.iter().filter(move |b| b.scope == screen.scope());
    let hidden = move |b: &&Binding| !BINDINGS.iter().any(|o| o.scope == screen.scope() && o.keys == b.keys);
    own.chain(BINDINGS.iter().filter(|b| b.scope == Everywhere).filter(hidden))
}

/// The table as Markdown, for the manual.
#[must_use]
pub fn markdown() -> String {
    let mut out = String::new();
    for scope in Scope::ALL {
        let _ = writeln!(out, "**{}**\n\n| key | does |\n|---|---|", scope.name());
        for binding in BINDINGS.iter().filter(|b| b.scope == scope) {
            let keys: Vec<String> = binding.label.split(' ').map(|k| format!("`{k}`")).collect();
            let _ = writeln!(out, "| {} | {} |", keys.join(" "), binding.help);
        }
        out.push('\n');
    }
    let _ = writeln!(out, "**while typing** (filter, palette)\n\n| key | does |\n|---|---|");
    for (keys, help) in EDITING {
        let keys: Vec<String> = keys.split(' ').map(|k| format!("`{k}`")).collect();
        let _ = writeln!(out, "| {} | {help} |", keys.join(" "));
    }
    out
}

impl Key {
    /// Reads a key's name: `j`, `enter`, `ctrl-d`, `space`.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        let mut chars = name.chars();
        if let (Some(c), None) = (chars.next(), chars.next()) {
            return Some(Char(c));
        }
        if let Some(c) = name.strip_prefix("ctrl-").and_then(|rest| rest.chars().next()) {
            return Some(Ctrl(c));
        }
        Some(match name {
            "enter" => Enter,
            "esc" => Esc,
            "tab" => Tab,
            "backtab" => BackTab,
            "backspace" => Backspace,
            "delete" => Delete,
            "up" => Up,
            "down" => Down,
            "left" => Left,
            "right" => Right,
            "home" => Home,
            "end" => End,
            "pageup" => PageUp,
            "pagedown" => PageDown,
            "space" => Char(' '),
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_key_means_two_things_in_one_place() {
        for (n, binding) in BINDINGS.iter().enumerate() {
            for other in &BINDINGS[n + 1..] {
                let both = binding.keys.iter().find(|k| other.keys.contains(k));
                assert!(binding.scope != other.scope || both.is_none(), "{both:?} in {:?}", binding.scope);
            }
        }
    }

    #[test]
    fn keys_are_found_or_explained() {
        assert_eq!(meaning(Screen::Compare, Tab), Meaning::Does(Action::OtherEdge));
        assert_eq!(meaning(Screen::Overview, Tab), Meaning::Does(Action::NextScreen));
        assert!(matches!(meaning(Screen::Overview, Char('0')), Meaning::Elsewhere(Timeline, _)));
        assert_eq!(meaning(Screen::Overview, Char('Z')), Meaning::Nothing);
    }

    #[test]
    fn a_screen_lists_its_own_meaning_of_a_key_only() {
        let tabs: Vec<_> = on(Screen::Compare).filter(|b| b.label == "Tab").collect();
        assert_eq!(tabs.len(), 1);
        assert_eq!(tabs[0].action, Action::OtherEdge);
    }

    #[test]
    fn names_of_keys_read_back() {
        let names = ["j", "enter", "ctrl-d", "space", "é"];
        let keys = [Char('j'), Enter, Ctrl('d'), Char(' '), Char('é')];
        assert_eq!(names.map(Key::parse), keys.map(Some));
        assert_eq!(Key::parse("nokey"), None);
    }
}

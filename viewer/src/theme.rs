//! What each meaning looks like: the roles of colour and the glyphs, for every theme and for terminals without either.
//!
//! Glyphs carry the meaning and colours only repeat it, so that a screen without colour loses nothing.

use ratatui::style::{Color, Modifier, Style};
use ratatui::symbols::border;
use zerver_telemetry::event::StateKind;

/// The colours of a screen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Theme {
    /// The terminal's own sixteen colours on its own background; fits light and dark.
    #[default]
    Auto,
    /// The Okabe–Ito palette, told apart by every kind of colour sight; needs 24-bit colour.
    Okabe,
    /// No colour: bold, dim and reverse only.
    Mono,
}

impl Theme {
    /// Every theme, in the order in which `T` cycles through them.
    pub const ALL: [Self; 3] = [Self::Auto, Self::Okabe, Self::Mono];

    /// The word for this theme on the command line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Okabe => "okabe",
            Self::Mono => "mono",
        }
    }

    /// The theme of that name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|theme| theme.as_str() == text)
    }

    pub(crate) fn next(self) -> Self {
        match self {
            Self::Auto => Self::Okabe,
            Self::Okabe => Self::Mono,
            Self::Mono => Self::Auto,
        }
    }

    /// The style of a role.
    pub(crate) fn style(self, role: Role) -> Style {
        let plain = Style::new();
        let bold = plain.add_modifier(Modifier::BOLD);
        let dim = plain.add_modifier(Modifier::DIM);
        let (ansi, rgb) = match role {
            Role::Text => return plain,
            Role::Strong | Role::Key | Role::Title => return bold,
            Role::Dim | Role::Border => return dim,
            Role::Selected => return plain.add_modifier(Modifier::REVERSED),
            Role::Queue => (Color::Yellow, Color::Rgb(0xE6, 0x9F, 0x00)),
            Role::Park => (Color::Blue, Color::Rgb(0x56, 0xB4, 0xE9)),
            Role::Run | Role::Good => (Color::Green, Color::Rgb(0x00, 0x9E, 0x73)),
            Role::Alarm => (Color::Red, Color::Rgb(0xD5, 0x5E, 0x00)),
            Role::CohortA => (Color::Cyan, Color::Rgb(0x56, 0xB4, 0xE9)),
            Role::CohortB => (Color::Magenta, Color::Rgb(0xE6, 0x9F, 0x00)),
        };
        let strong = matches!(role, Role::Alarm | Role::CohortA | Role::CohortB);
        let base = if strong { bold } else { plain };
        match self {
            Self::Auto => base.fg(ansi),
            Self::Okabe => base.fg(rgb),
            Self::Mono => base,
        }
    }
}

/// What a piece of the screen means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Text,
    Strong,
    Dim,
    Title,
    Border,
    Key,
    Selected,
    Queue,
    Park,
    Run,
    Good,
    Alarm,
    CohortA,
    CohortB,
}

impl Role {
    pub(crate) const fn of(kind: StateKind) -> Self {
        match kind {
            StateKind::Queue => Self::Queue,
            StateKind::Park => Self::Park,
            StateKind::Run => Self::Run,
        }
    }
}

/// The signs a screen is made of.
#[derive(Debug)]
pub(crate) struct Glyphs {
    pub(crate) queue: char,
    pub(crate) park: char,
    pub(crate) run: char,
    /// Off the critical path.
    pub(crate) off: char,
    /// On the critical path by way of a child.
    pub(crate) wait: char,
    /// This row is on the critical path.
    pub(crate) path: char,
    pub(crate) cursor: char,
    pub(crate) alarm: char,
    pub(crate) live: char,
    pub(crate) pin: char,
    pub(crate) share: char,
    pub(crate) evidence: [char; 2],
    pub(crate) ellipsis: char,
    pub(crate) branch: &'static str,
    pub(crate) last: &'static str,
    pub(crate) rail: &'static str,
    pub(crate) heights: [char; 9],
    pub(crate) brace: [char; 3],
    pub(crate) border: border::Set<'static>,
    /// Stands for a control character in data.
    pub(crate) control: char,
}

impl Glyphs {
    pub(crate) const UNICODE: &'static Self = &Self {
        queue: '░',
        park: '▒',
        run: '█',
        off: '─',
        wait: '┄',
        path: '◆',
        cursor: '▸',
        alarm: '▲',
        live: '●',
        pin: '▪',
        share: '▓',
        evidence: ['●', '○'],
        ellipsis: '…',
        branch: "├ ",
        last: "└ ",
        rail: "│ ",
        heights: [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'],
        brace: ['├', '─', '┤'],
        border: border::PLAIN,
        control: '␛',
    };

    pub(crate) const ASCII: &'static Self = &Self {
        queue: 'q',
        park: 'p',
        run: '#',
        off: '-',
        wait: '.',
        path: '*',
        cursor: '>',
        alarm: '^',
        live: '*',
        pin: '=',
        share: '#',
        evidence: ['o', '.'],
        ellipsis: '~',
        branch: "+ ",
        last: "` ",
        rail: "| ",
        heights: [' ', '1', '2', '3', '4', '5', '6', '7', '8'],
        brace: ['[', '-', ']'],
        border: border::Set {
            top_left: "+",
            top_right: "+",
            bottom_left: "+",
            bottom_right: "+",
            vertical_left: "|",
            vertical_right: "|",
            horizontal_top: "-",
            horizontal_bottom: "-",
        },
        control: '?',
    };

    pub(crate) const fn of(&self, kind: StateKind) -> char {
        match kind {
            StateKind::Queue => self.queue,
            StateKind::Park => self.park,
            StateKind::Run => self.run,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mono_has_no_colour_and_glyphs_tell_the_states_apart() {
        for role in [Role::Queue, Role::Park, Role::Run, Role::Alarm, Role::CohortA, Role::CohortB, Role::Good] {
            assert_eq!(Theme::Mono.style(role).fg, None, "{role:?}");
            assert_ne!(Theme::Auto.style(role).fg, None, "{role:?}");
        }
        for glyphs in [Glyphs::UNICODE, Glyphs::ASCII] {
            let all = [glyphs.queue, glyphs.park, glyphs.run, glyphs.off, glyphs.wait];
            for (i, a) in all.iter().enumerate() {
                assert!(!all[i + 1..].contains(a), "{a} stands for two states");
            }
        }
    }

    #[test]
    fn names_read_back_and_the_cycle_visits_all() {
        for theme in Theme::ALL {
            assert_eq!(Theme::parse(theme.as_str()), Some(theme));
        }
        assert_eq!(Theme::Auto.next().next().next(), Theme::Auto);
    }
}

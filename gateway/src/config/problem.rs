//! What is wrong with a configuration: where, what, and what would be right, drawn under the offending line.

use std::fmt::Write;

/// One thing that is wrong with a configuration file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where it is; none when it concerns the whole file.
    pub place: Option<Place>,
    /// What is wrong, in one sentence without a full stop.
    pub message: String,
    /// What would be right.
    pub help: Option<String>,
    /// A second place that matters: the other of two conflicting routes.
    pub other: Option<(Place, String)>,
}

/// A place in a text: line and column count from 1, in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Place {
    /// The line.
    pub line: u64,
    /// The column.
    pub column: u64,
    /// How many characters are meant; at least 1 is drawn.
    pub len: u64,
}

impl Problem {
    /// A problem at a place; a value that stands nowhere in the file came from the environment.
    #[must_use]
    pub fn at(place: Place, message: impl Into<String>) -> Self {
        if place.line == 0 {
            return Self::whole(format!("{} (set by the environment)", message.into()));
        }
        Self { place: Some(place), message: message.into(), help: None, other: None }
    }

    /// A problem of the whole file.
    #[must_use]
    pub fn whole(message: impl Into<String>) -> Self {
        Self { place: None, message: message.into(), help: None, other: None }
    }

    /// Adds what would be right.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Adds a second place.
    #[must_use]
    pub fn and(mut self, place: Place, note: impl Into<String>) -> Self {
        self.other = Some((place, note.into()));
        self
    }

    /// Draws the problem as a compiler would: message, `file:line:column`, the line, a mark under it, the help.
    #[must_use]
    pub fn render(&self, file: &str, source: &str) -> String {
        let mut out = String::new();
        let _ = writeln!(out, "error: {}", self.message);
        match self.place {
            Some(place) => draw(&mut out, file, source, place, ""),
            None => {
                let _ = writeln!(out, " --> {file}");
            }
        }
        if let Some((place, note)) = &self.other {
            draw(&mut out, file, source, *place, note);
        }
        if let Some(help) = &self.help {
            let _ = writeln!(out, "  = help: {help}");
        }
        out
    }
}

fn draw(out: &mut String, file: &str, source: &str, place: Place, note: &str) {
    let Place { line, column, len } = place;
    let text = usize::try_from(line).ok().and_then(|n| source.lines().nth(n.saturating_sub(1))).unwrap_or("");
    let width = line.to_string().len();
    let shown: String = text.chars().take(160).map(|c| if c.is_control() { ' ' } else { c }).collect();
    let before = column.saturating_sub(1) as usize;
    let room = shown.chars().count().saturating_sub(before).max(1);
    let marks = "^".repeat((len.max(1) as usize).min(room));
    let _ = writeln!(out, "{:width$}--> {file}:{line}:{column}", " ");
    let _ = writeln!(out, "{:width$} |", " ");
    let _ = writeln!(out, "{line} | {shown}");
    let _ = writeln!(out, "{:width$} | {:before$}{marks} {note}", " ", "");
}

/// The word of `known` most like `word`, when one is like it at all.
#[must_use]
pub fn closest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|other| (strsim::jaro_winkler(word, other), other))
        .filter(|(likeness, _)| *likeness >= 0.75)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, other)| other)
}

/// `did you mean …?` where a known word is like `word`; else the list of known ones.
#[must_use]
pub fn suggestion<'a>(word: &str, known: impl IntoIterator<Item = &'a str> + Clone) -> String {
    match closest(word, known.clone()) {
        Some(like) => format!("did you mean `{like}`?"),
        None => {
            let mut words: Vec<&str> = known.into_iter().collect();
            words.sort_unstable();
            if words.is_empty() { "none is declared".into() } else { format!("known here: {}", words.join(", ")) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_drawn_under_its_line() {
        let problem =
            Problem::at(Place { line: 2, column: 3, len: 5 }, "unknown key `peerz`").help("did you mean `peers`?");
        assert_eq!(
            problem.render("zerver.yaml", "a: 1\n  peerz: [x]\n"),
            "error: unknown key `peerz`\n --> zerver.yaml:2:3\n  |\n2 |   peerz: [x]\n  |   ^^^^^ \n  = help: did you mean `peers`?\n"
        );
    }

    #[test]
    fn a_word_is_suggested_only_when_it_is_like() {
        assert_eq!(suggestion("optionl", ["optional", "timeout"]), "did you mean `optional`?");
        assert_eq!(suggestion("zzz", ["b", "a"]), "known here: a, b");
        assert_eq!(suggestion("zzz", []), "none is declared");
    }

    #[test]
    fn a_place_beyond_the_text_does_not_panic() {
        let problem = Problem::at(Place { line: 900, column: 80, len: 0 }, "odd");
        assert!(problem.render("f", "one line").contains("f:900:80"));
    }
}

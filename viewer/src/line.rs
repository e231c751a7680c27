//! One line of text under edit: the filter, the palette.

use crate::keys::Key;

/// Longer lines are not taken.
const LENGTH_MAX: usize = 512;

/// A text and the place of its cursor.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Line {
    text: String,
    /// In bytes, always between two characters.
    cursor: usize,
}

impl Line {
    pub(crate) fn new(text: &str) -> Self {
        Self { text: text.to_owned(), cursor: text.len() }
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// The text before the cursor.
    pub(crate) fn before(&self) -> &str {
        &self.text[..self.cursor]
    }

    pub(crate) fn insert(&mut self, text: &str) {
        for c in text.chars().filter(|c| !c.is_control()) {
            if self.text.len() + c.len_utf8() > LENGTH_MAX {
                return;
            }
            self.text.insert(self.cursor, c);
            self.cursor += c.len_utf8();
        }
    }

    /// Does what a key does in a line of text; answers whether the text changed.
    pub(crate) fn key(&mut self, key: Key) -> bool {
        let before = self.text.len();
        match key {
            Key::Char(c) => self.insert(c.encode_utf8(&mut [0; 4])),
            Key::Backspace => self.cut(self.previous()),
            Key::Delete => {
                let next = self.next();
                self.text.drain(self.cursor..next);
            }
            Key::Left => self.cursor = self.previous(),
            Key::Right => self.cursor = self.next(),
            Key::Home | Key::Ctrl('a') => self.cursor = 0,
            Key::End | Key::Ctrl('e') => self.cursor = self.text.len(),
            Key::Ctrl('u') => self.cut(0),
            Key::Ctrl('w') => {
                let kept = self.before().trim_end();
                self.cut(kept.rfind(char::is_whitespace).map_or(0, |at| at + 1));
            }
            _ => {}
        }
        self.text.len() != before
    }

    /// Removes what lies between `from` and the cursor.
    pub(crate) fn cut(&mut self, from: usize) {
        self.text.drain(from..self.cursor);
        self.cursor = from;
    }

    fn previous(&self) -> usize {
        self.before().char_indices().next_back().map_or(0, |(at, _)| at)
    }

    fn next(&self) -> usize {
        self.text[self.cursor..].chars().next().map_or(self.cursor, |c| self.cursor + c.len_utf8())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_edited_by_characters_and_words() {
        let mut line = Line::new("größe b");
        for (key, expected) in [
            (Key::Ctrl('w'), "größe "),
            (Key::Backspace, "größe"),
            (Key::Left, "größe"),
            (Key::Backspace, "gröe"),
            (Key::Delete, "grö"),
            (Key::Delete, "grö"),
            (Key::Home, "grö"),
            (Key::Char('é'), "égrö"),
            (Key::End, "égrö"),
            (Key::Ctrl('u'), ""),
            (Key::Backspace, ""),
        ] {
            line.key(key);
            assert_eq!(line.text(), expected, "after {key:?}");
        }
    }

    #[test]
    fn pasted_control_characters_and_endless_text_are_left_out() {
        let mut line = Line::default();
        line.insert("a\x1b\nb");
        assert_eq!(line.text(), "ab");
        line.insert(&"x".repeat(5000));
        assert_eq!(line.text().len(), LENGTH_MAX);
    }
}

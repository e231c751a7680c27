//! The filter language: which requests a person wants to see, tested against one request at a time.

use crate::row::Row;

mod term;
mod parse;

pub(crate) use parse::FilterError;
pub(crate) use term::Surroundings;

use term::Term;

/// A filter that was understood. The empty text matches everything.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Filter {
    pub(crate) text: String,
    term: Term,
}

impl Default for Filter {
    fn default() -> Self {
        Self { text: String::new(), term: Term::All(Vec::new()) }
    }
}

impl Filter {
    /// Reads a filter.
    ///
    /// # Errors
    /// What is wrong, and which bytes of the text it is about.
    pub(crate) fn parse(text: &str) -> Result<Self, FilterError> {
        Ok(Self { text: text.to_owned(), term: parse::parse(text)? })
    }

    /// True when it matches everything.
    pub(crate) fn is_empty(&self) -> bool {
        self.term == Term::All(Vec::new())
    }

    /// True when a request's match can change as others arrive.
    pub(crate) fn looks_around(&self) -> bool {
        self.term.looks_around()
    }

    pub(crate) fn matches(&self, row: &Row, around: &Surroundings) -> bool {
        self.term.matches(row, around)
    }
}

/// A value as the filter language takes it.
pub(crate) fn quoted(value: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "._-/".contains(c);
    let clean: String = value.chars().map(|c| if c == '"' || c.is_control() { '*' } else { c }).collect();
    if !clean.is_empty() && clean.chars().all(plain) { clean } else { format!("\"{clean}\"") }
}

#[cfg(test)]
mod tests;

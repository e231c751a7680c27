//! The recorder's names as the collector's thread holds them: without a lock, and shared where they stand already.

use std::sync::Arc;

use crate::names::{Name, Names};

/// A copy of a table of names, which follows it as it grows.
#[derive(Debug)]
pub(crate) struct Words {
    names: Arc<Names>,
    copy: Vec<Arc<str>>,
}

impl Words {
    pub(crate) fn new(names: Arc<Names>) -> Self {
        let mut words = Self { names, copy: Vec::new() };
        words.follow();
        words
    }

    fn follow(&mut self) {
        self.copy.extend(self.names.since(self.copy.len()));
    }

    fn text(&mut self, name: Name) -> &Arc<str> {
        let number = name.0 as usize;
        if number >= self.copy.len() {
            self.follow();
        }
        // What the table never made is the empty text, its first.
        self.copy.get(number).unwrap_or(&self.copy[0])
    }

    /// The text of a name.
    pub(crate) fn get(&mut self, name: Name) -> Arc<str> {
        Arc::clone(self.text(name))
    }

    /// The text of a name; none for no name.
    pub(crate) fn optional(&mut self, name: Name) -> Option<Arc<str>> {
        (name != Name::NONE).then(|| self.get(name))
    }

    /// Puts the text of a name where one stands. Nothing is counted up or down when it is the same one.
    pub(crate) fn put(&mut self, name: Name, at: &mut Arc<str>) {
        let text = self.text(name);
        if !Arc::ptr_eq(text, at) {
            *at = Arc::clone(text);
        }
    }

    /// The same where there may be none.
    pub(crate) fn put_optional(&mut self, name: Name, at: &mut Option<Arc<str>>) {
        match at {
            _ if name == Name::NONE => *at = None,
            Some(at) => self.put(name, at),
            None => *at = Some(self.get(name)),
        }
    }
}

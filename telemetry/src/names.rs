//! Names as numbers: routes, steps, permits and keys are interned when the configuration is loaded, never per request.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::RwLock;

/// The number of an interned name. [`Name::NONE`] stands for "no name".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Name(pub u32);

impl Name {
    /// No name; reads back as the empty text.
    pub const NONE: Self = Self(0);
}

/// A table of names that only grows, up to [`Names::LIMIT`].
///
/// Interning takes a lock and may allocate: do it at load. Reading back takes a shared lock and is the collector's work.
#[derive(Debug)]
pub struct Names {
    table: RwLock<Table>,
}

#[derive(Debug)]
struct Table {
    by_number: Vec<Arc<str>>,
    by_text: HashMap<Arc<str>, u32>,
}

impl Names {
    /// The most names one table holds; a config of that many routes and steps is beyond any seen. Later names read
    /// back as `(overflow)`.
    pub const LIMIT: usize = 65_536;

    /// A table that holds only the empty name and the overflow mark.
    #[must_use]
    pub fn new() -> Self {
        let names = Self { table: RwLock::new(Table { by_number: Vec::new(), by_text: HashMap::new() }) };
        names.intern("");
        names.intern("(overflow)");
        names
    }

    /// The number of `text`, the same each time.
    pub fn intern(&self, text: &str) -> Name {
        if let Some(number) = self.table.read().by_text.get(text) {
            return Name(*number);
        }
        let mut table = self.table.write();
        if let Some(number) = table.by_text.get(text) {
            return Name(*number);
        }
        if table.by_number.len() >= Self::LIMIT {
            return Name(1);
        }
        let number = u32::try_from(table.by_number.len()).unwrap_or(1);
        let text: Arc<str> = text.into();
        table.by_number.push(Arc::clone(&text));
        table.by_text.insert(text, number);
        Name(number)
    }

    /// The text of `name`; the empty text when this table never made it.
    #[must_use]
    pub fn get(&self, name: Name) -> Arc<str> {
        let table = self.table.read();
        let number = name.0 as usize;
        Arc::clone(table.by_number.get(number).unwrap_or(&table.by_number[0]))
    }

    /// The names from the `first`-th on, in the order in which they were interned.
    pub(crate) fn since(&self, first: usize) -> Vec<Arc<str>> {
        self.table.read().by_number.get(first..).unwrap_or_default().to_vec()
    }
}

impl Default for Names {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_keeps_its_number() {
        let names = Names::new();
        let cart = names.intern("cart");
        assert_eq!(names.intern("cart"), cart);
        assert_ne!(names.intern("price"), cart);
        assert_eq!(&*names.get(cart), "cart");
        assert_eq!(&*names.get(Name::NONE), "");
        assert_eq!(&*names.get(Name(9999)), "");
    }

    #[test]
    fn a_full_table_marks_the_overflow() {
        let names = Names::new();
        for n in 0..Names::LIMIT {
            names.intern(&format!("n{n}"));
        }
        assert_eq!(&*names.get(names.intern("one too many")), "(overflow)");
    }
}

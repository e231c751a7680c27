//! What makes steps no graph: bad names, second writers, reads of nothing, cycles.

use super::{Graph, NODES_MAX};

/// Why steps are no graph.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GraphError {
    /// See [`check_slug`].
    #[error("flow name `{slug}`: {why}")]
    Slug {
        /// The name.
        slug: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A flow without steps answers nothing.
    #[error("flow `{0}` has no steps")]
    Empty(String),
    /// More than [`NODES_MAX`] steps.
    #[error("flow `{slug}` has {count} steps; the most is {NODES_MAX}")]
    TooMany {
        /// The flow.
        slug: String,
        /// How many it has.
        count: usize,
    },
    /// Two steps write one slot.
    #[error("slot `{0}` has two writers; a slot is written by exactly one step: rename one of them")]
    TwoWriters(String),
    /// A step reads what no step writes.
    #[error("step `{step}` reads `{slot}`, but no step has that name")]
    UnknownSlot {
        /// The reader.
        step: String,
        /// What it reads.
        slot: String,
    },
    /// Steps that wait for each other.
    #[error("cycle: {}", .0.join(" -> reads "))]
    Cycle(Vec<String>),
}

/// Checks a flow's name: lower-case words of letters and digits joined by single hyphens, at most six, the first
/// beginning with a letter; 3 to 48 characters. No version, team or environment belongs into it.
///
/// # Errors
/// What is wrong with it.
pub fn check_slug(slug: &str) -> Result<(), GraphError> {
    let wrong = |why| Err(GraphError::Slug { slug: slug.to_owned(), why });
    if !(3..=48).contains(&slug.len()) {
        return wrong("a flow's name has 3 to 48 characters");
    }
    if !slug.starts_with(|c: char| c.is_ascii_lowercase()) {
        return wrong("a flow's name begins with a lower-case letter");
    }
    let word = |w: &str| !w.is_empty() && w.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    if !slug.split('-').all(word) {
        return wrong("a flow's name is lower-case words of letters and digits, joined by single hyphens");
    }
    if slug.split('-').count() > 6 {
        return wrong("a flow's name has at most six words");
    }
    Ok(())
}

impl Graph {
    /// A cycle, by name, its first node again at its end.
    pub(super) fn cycle(&self) -> Option<Vec<String>> {
        // What can start, starts; what is left waits for itself.
        let all: u128 = if self.nodes.len() == NODES_MAX { u128::MAX } else { (1 << self.nodes.len()) - 1 };
        let mut done: u128 = 0;
        loop {
            let ready = (0..self.nodes.len()).filter(|n| done & (1 << n) == 0 && self.nodes[*n].deps & !done == 0);
            let ready: u128 = ready.fold(0, |mask, n| mask | (1 << n));
            if ready == 0 {
                break;
            }
            done |= ready;
        }
        if done == all {
            return None;
        }
        let mut path = vec![(!done & all).trailing_zeros() as usize];
        loop {
            let waits_for = self.nodes[*path.last()?].deps & !done;
            let next = waits_for.trailing_zeros() as usize;
            if let Some(from) = path.iter().position(|n| *n == next) {
                let names = path[from..].iter().chain([&next]).map(|n| self.nodes[*n].name.to_string());
                return Some(names.collect());
            }
            path.push(next);
        }
    }
}

//! What the flows of a page may name besides their own steps: upstreams, steps written in Rust, other flows.

use crate::exposed::Exposed;

/// What the flows of a page may name besides their own steps.
#[derive(Clone, Copy, Debug, Default)]
pub struct Known<'k> {
    /// The upstreams that calls may go to.
    pub targets: &'k [&'k str],
    /// The steps written in Rust that `call` may name.
    pub steps: &'k [Exposed],
    /// The flows that `flow` and `replace` may name, the page's own among them; none where they are not known yet: then a
    /// name that no flow has is found when it is asked for.
    pub flows: Option<&'k [&'k str]>,
}

impl<'k> Known<'k> {
    /// Upstreams alone.
    #[must_use]
    pub const fn targets(targets: &'k [&'k str]) -> Self {
        Self { targets, steps: &[], flows: None }
    }

    /// The exposed step of this name.
    pub(super) fn step(&self, name: &str) -> Option<Exposed> {
        self.steps.iter().copied().find(|step| step.name() == name)
    }
}

//! How a node's life begins: what it is, what made it ready, and its first state.

use crate::event::{Cause, NodeId, NodeKind};
use crate::names::Name;

/// How a node's life begins; see [`Log::open`](super::Log::open).
#[derive(Clone, Copy, Debug)]
pub struct Opening {
    /// Its name.
    pub name: Name,
    /// What it is.
    pub kind: NodeKind,
    /// The node it belongs to.
    pub parent: NodeId,
    /// The node whose end made it ready; none when that was its parent's own doing.
    pub after: Option<NodeId>,
    /// 1 for the first try.
    pub attempt: u16,
    /// 1 for the first use of this name under its parent.
    pub occurrence: u16,
    /// The state it begins in.
    pub cause: Cause,
    /// The permit, upstream or timer of that state.
    pub cause_name: Name,
}

impl Opening {
    /// A node that begins running, first try, first use.
    #[must_use]
    #[inline]
    pub fn running(name: Name, kind: NodeKind, parent: NodeId) -> Self {
        Self { name, kind, parent, after: None, attempt: 1, occurrence: 1, cause: Cause::Run, cause_name: Name::NONE }
    }

    /// The same, beginning in another state.
    #[must_use]
    #[inline]
    pub fn in_state(mut self, cause: Cause, name: Name) -> Self {
        self.cause = cause;
        self.cause_name = name;
        self
    }

    /// The same, made ready by the end of `after`.
    #[must_use]
    #[inline]
    pub fn after(mut self, after: Option<NodeId>) -> Self {
        self.after = after;
        self
    }
}

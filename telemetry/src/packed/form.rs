//! The numbers of the packed form that writing and reading share: its version, its flags, its bounds, its expectations.

use std::sync::Arc;

use crate::event::{Cause, NodeId, NodeKind};
use crate::id::SpanId;
use crate::timeline::{Kept, Node, PromotedBy};

/// The version of the packed form: its first byte.
pub const VERSION: u8 = 1;

/// The most nodes, states and attributes, all together, of a timeline that is read: some 30 MiB of memory. A logbook holds a
/// hundredth of it.
pub const PARTS_MAX: usize = 1 << 18;

/// The most nodes: as many as there are numbers for.
pub(super) const NODES_MAX: usize = 1 << 16;

// Flags stand in a varint with the rare ones on top, so that a byte holds them mostly.

/// Flags of a timeline.
pub(super) mod head {
    pub(in super::super) const SAMPLED: u64 = 1;
    pub(in super::super) const PARENT: u64 = 1 << 1;
    pub(in super::super) const FLOW: u64 = 1 << 2;
    /// The flow has the route's name.
    pub(in super::super) const FLOW_IS_ROUTE: u64 = 1 << 3;
    /// Latency, outcome, status or error are not those of the first node.
    pub(in super::super) const OWN_END: u64 = 1 << 4;
    pub(in super::super) const WEIGHT: u64 = 1 << 5;
    pub(in super::super) const KEPT: u64 = 1 << 6;
    pub(in super::super) const LOST: u64 = 1 << 7;
    pub(in super::super) const ALL: u64 = (1 << 8) - 1;
}

/// Flags of a node, above the three bits of its kind.
pub(super) mod node {
    pub(in super::super) const AFTER: u64 = 1 << 3;
    /// The parent is not that of the last node of this kind.
    pub(in super::super) const PARENT: u64 = 1 << 4;
    /// It did not end with `ok`, no status and no error.
    pub(in super::super) const END: u64 = 1 << 5;
    pub(in super::super) const ATTRS: u64 = 1 << 6;
    pub(in super::super) const ATTEMPT: u64 = 1 << 7;
    pub(in super::super) const OCCURRENCE: u64 = 1 << 8;
    /// Its number is not its place.
    pub(in super::super) const ID: u64 = 1 << 9;
    /// Its span does not follow that of the node before.
    pub(in super::super) const SPAN: u64 = 1 << 10;
    /// It does not end with its last state.
    pub(in super::super) const END_NS: u64 = 1 << 11;
    pub(in super::super) const ALL: u64 = (1 << 12) - 1;
}

/// Flags of a state, above the four bits of its cause.
pub(super) mod state {
    /// The name is not the expected one; see [`super::expected_name`].
    pub(in super::super) const NAME: u64 = 1 << 4;
    pub(in super::super) const WOKEN_BY: u64 = 1 << 5;
    /// The worker is not the expected one: the last one for a running state, none for others.
    pub(in super::super) const WORKER: u64 = 1 << 6;
    /// Where the two bits of the rule stand that promoted it.
    pub(in super::super) const PROMOTED_SHIFT: u32 = 7;
    pub(in super::super) const FOLDED: u64 = 1 << 9;
    /// It does not begin where the one before ended.
    pub(in super::super) const FROM_NS: u64 = 1 << 10;
    pub(in super::super) const ALL: u64 = (1 << 11) - 1;
    /// Those with a field of their own between the flags and the length.
    pub(in super::super) const FIELDS: u64 = NAME | WOKEN_BY | WORKER | FROM_NS;
}

/// How a node's or a timeline's end is written: the outcome in three bits, the status in two, and whether there is an error.
pub(super) mod end {
    pub(in super::super) const STATUS_SHIFT: u32 = 3;
    pub(in super::super) const STATUS_NONE: u8 = 0;
    pub(in super::super) const STATUS_200: u8 = 1;
    /// The last one that was written out.
    pub(in super::super) const STATUS_AGAIN: u8 = 2;
    pub(in super::super) const STATUS_OTHER: u8 = 3;
    pub(in super::super) const ERROR: u8 = 1 << 5;
    pub(in super::super) const ALL: u8 = (1 << 6) - 1;
}

/// What stands for an attribute's value: a type, or the number of a word from [`WORD`](value::WORD) on.
pub(super) mod value {
    pub(in super::super) const TEXT: u64 = 0;
    pub(in super::super) const FALSE: u64 = 1;
    pub(in super::super) const TRUE: u64 = 2;
    pub(in super::super) const INT: u64 = 3;
    pub(in super::super) const FLOAT: u64 = 4;
    pub(in super::super) const WORD: u64 = 5;
}

/// What stands for a name: a text that follows, or the number of a word from [`WORD`](name::WORD) on.
pub(super) mod name {
    pub(in super::super) const NONE: u64 = 0;
    pub(in super::super) const TEXT: u64 = 1;
    pub(in super::super) const WORD: u64 = 2;
}

/// What stands for a span that is not the expected one: itself, zero, or the difference of its number.
pub(super) mod span {
    pub(in super::super) const LITERAL: u64 = 0;
    pub(in super::super) const ZERO: u64 = 1;
    pub(in super::super) const NUMBER: u64 = 2;
}

/// Why a timeline was kept, as a set: a sum of `1 << place in this list`. From [`KEPT_LIST`] on it is the length of a list.
pub(super) const KEPT: [Kept; 4] = [Kept::Recent, Kept::Uniform, Kept::Slow, Kept::Error];
pub(super) const KEPT_LIST: u64 = 1 << KEPT.len();

/// The kinds of nodes, in the order of their number.
pub(super) const KINDS: [NodeKind; 5] =
    [NodeKind::Request, NodeKind::Station, NodeKind::Step, NodeKind::Effect, NodeKind::Branch];

/// The rules of promotion; their numbers begin at 1.
pub(super) const RULES: [PromotedBy; 3] = [PromotedBy::Threshold, PromotedBy::Adaptive, PromotedBy::Debug];

/// What goes on from node to node, and what is expected of the next one.
#[derive(Debug, Default)]
pub(super) struct Expected {
    /// The parent of the last node of each kind.
    pub(super) parents: [Option<NodeId>; KINDS.len()],
    /// The number that the next span was made of.
    pub(super) ordinal: u16,
    /// The worker of the last running state.
    pub(super) worker: u16,
    /// The last status that was written out.
    pub(super) status: u16,
    /// The start of the last node.
    pub(super) start_ns: u64,
}

impl Expected {
    /// The worker that a state of this cause is expected to have.
    pub(super) fn worker(&self, cause: Cause) -> Option<u16> {
        (cause == Cause::Run).then_some(self.worker)
    }
}

/// The name that a state is expected to have: waiting for another system, a node mostly waits for the one it is called by.
pub(super) fn expected_name(cause: Cause, node: &Arc<str>) -> Option<&Arc<str>> {
    (cause == Cause::Io).then_some(node)
}

/// The span of a node that was not recorded by a gateway.
pub(super) const NO_SPAN: SpanId = SpanId(0);

/// A node without anything, to begin with.
pub(super) fn blank(name: Arc<str>, kind: NodeKind, place: u16) -> Node {
    Node {
        id: NodeId(place),
        span_id: NO_SPAN,
        parent: None,
        after: None,
        name,
        kind,
        attempt: 1,
        occurrence: 1,
        start_ns: 0,
        end_ns: 0,
        outcome: crate::event::Outcome::Ok,
        status: 0,
        error: None,
        states: Vec::new(),
        attrs: Vec::new(),
    }
}

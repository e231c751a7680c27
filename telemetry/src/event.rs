//! The closed list of what can happen to a request, and the 32-byte record that each event becomes.

use serde::{Deserialize, Serialize};

use crate::clock::Ticks;
use crate::names::Name;

/// The number of a node within its request: 0 is the request itself, the rest in order of their opening.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NodeId(pub u16);

impl NodeId {
    /// The request itself.
    pub const ROOT: Self = Self(0);
    /// "No node", in records.
    pub(crate) const NONE: u16 = u16::MAX;
}

/// What a node of a timeline is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum NodeKind {
    /// The request, first byte to last.
    Request = 0,
    /// A station of the gateway's own pipeline (admission, a middleware).
    Station = 1,
    /// A step of a flow.
    Step = 2,
    /// A call to another system, one per attempt.
    Effect = 3,
    /// A branch of a join.
    Branch = 4,
}

/// Which of the three a moment of a node's life is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StateKind {
    /// Ready, but no worker or permit.
    Queue,
    /// Waiting for I/O, a join, a limit or a timer.
    Park,
    /// On a processor.
    Run,
}

/// Why a node is in its state. Each cause belongs to exactly one [`StateKind`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Cause {
    /// Run: on a worker.
    Run = 0,
    /// Queue: woken or ready, waits for a worker to take it.
    Worker = 1,
    /// Queue: waits for a permit (a seat, a connection of a bounded pool); the name says which.
    Permit = 2,
    /// Park: waits for another system's answer.
    Io = 3,
    /// Park: waits for a child node.
    Join = 4,
    /// Park: held by a rate limit.
    Rate = 5,
    /// Park: waits for a timer (back-off, hedge delay, sleep).
    Timer = 6,
    /// Park: waits for a lock or another request's answer (single flight).
    Lock = 7,
    /// Park: waits for the client to send.
    Read = 8,
    /// Park: waits for the client to take what was sent.
    Write = 9,
}

impl Cause {
    /// The kind of state this cause belongs to.
    #[must_use]
    pub const fn kind(self) -> StateKind {
        match self {
            Self::Run => StateKind::Run,
            Self::Worker | Self::Permit => StateKind::Queue,
            Self::Io | Self::Join | Self::Rate | Self::Timer | Self::Lock | Self::Read | Self::Write => StateKind::Park,
        }
    }

    /// The word for this cause in JSON, metrics and on screens.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Run => "run",
            Self::Worker => "worker",
            Self::Permit => "permit",
            Self::Io => "io",
            Self::Join => "join",
            Self::Rate => "rate",
            Self::Timer => "timer",
            Self::Lock => "lock",
            Self::Read => "read",
            Self::Write => "write",
        }
    }

    /// Every cause, in the order of its number.
    pub const ALL: [Self; 10] = [
        Self::Run,
        Self::Worker,
        Self::Permit,
        Self::Io,
        Self::Join,
        Self::Rate,
        Self::Timer,
        Self::Lock,
        Self::Read,
        Self::Write,
    ];
}

/// How a node ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Outcome {
    /// As it should.
    Ok = 0,
    /// With an error; the error's name says which.
    Error = 1,
    /// Its time ran out.
    Timeout = 2,
    /// Nobody needed it any more: a lost race, a client that left, a shutdown.
    Cancelled = 3,
    /// It never ran: a condition, or a required node before it failed.
    Skipped = 4,
    /// The gateway refused it: rate limit, overload, authentication.
    Refused = 5,
}

impl Outcome {
    /// The word for this outcome in JSON and on screens.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Error => "error",
            Self::Timeout => "timeout",
            Self::Cancelled => "cancelled",
            Self::Skipped => "skipped",
            Self::Refused => "refused",
        }
    }

    /// Every outcome, in the order of its number.
    pub const ALL: [Self; 6] = [Self::Ok, Self::Error, Self::Timeout, Self::Cancelled, Self::Skipped, Self::Refused];
}

/// One thing that happened, as it is written to a logbook and read back from it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Event {
    /// A node's life began, in a state.
    Open {
        /// The new node.
        node: NodeId,
        /// Its name: the step, the effect's target, the station.
        name: Name,
        /// What it is.
        kind: NodeKind,
        /// The node it belongs to; none for the request.
        parent: Option<NodeId>,
        /// The node whose end made it ready; none when that was the request's start.
        after: Option<NodeId>,
        /// 1 for the first try.
        attempt: u16,
        /// 1 for the first use of this name under this parent.
        occurrence: u16,
        /// The state it begins in.
        cause: Cause,
        /// The permit, upstream or timer of that state.
        cause_name: Name,
    },
    /// A node passed into its next state; the one before ended at the same tick.
    State {
        /// The node.
        node: NodeId,
        /// Why it is in its new state.
        cause: Cause,
        /// The permit, upstream or timer of that state.
        name: Name,
        /// The node whose end woke it, for a state that follows a park.
        woken_by: Option<NodeId>,
        /// The worker it runs on, for [`Cause::Run`].
        worker: u16,
    },
    /// A node's life ended.
    Close {
        /// The node.
        node: NodeId,
        /// How.
        outcome: Outcome,
        /// The status it ended with (HTTP status), or 0.
        status: u16,
        /// The error's name, or none.
        error: Name,
    },
    /// Something known about a node.
    Attr {
        /// The node.
        node: NodeId,
        /// What.
        key: Name,
        /// Its value.
        value: RawValue,
    },
    /// Time that was added up instead of written state by state, because the logbook was nearly full or the body was
    /// streaming. A node's folds stand for the stretch from the first fold's moment to the node's end.
    Fold {
        /// The node.
        node: NodeId,
        /// Why it was in these states.
        cause: Cause,
        /// The permit, upstream or timer of the last of them.
        name: Name,
        /// How long they were together, in ticks.
        ticks: u64,
    },
}

/// An attribute's value as a record holds it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum RawValue {
    /// A whole number.
    Int(i64),
    /// A real number.
    Float(f64),
    /// Yes or no.
    Bool(bool),
    /// An interned name.
    Name(Name),
    /// A piece of the logbook's text area.
    Text {
        /// Where it begins, in bytes.
        start: u32,
        /// How long it is, in bytes.
        len: u32,
    },
}

/// The four words of a record.
pub(crate) type Words = [u64; 4];

const OPEN: u64 = 1;
const STATE: u64 = 2;
const CLOSE: u64 = 3;
const ATTR: u64 = 4;
const FOLD: u64 = 5;

fn head(kind: u64, code: u8, node: NodeId, name: Name) -> u64 {
    kind | (u64::from(code) << 8) | (u64::from(node.0) << 16) | (u64::from(name.0) << 32)
}

fn optional(node: Option<NodeId>) -> u64 {
    u64::from(node.map_or(NodeId::NONE, |n| n.0))
}

fn node_at(word: u64, shift: u32) -> Option<NodeId> {
    let number = (word >> shift) as u16;
    (number != NodeId::NONE).then_some(NodeId(number))
}

impl Event {
    /// Packs the event and its moment into a record.
    #[inline]
    pub(crate) fn pack(self, at: Ticks) -> Words {
        match self {
            Self::Open { node, name, kind, parent, after, attempt, occurrence, cause, cause_name } => [
                at.0,
                head(OPEN, kind as u8, node, name),
                optional(parent) | (optional(after) << 16) | (u64::from(attempt) << 32) | (u64::from(occurrence) << 48),
                u64::from(cause as u8) | (u64::from(cause_name.0) << 32),
            ],
            Self::State { node, cause, name, woken_by, worker } => {
                [at.0, head(STATE, cause as u8, node, name), optional(woken_by) | (u64::from(worker) << 16), 0]
            }
            Self::Close { node, outcome, status, error } => {
                [at.0, head(CLOSE, outcome as u8, node, error), u64::from(status), 0]
            }
            Self::Attr { node, key, value } => {
                let (code, a, b) = match value {
                    RawValue::Int(n) => (0, n.cast_unsigned(), 0),
                    RawValue::Float(x) => (1, x.to_bits(), 0),
                    RawValue::Bool(yes) => (2, u64::from(yes), 0),
                    RawValue::Name(name) => (3, u64::from(name.0), 0),
                    RawValue::Text { start, len } => (4, u64::from(start), u64::from(len)),
                };
                [at.0, head(ATTR, code, node, key), a, b]
            }
            Self::Fold { node, cause, name, ticks } => [at.0, head(FOLD, cause as u8, node, name), ticks, 0],
        }
    }

    /// Reads a record back; none when it was never a record.
    pub(crate) fn unpack(words: Words) -> Option<(Ticks, Self)> {
        let [ticks, head, a, b] = words;
        let code = (head >> 8) as u8;
        let node = NodeId((head >> 16) as u16);
        let name = Name((head >> 32) as u32);
        let event = match head & 0xff {
            OPEN => Self::Open {
                node,
                name,
                kind: match code {
                    0 => NodeKind::Request,
                    1 => NodeKind::Station,
                    2 => NodeKind::Step,
                    3 => NodeKind::Effect,
                    _ => NodeKind::Branch,
                },
                parent: node_at(a, 0),
                after: node_at(a, 16),
                attempt: (a >> 32) as u16,
                occurrence: (a >> 48) as u16,
                cause: *Cause::ALL.get(usize::from(b as u8))?,
                cause_name: Name((b >> 32) as u32),
            },
            STATE => Self::State {
                node,
                cause: *Cause::ALL.get(usize::from(code))?,
                name,
                woken_by: node_at(a, 0),
                worker: (a >> 16) as u16,
            },
            CLOSE => {
                Self::Close { node, outcome: *Outcome::ALL.get(usize::from(code))?, status: a as u16, error: name }
            }
            ATTR => {
                let value = match code {
                    0 => RawValue::Int(a.cast_signed()),
                    1 => RawValue::Float(f64::from_bits(a)),
                    2 => RawValue::Bool(a != 0),
                    3 => RawValue::Name(Name(a as u32)),
                    _ => RawValue::Text { start: a as u32, len: b as u32 },
                };
                Self::Attr { node, key: name, value }
            }
            FOLD => Self::Fold { node, cause: *Cause::ALL.get(usize::from(code))?, name, ticks: a },
            _ => return None,
        };
        Some((Ticks(ticks), event))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_read_back_as_they_were_written() {
        let node = NodeId(7);
        let name = Name(70_000);
        for event in [
            Event::Open {
                node,
                name,
                kind: NodeKind::Effect,
                parent: Some(NodeId(3)),
                after: None,
                attempt: 2,
                occurrence: 5,
                cause: Cause::Permit,
                cause_name: Name(9),
            },
            Event::State { node, cause: Cause::Io, name, woken_by: Some(NodeId(6)), worker: 3 },
            Event::State { node, cause: Cause::Worker, name: Name::NONE, woken_by: None, worker: 0 },
            Event::Close { node, outcome: Outcome::Timeout, status: 504, error: name },
            Event::Attr { node, key: name, value: RawValue::Int(-5) },
            Event::Attr { node, key: name, value: RawValue::Float(0.25) },
            Event::Attr { node, key: name, value: RawValue::Bool(true) },
            Event::Attr { node, key: name, value: RawValue::Name(Name(12)) },
            Event::Attr { node, key: name, value: RawValue::Text { start: 3, len: 40 } },
            Event::Fold { node, cause: Cause::Write, name, ticks: 1 << 40 },
        ] {
            assert_eq!(Event::unpack(event.pack(Ticks(11))), Some((Ticks(11), event)));
        }
        assert_eq!(Event::unpack([0; 4]), None);
    }

    #[test]
    fn causes_and_outcomes_stand_at_their_number() {
        for (n, cause) in Cause::ALL.into_iter().enumerate() {
            assert_eq!(cause as usize, n);
        }
        for (n, outcome) in Outcome::ALL.into_iter().enumerate() {
            assert_eq!(outcome as usize, n);
        }
    }
}

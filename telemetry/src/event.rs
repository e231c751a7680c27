//! The closed list of what can happen to a request; how each event is written down is in `logbook/record`.

use serde::{Deserialize, Serialize};

use crate::names::Name;

/// The number of a node within its request: 0 is the request itself, the rest grow in the order of their opening. In a
/// timeline they are places; while a request is recorded they leave gaps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NodeId(pub u16);

impl NodeId {
    /// The request itself.
    pub const ROOT: Self = Self(0);
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
    /// A text in the logbook, from this record on.
    Text {
        /// The place of its record.
        place: u16,
        /// How long it is, in bytes.
        len: u16,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

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

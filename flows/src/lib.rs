//! Flows: plain async Rust that is a checked, parallel, replayable DAG of steps and effects.
#![doc = include_str!("../../docs/flows.md")]

mod exit;
pub mod upload;
mod request;
pub mod body;
mod response;
mod respond;
pub mod join;
pub mod graph;
pub mod lint;
pub mod deadline;
mod wake;
mod hedge;
mod cells;
mod bound;
pub mod adapter;
pub mod values;
mod air;
mod reads;
pub mod arena;
mod cancel;
pub mod stuck;
mod run;
mod effect;
pub mod policy;
mod slot;
mod node;
pub mod driver;
pub mod after;
mod meta;
mod exposed;
pub mod insert;
mod watch;
mod flow;
pub mod engine;
mod resume;
pub mod journal;
mod virtual_time;
pub mod fake;
pub mod replay;
#[cfg(feature = "declare")]
pub mod declare;
#[cfg(test)]
mod proofs;

pub use body::{Body, BodyWriter, Event, JsonWriter, SseWriter};
pub use cancel::Cancel;
pub use effect::{Answer, Call, Effect, Fx, Note, Peek, Sleep, segment};
pub use engine::{Engine, Env};
pub use exit::{Domain, Exit, Fail, OrFail, Replace, Result};
pub use exposed::{Argument, Exposed, Kind};
pub use flow::{BoundFlow, Flow, FlowOutcome};
pub use request::Req;
pub use response::Response;
pub use upload::Upload;
pub use values::Values;
pub use zerver_macros::{flow, step, subflow};

/// What `#[step]` and `#[flow]` write their code with. Not for people.
#[doc(hidden)]
pub mod generated {
    pub use crate::after::{UNDO_RETRIES, boxed, cleanup, drive_boxed, fits, on_error, undo};
    pub use crate::driver::drive;
    pub use crate::exposed::{Arguments, Called, given, refuses};
    pub use crate::flow::future_size;
    pub use crate::join::{Join, Start, Take};
    pub use crate::meta::{BranchMeta, FlowMeta, JoinMeta, NodeMeta, StepMeta};
    pub use crate::node::{Node, Wrote, node};
    pub use crate::policy::retry;
    pub use crate::run::Run;
    pub use crate::slot::{Slot, only, written};
    pub use crate::values::{AsJson, AsName, Shown};
}

/// The cookbook, whose code is tested.
#[cfg(doctest)]
#[doc = include_str!("../../docs/steps.md")]
struct Cookbook;

//! Flows: plain async Rust that is a checked, parallel, replayable DAG of steps and effects.
#![doc = include_str!("../../docs/flows.md")]

mod exit;
mod request;
mod response;
mod respond;
pub mod graph;
pub mod lint;
pub mod deadline;
mod wake;
pub mod adapter;
mod run;
mod effect;
mod join;
pub mod policy;
pub mod driver;
mod flow;
pub mod engine;
pub mod journal;
mod virtual_time;
pub mod fake;
pub mod replay;
#[cfg(feature = "declare")]
pub mod declare;

pub use effect::{Answer, Call, Effect, Fx, Note, Sleep, segment};
pub use engine::{Engine, Env};
pub use exit::{Domain, Exit, Fail, OrFail, Result};
pub use flow::{BoundFlow, Flow, FlowOutcome};
pub use request::Req;
pub use response::Response;
pub use zerver_macros::{flow, step};

/// What `#[step]` and `#[flow]` write their code with. Not for people.
#[doc(hidden)]
pub mod generated {
    pub use crate::driver::{Node, Slot, Wrote, drive, node};
    pub use crate::flow::{FlowMeta, NodeMeta, StepMeta};
    pub use crate::policy::retry;
    pub use crate::run::Run;
}

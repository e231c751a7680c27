//! A checked flow of a page, ready to run: what the planner makes and the steps are run from.

use std::sync::Arc;

use http::{Method, StatusCode};

use super::expression::Expr;
use super::template::{Shape, Template};
use crate::exposed::Exposed;
use crate::graph::Graph;

/// A flow that can run.
pub(super) struct Plan {
    pub(super) graph: Graph,
    /// In the order of the graph's nodes; the last one makes the answer.
    pub(super) steps: Vec<Step>,
    /// The answer in place of a failure.
    pub(super) on_error: Option<Answer>,
    /// Whether any expression reads the request's body.
    pub(super) reads_body: bool,
}

/// What a step does, and what is done for it when the steps are over.
pub(super) struct Step {
    pub(super) when: Option<Expr>,
    pub(super) work: Work,
    /// Tries beyond the first.
    pub(super) retries: u32,
    /// Its value is not shown to anybody.
    pub(super) sensitive: bool,
    pub(super) undo: Option<Verb>,
    pub(super) cleanup: Option<Verb>,
}

/// How a step comes to its value.
pub(super) enum Work {
    /// By doing one thing.
    One(Verb),
    /// By a join of several; its rules are those of the graph inside the step's node.
    Branches { branches: Vec<Branch>, value: Joined },
    /// By doing one thing for each item of a list.
    Each { list: Box<Expr>, most: u16, optional: bool, verb: Verb },
    /// It is the flow's answer.
    Respond(Answer),
}

/// One of the things that are joined.
pub(super) struct Branch {
    pub(super) verb: Verb,
    pub(super) retries: u32,
}

/// What the values of branches become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Joined {
    /// The value of the one that has one.
    Only,
    /// A list of those there are.
    List,
}

/// One thing to do.
pub(super) enum Verb {
    /// Calls a target; the value is its answer. What several calls of one step send is kept once.
    Call { to: Template, sent: Arc<Sent> },
    /// Calls a step written in Rust; the value is what it gives.
    Step { step: Exposed, args: Vec<(&'static str, Shape)> },
    /// Makes a value.
    Set(Shape),
    /// Runs another flow; the value is its answer.
    Flow { asked: Asked, any_status: bool },
    /// Lets another flow answer.
    Replace(Asked),
    /// Answers at once.
    Answer(Answer),
    /// Ends the flow with a failure; without a message the client reads what the status means.
    Fail { status: Shape, message: Option<Template>, code: Option<&'static str> },
}

/// What a call sends, and which answers it takes.
pub(super) struct Sent {
    pub(super) method: Method,
    pub(super) headers: Vec<(String, Template)>,
    pub(super) json: Option<Shape>,
    pub(super) body: Option<Template>,
    /// The request's own body is sent.
    pub(super) passes: bool,
    pub(super) any_status: bool,
}

/// Another flow, and what it is asked; the flow's own request when nothing is said.
pub(super) struct Asked {
    pub(super) slug: String,
    pub(super) with: Option<With>,
}

/// A request of its own for another flow.
pub(super) struct With {
    pub(super) path: Option<Template>,
    pub(super) params: Vec<(String, Template)>,
    pub(super) query: Vec<(String, Template)>,
    pub(super) headers: Vec<(String, Template)>,
    pub(super) json: Option<Shape>,
}

/// An answer to the request.
pub(super) struct Answer {
    pub(super) status: Status,
    pub(super) headers: Vec<(String, Template)>,
    pub(super) json: Option<Shape>,
    pub(super) text: Option<Template>,
}

/// The status of an answer.
pub(super) enum Status {
    /// What the page says.
    Said(Shape),
    /// 200, or that of the failure it answers for.
    Usual,
}

/// The number of a status; none when HTTP has no such.
pub(super) fn status(number: &serde_json::Value) -> Option<StatusCode> {
    number.as_u64().and_then(|n| u16::try_from(n).ok()).and_then(|code| StatusCode::from_u16(code).ok())
}

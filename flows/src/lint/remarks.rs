//! What is known of a flow beyond its graph: what its page says of single steps, what its routes allow, what to overlook.

use std::time::Duration;

use crate::lint::rule::Rule;

/// What is known of a flow beyond its graph.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Remarks {
    /// Rules whose findings are not wanted.
    pub allow: Vec<Rule>,
    /// The most time that any route to the flow gives it; none when one of them gives it any.
    pub route_timeout: Option<Duration>,
    /// The steps of a page that call one written in Rust, whatever that is called.
    pub in_rust: Vec<String>,
}

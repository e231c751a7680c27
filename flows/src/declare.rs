//! Flows from configuration: YAML steps and CEL expressions become the same graph, run by the same driver.

mod problem;
mod known;
mod document;
mod walk;
mod expression;
mod template;
mod form;
mod keys;
mod plan;
mod planner;
mod remarks;
mod builtin;
mod schema;

use crate::flow::Flow;

pub use document::FlowDoc;
pub use known::Known;
pub use problem::Problem;
pub use remarks::remarks;
pub use schema::schema;

/// Loads a flow from its place in a page of configuration. `known` is what it may name besides its own steps.
///
/// # Errors
/// Everything that is wrong with it, in the order of the page.
pub fn load(doc: &FlowDoc, known: Known<'_>) -> Result<Flow, Vec<Problem>> {
    let plan = planner::plan(doc, known)?;
    Ok(builtin::flow(plan))
}

/// Loads a flow from a YAML text of its own.
///
/// # Errors
/// As [`load`], and when the text is no YAML.
pub fn load_str(yaml: &str, known: Known<'_>) -> Result<Flow, Vec<Problem>> {
    let doc: FlowDoc = serde_saphyr::from_str(yaml).map_err(|error| {
        let place = error.location();
        let text = error.without_snippet().to_string();
        vec![Problem {
            message: text.lines().next().unwrap_or_default().to_owned(),
            help: None,
            line: place.map_or(0, |place| u32::try_from(place.line()).unwrap_or(0)),
            column: place.map_or(0, |place| u32::try_from(place.column()).unwrap_or(0)),
        }]
    })?;
    load(&doc, known)
}

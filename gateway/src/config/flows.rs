//! Flows written in the page: loaded by the flow engine, whose findings become problems of the page.

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize, Serializer};
use zerver_flows::Flow;
use zerver_flows::declare::{self, Known};
use zerver_flows::lint::Remarks;

use super::problem::{Place, Problem};

/// A flow as the page holds it.
#[derive(Clone, Debug, Deserialize)]
#[serde(transparent)]
pub struct FlowPage(declare::FlowDoc);

impl FlowPage {
    /// Its name, where it has one.
    #[must_use]
    pub fn slug(&self) -> Option<&str> {
        self.0.slug()
    }
}

/// A flow is shown by its graph, on a page of its own.
impl Serialize for FlowPage {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("see /flows")
    }
}

impl JsonSchema for FlowPage {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Flow".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        Schema::try_from(declare::schema()).expect("the schema of a flow is an object")
    }
}

/// Checks a flow; `known` is what it may name besides its own steps.
///
/// # Errors
/// Every problem found, in its place in the page.
pub fn load(page: &FlowPage, known: Known<'_>) -> Result<Flow, Vec<Problem>> {
    declare::load(&page.0, known).map_err(|found| found.into_iter().map(problem).collect())
}

/// What the linter asks of the page of the flow with this name; nothing where no page has it.
#[must_use]
pub fn remarks<'p>(pages: impl IntoIterator<Item = &'p FlowPage>, slug: &str) -> Remarks {
    let page = pages.into_iter().find(|page| page.0.slug() == Some(slug));
    page.map(|page| declare::remarks(&page.0)).unwrap_or_default()
}

fn problem(found: declare::Problem) -> Problem {
    let place = (found.line > 0).then(|| Place { line: found.line.into(), column: found.column.into(), len: 1 });
    let circle = || "a step reads only what is written before it: let one of them read something else".to_owned();
    let help = found.help.or_else(|| found.message.starts_with("cycle: ").then(circle));
    Problem { place, message: found.message, help, other: None }
}

//! From a page's flow to a checked plan: every problem is found, and each names its place and what would be right.

use serde_saphyr::{Location, Spanned};

use self::page::{Entry, Planner, Reader, get};
use super::document::{FlowDoc, Tree, place};
use super::keys;
use super::known::Known;
use super::plan::{Plan, Step};
use super::problem::Problem;
use crate::graph::{Graph, GraphError, GraphNode, Head, Later, check_slug};

mod page;
mod edges;
mod forms;
mod call;
mod verb;
mod join;
mod step;
mod allow;

/// Checks a flow.
pub(super) fn plan(doc: &FlowDoc, known: Known<'_>) -> Result<Plan, Vec<Problem>> {
    let mut planner = Planner::new(known);
    let planned = planner.flow(&doc.0);
    match planned {
        Some(plan) if planner.problems.is_empty() => Ok(plan),
        _ => {
            planner.problems.sort_by_key(|problem| (problem.line, problem.column));
            Err(planner.problems)
        }
    }
}

impl Planner<'_> {
    fn flow(&mut self, tree: &Spanned<Tree>) -> Option<Plan> {
        let entries = self.mapping("a flow", tree, Some(&keys::FLOW))?;
        let head = self.head(tree, &entries);
        if let Some(lint) = get(&entries, "lint") {
            self.lint(lint);
        }
        let (mut nodes, mut steps) = (Vec::new(), Vec::new());
        let written = get(&entries, "steps").and_then(|tree| self.mapping("steps", tree, None)).unwrap_or_default();
        let names: Vec<&str> = written.iter().map(|(key, _)| key.value.as_str()).collect();
        for (n, (key, value)) in written.iter().enumerate() {
            let (node, step) = self.step(n, key, value, &names);
            nodes.push(node);
            steps.push(step);
        }
        let on_error = get(&entries, "on_error").map(|tree| self.answer(Reader::OnError, "on_error", tree));
        let Some(respond) = get(&entries, "respond") else {
            let help = Some("respond: { json: { … } }".to_owned());
            self.problem(tree.referenced, "a flow ends with its answer: it needs `respond`", help);
            return None;
        };
        let (node, step) = self.respond(nodes.len(), respond);
        nodes.push(node);
        steps.push(step);

        self.connect(&mut nodes);
        self.check_looks();
        let places: Vec<Location> = written.iter().map(|(key, _)| key.referenced).collect();
        let graph = self.graph(head, nodes, &names, &places, tree.referenced)?;
        let steps: Option<Vec<Step>> = steps.into_iter().collect();
        Some(Plan { graph, steps: steps?, on_error: on_error.flatten(), reads_body: self.reads_body })
    }

    /// What is known of the flow besides its steps.
    fn head(&mut self, tree: &Spanned<Tree>, entries: &[Entry<'_>]) -> Head {
        let (line, _) = place(tree.referenced);
        let mut head = Head { version: 1, line, ..Head::default() };
        match get(entries, "flow") {
            Some(name) => head.slug = self.slug("flow", name).unwrap_or_default().to_owned(),
            None => self.problem(tree.referenced, "a flow needs a name", Some("flow: checkout".to_owned())),
        }
        if let Some(version) = get(entries, "version") {
            match &version.value {
                Tree::Number(n) if n.as_u64().is_some_and(|n| (1..=u64::from(u32::MAX)).contains(&n)) => {
                    head.version = n.as_u64().and_then(|n| u32::try_from(n).ok()).unwrap_or(1);
                }
                _ => self.problem(version.referenced, "version is a whole number from 1", None),
            }
        }
        let mut words = |key: &str| get(entries, key).and_then(|tree| self.text(key, tree).map(str::to_owned));
        head.owner = words("owner");
        head.doc = words("description").unwrap_or_default();
        head.deadline = get(entries, "deadline").and_then(|tree| self.duration("deadline", tree));
        head.optional_within = get(entries, "optional_within").and_then(|tree| self.duration("optional_within", tree));
        if let Some(word) = get(entries, "body") {
            match self.text("body", word) {
                Some("stream") => {
                    head.streams_body = true;
                    self.streams_body = true;
                }
                Some("whole") | None => {}
                Some(other) => {
                    let message = format!("body: `{other}` is neither `whole` nor `stream`");
                    let help = "`whole` is read before the flow runs, `stream` is passed on as it comes (`pass: true`)";
                    self.problem(word.referenced, message, Some(help.to_owned()));
                }
            }
        }
        head.on_error = get(entries, "on_error").map(|_| Later::new("answer"));
        head
    }

    /// The name of a flow.
    fn slug<'d>(&mut self, path: &str, tree: &'d Spanned<Tree>) -> Option<&'d str> {
        let slug = self.text(path, tree)?;
        if let Err(GraphError::Slug { slug, why }) = check_slug(slug) {
            let message = format!("{path}: `{slug}` is no name for a flow");
            self.problem(tree.referenced, message, Some(why.to_owned()));
        }
        Some(slug)
    }

    fn graph(
        &mut self,
        head: Head,
        nodes: Vec<GraphNode>,
        names: &[&str],
        places: &[Location],
        whole: Location,
    ) -> Option<Graph> {
        match Graph::new(head, nodes) {
            Ok(graph) => Some(graph),
            // A bad name, a second writer and an unknown slot were reported before, with their place.
            Err(error) => {
                if let GraphError::Cycle(cycle) = &error {
                    let first = names.iter().position(|name| *name == cycle[0]);
                    let at = first.and_then(|n| places.get(n)).copied().unwrap_or(whole);
                    self.problem(at, error.to_string(), None);
                } else if let GraphError::TooMany { .. } = &error {
                    self.problem(whole, error.to_string(), None);
                }
                None
            }
        }
    }
}

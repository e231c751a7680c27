//! From a page's flow to a checked plan: every problem is found, and each names its place and what would be right.

use std::sync::Arc;
use std::time::Duration;

use cel::Env;
use http::{HeaderName, Method};
use serde_json::Value as Json;
use serde_saphyr::{Location, Spanned};

use super::document::{FlowDoc, Tree, place};
use super::expression::{Expr, Use, language};
use super::problem::Problem;
use super::template::{Shape, Template};
use crate::graph::{Graph, GraphError, GraphNode, Head, check_slug};

mod step;
mod allow;

/// A flow that can run.
pub(super) struct Plan {
    pub(super) graph: Graph,
    /// In the order of the graph's nodes; the last one makes the answer.
    pub(super) steps: Vec<Step>,
    /// Whether any expression reads the request's body.
    pub(super) reads_body: bool,
}

/// What a step does.
pub(super) struct Step {
    pub(super) when: Option<Expr>,
    pub(super) verb: Verb,
}

pub(super) enum Verb {
    /// Calls a target; its slot is the answer.
    Call(Asked),
    /// Makes a value.
    Set(Shape),
    /// Answers the request.
    Respond { status: Option<Shape>, headers: Vec<(String, Template)>, json: Option<Shape>, text: Option<Template> },
}

/// What becomes of several calls of one step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Join {
    /// There is one call; its answer is the value.
    One,
    /// The answers are a list.
    All,
    Race,
    FirstOk,
    Quorum(usize),
    Hedge(Duration),
}

/// The most calls one step may join.
const JOINED_MAX: usize = 16;

/// A call, with templates where its parts depend on slots.
pub(super) struct Asked {
    pub(super) method: Method,
    pub(super) to: Vec<Template>,
    pub(super) join: Join,
    pub(super) headers: Vec<(String, Template)>,
    pub(super) json: Option<Shape>,
    pub(super) body: Option<Template>,
    pub(super) retries: u32,
}

const FLOW_KEYS: [&str; 8] = ["flow", "version", "owner", "deadline", "description", "lint", "steps", "respond"];
const VERBS: [&str; 6] = ["get", "post", "put", "patch", "delete", "set"];
const STEP_KEYS: [&str; 18] = [
    "get", "post", "put", "patch", "delete", "set", "optional", "timeout", "retry", "race", "first_ok", "quorum",
    "hedge", "json", "body", "headers", "when", "after",
];
const RESPOND_KEYS: [&str; 4] = ["status", "headers", "json", "text"];
/// Names that are not for slots: CEL's own words, and what is there without a step.
const RESERVED: [&str; 24] = [
    "request",
    "respond",
    "run",
    "true",
    "false",
    "null",
    "in",
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
    "while",
];

/// A mention of a variable, and where.
struct Mention {
    step: usize,
    name: String,
    how: Use,
    path: String,
    at: Location,
}

type Entry<'d> = (&'d Spanned<String>, &'d Spanned<Tree>);

struct Planner<'t> {
    env: Arc<Env>,
    targets: &'t [&'t str],
    problems: Vec<Problem>,
    mentions: Vec<Mention>,
    reads_body: bool,
}

/// Checks a flow.
pub(super) fn plan(doc: &FlowDoc, targets: &[&str]) -> Result<Plan, Vec<Problem>> {
    let mut planner =
        Planner { env: language(), targets, problems: Vec::new(), mentions: Vec::new(), reads_body: false };
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
    fn problem(&mut self, at: Location, message: impl Into<String>, help: Option<String>) {
        let (line, column) = place(at);
        self.problems.push(Problem { message: message.into(), help, line, column });
    }

    /// The entries of a mapping, its unknown keys reported.
    fn mapping<'d>(&mut self, what: &str, tree: &'d Spanned<Tree>, known: Option<&[&str]>) -> Option<Vec<Entry<'d>>> {
        let Tree::Map(entries) = &tree.value else {
            let help = known.map(|known| format!("its keys are {}", known.join(", ")));
            self.problem(tree.referenced, format!("{what} is a mapping, not {}", tree.value.kind()), help);
            return None;
        };
        for (n, (key, _)) in entries.iter().enumerate() {
            if known.is_some_and(|known| !known.contains(&key.value.as_str())) {
                let help = near(&key.value, known.unwrap_or_default());
                self.problem(key.referenced, format!("{what}: unknown key `{}`", key.value), help);
            }
            if entries[..n].iter().any(|(other, _)| other.value == key.value) {
                self.problem(key.referenced, format!("{what}: `{}` is there twice", key.value), None);
            }
        }
        Some(entries.iter().map(|(key, value)| (key, value)).collect())
    }

    fn text<'d>(&mut self, what: &str, tree: &'d Spanned<Tree>) -> Option<&'d str> {
        match &tree.value {
            Tree::Text(text) => Some(text),
            other => {
                self.problem(tree.referenced, format!("{what} is text, not {}", other.kind()), None);
                None
            }
        }
    }

    fn duration(&mut self, what: &str, tree: &Spanned<Tree>) -> Option<std::time::Duration> {
        let text = match &tree.value {
            Tree::Number(number) => number.to_string(),
            _ => self.text(what, tree)?.to_owned(),
        };
        let read = crate::deadline::parse(&text);
        if read.is_none() {
            let help = Some("write it as `300ms`, `2s` or `1m`".to_owned());
            self.problem(tree.referenced, format!("{what}: `{text}` is no duration"), help);
        }
        read
    }

    /// Compiles one text; its variables are noted as read by `step`.
    fn template(&mut self, step: usize, path: &str, tree: &Spanned<Tree>) -> Option<Template> {
        let text = match &tree.value {
            Tree::Number(number) => number.to_string(),
            Tree::Bool(value) => value.to_string(),
            _ => self.text(path, tree)?.to_owned(),
        };
        match Template::parse(&self.env, &text) {
            Ok(template) => {
                template.exprs().for_each(|expr| self.mention(step, path, tree.referenced, expr));
                Some(template)
            }
            Err(why) => {
                self.problem(tree.referenced, format!("{path}: {why}"), None);
                None
            }
        }
    }

    fn mention(&mut self, step: usize, path: &str, at: Location, expr: &Expr) {
        self.reads_body |= expr.source.contains("body");
        for (name, how) in &expr.reads {
            let mention = Mention { step, name: name.clone(), how: *how, path: path.to_owned(), at };
            self.mentions.push(mention);
        }
    }

    fn shape(&mut self, step: usize, path: &str, tree: &Spanned<Tree>) -> Option<Shape> {
        Some(match &tree.value {
            Tree::Null => Shape::Fixed(Json::Null),
            Tree::Bool(value) => Shape::Fixed(Json::Bool(*value)),
            Tree::Number(number) => Shape::Fixed(Json::Number(number.clone())),
            Tree::Text(_) => Shape::Text(self.template(step, path, tree)?),
            Tree::List(list) => {
                let items = list.iter().enumerate().map(|(n, item)| self.shape(step, &format!("{path}.{n}"), item));
                Shape::List(items.collect::<Vec<_>>().into_iter().collect::<Option<_>>()?)
            }
            Tree::Map(entries) => {
                let mut map = Vec::new();
                for (key, item) in entries {
                    map.push((key.value.clone(), self.shape(step, &format!("{path}.{}", key.value), item)?));
                }
                Shape::Map(map)
            }
        })
    }

    fn headers(&mut self, step: usize, path: &str, tree: &Spanned<Tree>) -> Vec<(String, Template)> {
        let mut headers = Vec::new();
        for (key, value) in self.mapping(path, tree, None).unwrap_or_default() {
            if key.value.parse::<HeaderName>().is_err() {
                self.problem(key.referenced, format!("{path}: HTTP does not allow a header `{}`", key.value), None);
            }
            if let Some(template) = self.template(step, &format!("{path}.{}", key.value), value) {
                headers.push((key.value.clone(), template));
            }
        }
        headers
    }

    fn flow(&mut self, tree: &Spanned<Tree>) -> Option<Plan> {
        let entries = self.mapping("a flow", tree, Some(&FLOW_KEYS))?;
        let get = |name: &str| entries.iter().find(|(key, _)| key.value == name).map(|(_, value)| *value);
        let (line, _) = place(tree.referenced);
        let mut head = Head { version: 1, line, ..Head::default() };
        match get("flow") {
            Some(name) => {
                head.slug = self.text("flow", name).unwrap_or_default().to_owned();
                if let Err(GraphError::Slug { slug, why }) = check_slug(&head.slug) {
                    self.problem(
                        name.referenced,
                        format!("flow: `{slug}` is no name for a flow"),
                        Some(why.to_owned()),
                    );
                }
            }
            None => self.problem(tree.referenced, "a flow needs a name", Some("flow: checkout".to_owned())),
        }
        if let Some(version) = get("version") {
            match &version.value {
                Tree::Number(n) if n.as_u64().is_some_and(|n| (1..=u64::from(u32::MAX)).contains(&n)) => {
                    head.version = n.as_u64().and_then(|n| u32::try_from(n).ok()).unwrap_or(1);
                }
                _ => self.problem(version.referenced, "version is a whole number from 1", None),
            }
        }
        head.owner = get("owner").and_then(|tree| self.text("owner", tree).map(str::to_owned));
        head.doc = get("description").and_then(|tree| self.text("description", tree)).unwrap_or_default().to_owned();
        head.deadline = get("deadline").and_then(|tree| self.duration("deadline", tree));
        if let Some(lint) = get("lint") {
            self.lint(lint);
        }

        let (mut nodes, mut steps) = (Vec::new(), Vec::new());
        let written = get("steps").and_then(|tree| self.mapping("steps", tree, None)).unwrap_or_default();
        let names: Vec<&str> = written.iter().map(|(key, _)| key.value.as_str()).collect();
        for (n, (key, value)) in written.iter().enumerate() {
            let (node, step) = self.step(n, key, value, &names);
            nodes.push(node);
            steps.push(step);
        }
        let Some(respond) = get("respond") else {
            let help = Some("respond: { json: { … } }".to_owned());
            self.problem(tree.referenced, "a flow ends with its answer: it needs `respond`", help);
            return None;
        };
        let (node, step) = self.respond(nodes.len(), respond);
        nodes.push(node);
        steps.push(step);

        self.connect(&mut nodes);
        let places: Vec<Location> = written.iter().map(|(key, _)| key.referenced).collect();
        let graph = match Graph::new(head, nodes) {
            Ok(graph) => graph,
            // A bad name, a second writer and an unknown slot were reported above, with their place.
            Err(error) => {
                if let GraphError::Cycle(names) = &error {
                    let first = written.iter().position(|(key, _)| key.value == names[0]);
                    let at = first.and_then(|n| places.get(n)).copied().unwrap_or(tree.referenced);
                    self.problem(at, error.to_string(), None);
                } else if let GraphError::TooMany { .. } = &error {
                    self.problem(tree.referenced, error.to_string(), None);
                }
                return None;
            }
        };
        let steps: Option<Vec<Step>> = steps.into_iter().collect();
        Some(Plan { graph, steps: steps?, reads_body: self.reads_body })
    }

    /// Turns mentions into reads; refuses those of nothing, and careless ones of what may be missing.
    fn connect(&mut self, nodes: &mut [GraphNode]) {
        let names: Vec<String> = nodes.iter().filter(|n| &*n.name != "respond").map(|n| n.name.to_string()).collect();
        for mention in std::mem::take(&mut self.mentions) {
            let Mention { step, name, how, path, at } = mention;
            if name == "request" {
                continue;
            }
            let Some(writer) = names.iter().position(|known| *known == name) else {
                let known: Vec<&str> = names.iter().map(String::as_str).chain(["request"]).collect();
                self.problem(at, format!("{path} reads `{name}`, but no step has that name"), near(&name, &known));
                continue;
            };
            if how == Use::Plain && nodes[writer].may_be_missing() {
                let why = if nodes[writer].optional { "is optional" } else { "has a condition" };
                let message = format!("{path} reads `{name}` as if it were always there, but it {why}");
                let help = format!("write `{name}.?field.orValue(…)`, `has({name}.field)` or `{name}.hasValue()`");
                self.problem(at, message, Some(help));
            }
            if !nodes[step].reads.contains(&name) {
                nodes[step].reads.push(name);
            }
        }
    }
}

/// "Did you mean" for the nearest of `known`, when one is near.
fn near(word: &str, known: &[&str]) -> Option<String> {
    let distance = |k: &&str| strsim::damerau_levenshtein(word, k);
    let nearest = known.iter().copied().min_by_key(distance)?;
    (distance(&nearest) <= 1 + nearest.len() / 4).then(|| format!("did you mean `{nearest}`?"))
}

//! From a page's flow to a checked plan: every problem is found, and each names its place and what would be right.

use std::sync::Arc;
use std::time::Duration;

use cel::Env;
use http::{HeaderName, Method};
use serde_json::Value as Json;
use serde_saphyr::{Location, Spanned};

use super::Problem;
use super::document::{FlowDoc, Tree, place};
use super::expression::{Expr, Use, language};
use super::template::{Shape, Template};
use crate::graph::{Graph, GraphError, GraphNode, Head, check_slug};
use crate::policy::RETRIES_MAX;

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

const FLOW_KEYS: [&str; 7] = ["flow", "version", "owner", "deadline", "description", "steps", "respond"];
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

    fn step(
        &mut self,
        n: usize,
        key: &Spanned<String>,
        tree: &Spanned<Tree>,
        names: &[&str],
    ) -> (GraphNode, Option<Step>) {
        let name = key.value.as_str();
        let path = format!("steps.{name}");
        let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if !name.starts_with(|c: char| c.is_ascii_alphabetic()) || !name.chars().all(word) || RESERVED.contains(&name) {
            let help = Some("a step's name is letters, digits and `_`, and no word of the language".to_owned());
            self.problem(key.referenced, format!("{path}: `{name}` is no name for a step"), help);
        }
        let mut node = GraphNode { line: place(key.referenced).0, ..GraphNode::new(name, "") };
        let Some(entries) = self.mapping(&path, tree, Some(&STEP_KEYS)) else {
            return (node, None);
        };
        let get = |name: &str| entries.iter().find(|(key, _)| key.value == name).map(|(_, value)| *value);
        match get("optional").map(|tree| (&tree.value, tree.referenced)) {
            Some((Tree::Bool(optional), _)) => node.optional = *optional,
            Some((_, at)) => self.problem(at, format!("{path}.optional is true or false"), None),
            None => {}
        }
        node.timeout = get("timeout").and_then(|tree| self.duration(&format!("{path}.timeout"), tree));
        match get("retry").map(|tree| (&tree.value, tree.referenced)) {
            Some((Tree::Number(more), at)) => match more.as_u64().and_then(|more| u32::try_from(more).ok()) {
                Some(more @ 1..=RETRIES_MAX) => node.retries = more,
                _ => {
                    let message = format!("{path}.retry: a step may be tried again 1 to {RETRIES_MAX} times");
                    self.problem(at, message, None);
                }
            },
            Some((_, at)) => self.problem(at, format!("{path}.retry is a number"), Some("retry: 2".to_owned())),
            None => {}
        }
        let when = get("when").and_then(|tree| self.condition(n, &format!("{path}.when"), tree));
        node.conditional = get("when").is_some();
        if let Some(after) = get("after") {
            self.after(&path, after, names, &mut node);
        }
        let verbs: Vec<&Entry<'_>> = entries.iter().filter(|(key, _)| VERBS.contains(&key.value.as_str())).collect();
        let (verb, value) = match verbs[..] {
            [(verb, value)] => (verb.value.as_str(), *value),
            [] => {
                let help = Some(format!("one of {}", VERBS.join(", ")));
                self.problem(key.referenced, format!("{path} says nothing to do"), help);
                return (node, None);
            }
            [_, (second, _), ..] => {
                let help = Some("make two steps of it".to_owned());
                self.problem(second.referenced, format!("{path} does two things"), help);
                return (node, None);
            }
        };
        verb.clone_into(&mut node.step);
        let place = format!("{path}.{verb}");
        let verb = if verb == "set" {
            for key in ["json", "body", "headers", "retry", "race", "first_ok", "quorum", "hedge"] {
                if let Some(extra) = get(key) {
                    self.problem(extra.referenced, format!("{path}.{key} has no meaning beside `set`"), None);
                }
            }
            self.shape(n, &place, value).map(Verb::Set)
        } else {
            let to = self.targets_of(n, &place, value, &mut node);
            let join = self.join(&path, verb, value, &entries);
            if let (Some(_), Some(body)) = (get("json"), get("body")) {
                self.problem(body.referenced, format!("{path} sends `json` or `body`, not both"), None);
            }
            let headers = get("headers").map(|tree| self.headers(n, &format!("{path}.headers"), tree));
            let json = get("json").map(|tree| self.shape(n, &format!("{path}.json"), tree));
            let body = get("body").map(|tree| self.template(n, &format!("{path}.body"), tree));
            let method = Method::from_bytes(verb.to_ascii_uppercase().as_bytes()).unwrap_or_default();
            to.map(|to| Asked {
                join,
                method,
                to,
                headers: headers.unwrap_or_default(),
                json: json.flatten(),
                body: body.flatten(),
                retries: node.retries,
            })
            .map(Verb::Call)
        };
        (node, verb.map(|verb| Step { when, verb }))
    }

    /// One target, or a list of them.
    fn targets_of(
        &mut self,
        n: usize,
        path: &str,
        tree: &Spanned<Tree>,
        node: &mut GraphNode,
    ) -> Option<Vec<Template>> {
        let list: Vec<(String, &Spanned<Tree>)> = match &tree.value {
            Tree::List(list) => list.iter().enumerate().map(|(at, item)| (format!("{path}.{at}"), item)).collect(),
            _ => vec![(path.to_owned(), tree)],
        };
        if list.is_empty() || list.len() > JOINED_MAX {
            self.problem(tree.referenced, format!("{path}: a step joins 1 to {JOINED_MAX} calls"), None);
        }
        let mut templates = Vec::new();
        for (path, item) in list {
            let to = self.template(n, &path, item)?;
            self.target(&path, item.referenced, &to, node);
            templates.push(to);
        }
        Some(templates)
    }

    /// What becomes of the answers, by the one modifier that says so.
    fn join(&mut self, path: &str, verb: &str, calls: &Spanned<Tree>, entries: &[Entry<'_>]) -> Join {
        let count = match &calls.value {
            Tree::List(list) => Some(list.len()),
            _ => None,
        };
        let mut join = if count.is_some() { Join::All } else { Join::One };
        let mut said = 0;
        for (key, value) in entries {
            let name = key.value.as_str();
            let path = format!("{path}.{name}");
            let at = value.referenced;
            join = match (name, &value.value) {
                ("race", Tree::Bool(true)) => Join::Race,
                ("first_ok", Tree::Bool(true)) => Join::FirstOk,
                ("quorum", Tree::Number(needed)) => {
                    let needed = needed.as_u64().and_then(|n| usize::try_from(n).ok()).unwrap_or(0);
                    if needed == 0 || needed > count.unwrap_or(0) {
                        self.problem(at, format!("{path} is a number from 1 to that of the calls"), None);
                    }
                    Join::Quorum(needed)
                }
                ("hedge", _) => Join::Hedge(self.duration(&path, value).unwrap_or_default()),
                ("race" | "first_ok", Tree::Bool(false)) => continue,
                ("race" | "first_ok" | "quorum", other) => {
                    self.problem(at, format!("{path} cannot be {}", other.kind()), None);
                    continue;
                }
                _ => continue,
            };
            said += 1;
            if said > 1 {
                self.problem(key.referenced, format!("{path}: a step joins its calls in one way"), None);
            }
            if count.is_none() {
                let help = Some(format!("{verb}: [\"a:/…\", \"b:/…\"]"));
                self.problem(key.referenced, format!("{path} joins several calls, and there is one"), help);
            }
            if name == "hedge" && verb != "get" {
                let help = Some("a hedged write may happen twice".to_owned());
                self.problem(key.referenced, format!("{path} is for `get` only"), help);
            }
        }
        join
    }

    /// `when` takes a bare expression, or one in `${ }`.
    fn condition(&mut self, step: usize, path: &str, tree: &Spanned<Tree>) -> Option<Expr> {
        if let Tree::Bool(value) = &tree.value {
            return Expr::compile(&self.env, &value.to_string()).ok();
        }
        let text = self.text(path, tree)?.trim();
        let source = text.strip_prefix("${").and_then(|text| text.strip_suffix('}')).unwrap_or(text).trim();
        match Expr::compile(&self.env, source) {
            Ok(expr) => {
                self.mention(step, path, tree.referenced, &expr);
                Some(expr)
            }
            Err(why) => {
                self.problem(tree.referenced, format!("{path}: `{source}` {why}"), None);
                None
            }
        }
    }

    fn after(&mut self, path: &str, tree: &Spanned<Tree>, names: &[&str], node: &mut GraphNode) {
        let Tree::List(list) = &tree.value else {
            self.problem(tree.referenced, format!("{path}.after is a list of steps"), Some("after: [cart]".to_owned()));
            return;
        };
        for item in list {
            let Some(name) = self.text(&format!("{path}.after"), item) else { continue };
            if names.contains(&name) {
                node.after.push(name.to_owned());
            } else {
                self.problem(item.referenced, format!("{path}.after: no step is called `{name}`"), near(name, names));
            }
        }
    }

    /// A call goes to a target whose name is written out, so that it can be checked here.
    fn target(&mut self, path: &str, at: Location, to: &Template, node: &mut GraphNode) {
        let beginning = to.beginning();
        match beginning.split_once(':') {
            Some((target, rest)) if rest.starts_with('/') && !rest.starts_with("//") => {
                if !self.targets.contains(&target) {
                    let help = near(target, self.targets);
                    let help = help.or_else(|| Some(format!("declare an upstream `{target}`")));
                    self.problem(at, format!("{path}: no upstream is called `{target}`"), help);
                }
                if !node.targets.iter().any(|known| known == target) {
                    node.targets.push(target.to_owned());
                }
            }
            _ => {
                let help = Some("a call goes to `target:/path`, where the target is an upstream's name".to_owned());
                self.problem(at, format!("{path}: `{beginning}…` names no target"), help);
            }
        }
    }

    fn respond(&mut self, n: usize, tree: &Spanned<Tree>) -> (GraphNode, Option<Step>) {
        let node = GraphNode { line: place(tree.referenced).0, ..GraphNode::new("respond", "respond") };
        let Some(entries) = self.mapping("respond", tree, Some(&RESPOND_KEYS)) else {
            return (node, None);
        };
        let get = |name: &str| entries.iter().find(|(key, _)| key.value == name).map(|(_, value)| *value);
        if let (Some(_), Some(text)) = (get("json"), get("text")) {
            self.problem(text.referenced, "respond sends `json` or `text`, not both", None);
        }
        let status = get("status").map(|tree| self.shape(n, "respond.status", tree));
        let headers = get("headers").map(|tree| self.headers(n, "respond.headers", tree));
        let json = get("json").map(|tree| self.shape(n, "respond.json", tree));
        let text = get("text").map(|tree| self.template(n, "respond.text", tree));
        let verb = Verb::Respond {
            status: status.flatten(),
            headers: headers.unwrap_or_default(),
            json: json.flatten(),
            text: text.flatten(),
        };
        (node, Some(Step { when: None, verb }))
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

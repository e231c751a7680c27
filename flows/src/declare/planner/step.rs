//! One step of a page: its verb, its modifiers and its targets, and the answer at the end.

use http::Method;
use serde_saphyr::{Location, Spanned};

use super::{Asked, Entry, JOINED_MAX, Join, Planner, RESERVED, RESPOND_KEYS, STEP_KEYS, Step, VERBS, Verb, near};
use crate::declare::document::{Tree, place};
use crate::declare::expression::Expr;
use crate::declare::template::Template;
use crate::graph::GraphNode;
use crate::policy::RETRIES_MAX;

impl Planner<'_> {
    pub(super) fn step(
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

    pub(super) fn respond(&mut self, n: usize, tree: &Spanned<Tree>) -> (GraphNode, Option<Step>) {
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
}

//! Several things in one step: calls that are joined, a fallback, a loop. Each becomes a graph inside the step's node.

use std::sync::Arc;
use std::time::Duration;

use super::call::describe;
use super::page::{Planner, Reader};
use super::step::Written;
use crate::declare::document::Tree;
use crate::declare::keys;
use crate::declare::plan::{Branch, Joined, Verb, Work};
use crate::graph::{Graph, GraphNode, Inside, NODES_MAX};
use crate::join::{Join, Start, Take};

/// How long a hedge by percentile waits until there are measurements.
const UNKNOWN_WAIT: Duration = Duration::from_millis(100);

impl Planner<'_> {
    /// What a step does: one thing, or several by the rules of a join.
    pub(super) fn work(&mut self, written: &Written<'_>, node: &mut GraphNode) -> Option<Work> {
        let join = keys::CALLS.contains(&written.verb).then(|| self.join(written, node.idempotent));
        self.may_be_repeated(written, node);
        self.one_way(written);
        if written.get("each").is_some() {
            return self.each(written, node);
        }
        if let Some(join) = join.filter(|_| written.is_joined()) {
            return self.branches(written, join, node);
        }
        let verb = self.verb(Reader::Step(written.n), written, &mut node.targets);
        match written.get("fallback") {
            None => {
                verb.iter().for_each(|verb| describe(node, verb));
                verb.map(Work::One)
            }
            Some(_) => self.fallback(written, verb?, node),
        }
    }

    /// A step that is tried again as a whole may do again what was done.
    fn may_be_repeated(&mut self, written: &Written<'_>, node: &GraphNode) {
        let several = written.is_joined() || written.get("each").is_some();
        let writes = written.verb == "flow" || several && ["post", "patch"].contains(&written.verb);
        if let Some(retry) = written.get("retry").filter(|_| writes && !node.idempotent) {
            let message = format!("{}: a `{}` may happen more than once", written.at("retry"), written.verb);
            let help = "add `idempotent: true` if that does no harm".to_owned();
            self.problem(retry.referenced, message, Some(help));
        }
    }

    /// A step loops, joins, or has a fallback.
    fn one_way(&mut self, written: &Written<'_>) {
        let path = &written.path;
        let key = |name: &str| written.entries.iter().find(|(key, _)| key.value == name).map(|(key, _)| key.referenced);
        match (key("each"), key("fallback"), written.is_joined()) {
            (Some(each), _, true) => {
                let message = format!("{path}.each: a step loops over a list or joins several calls, not both");
                self.problem(each, message, None);
            }
            (None, Some(fallback), true) => {
                let help = "`first_ok: true` with `sequential: true` tries one call after the other".to_owned();
                self.problem(fallback, format!("{path}.fallback: a join has calls for that"), Some(help));
            }
            (Some(_), Some(fallback), false) => {
                let help = "`optional_items: true` lets items fail".to_owned();
                self.problem(fallback, format!("{path}.fallback has no meaning beside `each`"), Some(help));
            }
            (None, _, _) => {
                for (extra, at) in keys::LOOP.iter().filter_map(|extra| key(extra).map(|at| (extra, at))) {
                    let help = Some("each: \"${cart.items}\"".to_owned());
                    self.problem(at, format!("{path}.{extra} goes with `each`"), help);
                }
            }
            _ => {}
        }
    }

    /// A node inside the step: it has its number, and what the step says of its calls.
    fn inner_node(of: &GraphNode, n: usize, verb: &str) -> GraphNode {
        let (idempotent, priority, line) = (of.idempotent, of.priority, of.line);
        GraphNode { idempotent, priority, line, ..GraphNode::new(&(n + 1).to_string(), verb) }
    }

    /// Calls side by side, or one after the other.
    fn branches(&mut self, written: &Written<'_>, join: Join, node: &mut GraphNode) -> Option<Work> {
        let Tree::List(list) = &written.value.value else { return None };
        let (of, place) = (Reader::Step(written.n), written.at(written.verb));
        if list.is_empty() || list.len() > keys::JOINED_MAX {
            let message = format!("{place}: a step joins 1 to {} calls", keys::JOINED_MAX);
            self.problem(written.value.referenced, message, None);
            return None;
        }
        let sent = self.sent(of, &written.path, written.verb, &written.entries);
        let (mut nodes, mut branches) = (Vec::new(), Vec::new());
        for (n, call) in list.iter().enumerate() {
            let mut inner = Self::inner_node(node, n, written.verb);
            let to = self.target(of, &format!("{place}.{n}"), call, &mut inner.targets)?;
            nodes.push(inner);
            branches.push(Branch { verb: Verb::Call { to, sent: Arc::clone(&sent) }, retries: 0 });
        }
        join.as_str().clone_into(&mut node.step);
        node.inner = Some(inner(join.as_str(), nodes, join, Inside::Branches));
        let value = match join.take {
            Take::All | Take::AllRequired | Take::Quorum(_) => Joined::List,
            Take::First | Take::FirstOk => Joined::Only,
        };
        Some(Work::Branches { branches, value })
    }

    /// The step, and when it has failed what stands in for it: what the step is allowed, that one is allowed.
    fn fallback(&mut self, written: &Written<'_>, first: Verb, node: &mut GraphNode) -> Option<Work> {
        let (path, tree) = (written.at("fallback"), written.get("fallback")?);
        let mut nodes = [Self::inner_node(node, 0, written.verb), Self::inner_node(node, 1, "")];
        let (word, second) = self.inner_verb(Reader::Step(written.n), &path, tree, true, &mut nodes[1].targets)?;
        nodes[0].timeout = node.timeout.take();
        nodes[0].targets = std::mem::take(&mut node.targets);
        nodes[1].step = word;
        describe(&mut nodes[0], &first);
        describe(&mut nodes[1], &second);
        let retries = std::mem::take(&mut node.retries);
        let join = Join { take: Take::FirstOk, start: Start::OneByOne };
        "fallback".clone_into(&mut node.step);
        node.inner = Some(inner(join.as_str(), nodes.into(), join, Inside::Branches));
        let branches = vec![Branch { verb: first, retries }, Branch { verb: second, retries: 0 }];
        Some(Work::Branches { branches, value: Joined::Only })
    }

    /// One thing for each item of a list.
    fn each(&mut self, written: &Written<'_>, node: &mut GraphNode) -> Option<Work> {
        let each = written.get("each")?;
        let list = self.expression(Reader::Step(written.n), &written.at("each"), each);
        let bound = |planner: &mut Self, key: &str| {
            written.get(key).map(|tree| planner.number(&written.at(key), tree, 1, NODES_MAX as u16))
        };
        let most = bound(self, "max");
        if most.is_none() {
            let help = Some("max: 20".to_owned());
            let message = format!("{} says how many items it takes at most", written.at("each"));
            self.problem(each.referenced, message, help);
        }
        let parallel = bound(self, "parallel").flatten();
        let optional = self.flag(&written.path, &written.entries, "optional_items");
        let mut item = GraphNode { optional, ..Self::inner_node(node, 0, written.verb) };
        let verb =
            if written.is_joined() { None } else { self.verb(Reader::Item(written.n), written, &mut item.targets) };
        verb.iter().for_each(|verb| describe(&mut item, verb));
        let most = most.flatten()?;
        let nodes = (1..=most).map(|n| GraphNode { name: n.to_string().into(), ..item.clone() }).collect();
        let join = Join { take: Take::All, start: Start::AtMost(parallel.unwrap_or(most)) };
        "each".clone_into(&mut node.step);
        node.inner = Some(inner("each", nodes, join, Inside::Items));
        Some(Work::Each { list: Box::new(list?), most, optional, verb: verb? })
    }

    /// What becomes of the answers, and when each call begins.
    fn join(&mut self, written: &Written<'_>, idempotent: bool) -> Join {
        let count = match &written.value.value {
            Tree::List(list) => Some(u16::try_from(list.len()).unwrap_or(u16::MAX)),
            _ => None,
        };
        let mut join = Join::ALL;
        let mut said = Vec::new();
        for (key, value) in written.entries.iter().filter(|(key, _)| keys::JOINS.contains(&key.value.as_str())) {
            let (name, path, at) = (key.value.as_str(), written.at(&key.value), value.referenced);
            match (name, &value.value) {
                ("race" | "first_ok" | "sequential", Tree::Bool(false)) => continue,
                ("race", Tree::Bool(true)) => join.take = Take::First,
                ("first_ok", Tree::Bool(true)) => join.take = Take::FirstOk,
                ("sequential", Tree::Bool(true)) => join.start = Start::OneByOne,
                ("quorum" | "at_most", Tree::Number(number)) => {
                    let number = number.as_u64().and_then(|n| u16::try_from(n).ok()).unwrap_or(0);
                    if number == 0 || count.is_some_and(|count| number > count) {
                        self.problem(at, format!("{path} is a number from 1 to that of the calls"), None);
                    } else if name == "quorum" {
                        join.take = Take::Quorum(number);
                    } else {
                        join.start = Start::AtMost(number);
                    }
                }
                ("hedge", _) => {
                    join.take = Take::FirstOk;
                    join.start = self.hedge(&path, value);
                }
                (_, other) => {
                    self.problem(at, format!("{path} cannot be {}", other.kind()), None);
                    continue;
                }
            }
            let how = |name: &str| if ["sequential", "at_most"].contains(&name) { "starts" } else { "joins" };
            let hedged = said.contains(&"hedge") || name == "hedge" && said.iter().any(|other| how(other) == "starts");
            if hedged || said.iter().any(|other| how(other) == how(name)) {
                self.problem(key.referenced, format!("{path}: a step {} its calls in one way", how(name)), None);
            }
            said.push(name);
            if count.is_none() {
                let help = Some(format!("{}: [\"a:/…\", \"b:/…\"]", written.verb));
                self.problem(key.referenced, format!("{path} joins several calls, and there is one"), help);
            }
        }
        let one_at_a_time = join.start == Start::OneByOne;
        if let Some(name) = said.first().filter(|_| join.take != Take::All && !one_at_a_time)
            && written.verb != "get"
            && !idempotent
        {
            let at = written.entries.iter().find(|(key, _)| key.value == *name).map(|(key, _)| key.referenced);
            let message = format!("{}: a `{}` may happen more than once", written.at(name), written.verb);
            let help = "add `idempotent: true` if that does no harm".to_owned();
            self.problem(at.unwrap_or(written.value.referenced), message, Some(help));
        }
        join
    }

    /// `80ms`, `p95`, `p95 or 80ms`.
    fn hedge(&mut self, path: &str, tree: &serde_saphyr::Spanned<Tree>) -> Start {
        let text = match &tree.value {
            Tree::Text(text) => text.trim().to_owned(),
            Tree::Number(number) => number.to_string(),
            other => other.kind().to_owned(),
        };
        delay(&text).unwrap_or_else(|| {
            let help =
                Some("write how long a call has before the next one helps: `80ms`, `p95` or `p95 or 80ms`".into());
            self.problem(tree.referenced, format!("{path}: `{text}` is no time to wait"), help);
            Start::After(UNKNOWN_WAIT)
        })
    }
}

fn delay(text: &str) -> Option<Start> {
    let Some(percentile) = text.strip_prefix('p') else {
        return crate::deadline::parse(text).map(Start::After);
    };
    let (percent, unknown) = match percentile.split_once(" or ") {
        Some((percent, unknown)) => (percent, crate::deadline::parse(unknown)?),
        None => (percentile, UNKNOWN_WAIT),
    };
    let percent = percent.trim().parse().ok().filter(|percent| (1..=99).contains(percent))?;
    Some(Start::AfterPercentile(percent, unknown))
}

fn inner(name: &str, nodes: Vec<GraphNode>, join: Join, inside: Inside) -> Arc<Graph> {
    let graph = Graph::inner(name, nodes, join, inside);
    Arc::new(graph.expect("branches are named by their number, wait for nobody, and are not too many"))
}

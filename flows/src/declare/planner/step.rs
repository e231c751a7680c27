//! One step of a page: its name, its verb, and what its modifiers say of it; and the answer at the end.

use serde_saphyr::Spanned;

use super::page::{Entry, Planner, Reader, get, near, near_or_all};
use crate::adapter::Priority;
use crate::declare::document::{Tree, place};
use crate::declare::keys;
use crate::declare::plan::{Step, Verb, Work};
use crate::graph::{GraphNode, Later};
use crate::policy::RETRIES_MAX;

/// A step as the page has it.
pub(super) struct Written<'d> {
    /// Its place among the steps.
    pub(super) n: usize,
    /// `steps.price`.
    pub(super) path: String,
    /// What it does.
    pub(super) verb: &'d str,
    /// What it does that to.
    pub(super) value: &'d Spanned<Tree>,
    pub(super) entries: Vec<Entry<'d>>,
}

impl<'d> Written<'d> {
    /// The path of one of its keys.
    pub(super) fn at(&self, key: &str) -> String {
        format!("{}.{key}", self.path)
    }

    pub(super) fn get(&self, key: &str) -> Option<&'d Spanned<Tree>> {
        get(&self.entries, key)
    }

    /// Whether its verb has a list of calls.
    pub(super) fn is_joined(&self) -> bool {
        keys::CALLS.contains(&self.verb) && matches!(self.value.value, Tree::List(_))
    }
}

/// What is done afterwards, as the graph has it.
fn later((word, verb): &(String, Verb)) -> Later {
    match verb {
        Verb::Step { step, .. } => Later { timeout: step.timeout(), ..Later::new(word) },
        _ => Later::new(word),
    }
}

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
        let sound = name.starts_with(|c: char| c.is_ascii_alphabetic()) && name.chars().all(word);
        if !sound || keys::RESERVED.contains(&name) {
            let help = Some("a step's name is letters, digits and `_`, and no word of the language".to_owned());
            self.problem(key.referenced, format!("{path}: `{name}` is no name for a step"), help);
        }
        let mut node = GraphNode { line: place(key.referenced).0, ..GraphNode::new(name, "") };
        let Some(entries) = self.mapping(&path, tree, Some(&keys::step())) else {
            return (node, None);
        };
        let verbs: Vec<Entry<'_>> =
            entries.iter().filter(|(key, _)| keys::VERBS.contains(&key.value.as_str())).copied().collect();
        let (verb, value) = match verbs[..] {
            [(verb, value)] => (verb.value.as_str(), value),
            [] => {
                let help = Some(format!("one of {}", keys::VERBS.join(", ")));
                self.problem(key.referenced, format!("{path} says nothing to do"), help);
                ("", tree)
            }
            [_, (second, _), ..] => {
                let help = Some("make two steps of it".to_owned());
                self.problem(second.referenced, format!("{path} does two things"), help);
                ("", tree)
            }
        };
        verb.clone_into(&mut node.step);
        let written = Written { n, path, verb, value, entries };
        self.modifiers(&written, names, &mut node);
        let when = written.get("when").and_then(|tree| self.expression(Reader::Step(n), &written.at("when"), tree));
        if verb.is_empty() {
            return (node, None);
        }
        self.beside_the_verb(&written, key);
        if keys::ENDS.contains(&written.verb) {
            self.ends.push(n);
        }
        let work = self.work(&written, &mut node);
        if let Some(work) = &work {
            self.holds(&written, name, work);
        }
        let of = Reader::Afterwards(n);
        let mut afterwards = |key: &str, node: &mut GraphNode| {
            let tree = written.get(key)?;
            self.inner_verb(of, &written.at(key), tree, false, &mut node.targets)
        };
        let (undo, cleanup) = (afterwards("undo", &mut node), afterwards("cleanup", &mut node));
        node.undo = undo.as_ref().map(later);
        node.cleanup = cleanup.as_ref().map(later);
        let (undo, cleanup) = (undo.map(|(_, verb)| verb), cleanup.map(|(_, verb)| verb));
        let retries = node.retries;
        let sensitive = self.flag(&written.path, &written.entries, "sensitive");
        (node, work.map(|work| Step { when, work, retries, sensitive, undo, cleanup }))
    }

    /// What modifiers say of any step.
    fn modifiers(&mut self, written: &Written<'_>, names: &[&str], node: &mut GraphNode) {
        let Written { path, entries, .. } = written;
        node.optional = self.flag(path, entries, "optional");
        node.idempotent = self.flag(path, entries, "idempotent");
        node.conditional = written.get("when").is_some();
        node.timeout = written.get("timeout").and_then(|tree| self.duration(&written.at("timeout"), tree));
        node.priority = written.get("priority").and_then(|tree| self.priority(&written.at("priority"), tree));
        match written.get("retry").map(|tree| (&tree.value, tree.referenced)) {
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
        if let Some(after) = written.get("after") {
            self.after(path, after, names, node);
        }
    }

    fn priority(&mut self, path: &str, tree: &Spanned<Tree>) -> Option<Priority> {
        match self.text(path, tree)? {
            "interactive" => Some(Priority::Interactive),
            "batch" => Some(Priority::Batch),
            "critical" => Some(Priority::Critical),
            other => {
                let help = near_or_all(other, &keys::PRIORITIES);
                self.problem(tree.referenced, format!("{path}: `{other}` is no priority"), help);
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

    /// Refuses modifiers that say nothing beside the step's verb, and a step that would end every run.
    fn beside_the_verb(&mut self, written: &Written<'_>, name: &Spanned<String>) {
        let Written { path, verb, entries, .. } = written;
        for (key, _) in entries.iter().filter(|(key, _)| keys::MODIFIERS.contains(&key.value.as_str())) {
            if !keys::goes_with(verb, &key.value) {
                let sent = ["flow", "replace"].contains(verb) && keys::WITH.contains(&key.value.as_str());
                let there: Vec<&str> =
                    keys::MODIFIERS.into_iter().filter(|known| keys::goes_with(verb, known)).collect();
                let help = if sent { format!("with: {{ {}: … }}", key.value) } else { there.join(", ") };
                let help = if sent { help } else { format!("beside it there are {help}") };
                self.problem(
                    key.referenced,
                    format!("{path}.{} has no meaning beside `{verb}`", key.value),
                    Some(help),
                );
            }
        }
        if keys::ENDS.contains(verb) && written.get("when").is_none() {
            let help = "say when it does: `when: request.query.cart == ''`".to_owned();
            self.problem(name.referenced, format!("{path}: `{verb}` would end every run"), Some(help));
        }
    }

    pub(super) fn respond(&mut self, n: usize, tree: &Spanned<Tree>) -> (GraphNode, Option<Step>) {
        let node = GraphNode { line: place(tree.referenced).0, ..GraphNode::new("respond", "respond") };
        let answer = self.answer(Reader::Step(n), "respond", tree);
        let step = |answer| Step {
            when: None,
            work: Work::Respond(answer),
            retries: 0,
            sensitive: false,
            undo: None,
            cleanup: None,
        };
        (node, answer.map(step))
    }
}

//! What a step does, as the page says it: calls and their targets, values, other flows, answers, failures.

use std::sync::Arc;

use http::Method;
use serde_saphyr::{Location, Spanned};

use super::page::{Entry, Planner, Reader, get, near};
use super::step::Written;
use crate::declare::document::Tree;
use crate::declare::keys;
use crate::declare::plan::{Answer, Asked, Sent, Status, Verb, With, status};
use crate::declare::template::{Shape, Template};

/// The most bytes of a failure's code.
const CODE_MAX: usize = 64;

impl Planner<'_> {
    /// The one thing a step does, or does for each item. The targets of its calls are noted in `targets`.
    pub(super) fn verb(&mut self, of: Reader, written: &Written<'_>, targets: &mut Vec<String>) -> Option<Verb> {
        let (path, value) = (written.at(written.verb), written.value);
        match written.verb {
            "set" => self.shape(of, &path, value).map(Verb::Set),
            "call" => self.exposed(of, &written.path, value, &written.entries, targets),
            "flow" => {
                let any_status = self.any_status(&written.path, &written.entries);
                self.asked(of, written).map(|asked| Verb::Flow { asked, any_status })
            }
            "replace" => self.asked(of, written).map(Verb::Replace),
            "answer" => self.answer(of, &path, value).map(Verb::Answer),
            "fail" => self.fail(of, &path, value),
            call => {
                let sent = self.sent(of, &written.path, call, &written.entries);
                self.target(of, &path, value, targets).map(|to| Verb::Call { to, sent })
            }
        }
    }

    /// A call, or with `set` a value, that stands inside a step: its undo, its cleanup, its fallback.
    pub(super) fn inner_verb(
        &mut self,
        of: Reader,
        path: &str,
        tree: &Spanned<Tree>,
        may_set: bool,
        targets: &mut Vec<String>,
    ) -> Option<(String, Verb)> {
        let known: Vec<&str> = keys::CALL.into_iter().chain(may_set.then_some("set")).collect();
        let entries = self.mapping(path, tree, Some(&known))?;
        let is_verb = |key: &str| keys::CALLS.contains(&key) || key == "call" || key == "set" && may_set;
        let verbs: Vec<&Entry<'_>> = entries.iter().filter(|(key, _)| is_verb(&key.value)).collect();
        let [(verb, value)] = verbs[..] else {
            let what = if verbs.is_empty() { "says nothing to do" } else { "does two things" };
            let set = if may_set { ", set" } else { "" };
            let help = format!("one of {}, call{set}", keys::CALLS.join(", "));
            self.problem(tree.referenced, format!("{path} {what}"), Some(help));
            return None;
        };
        let place = format!("{path}.{}", verb.value);
        let beside: &[&str] = match verb.value.as_str() {
            "set" => &[],
            "call" => &["args"],
            _ => &keys::SENT,
        };
        let idle = |key: &str| key != verb.value && !beside.contains(&key) && known.contains(&key);
        for (key, _) in entries.iter().filter(|(key, _)| idle(&key.value)) {
            let message = format!("{path}.{} has no meaning beside `{}`", key.value, verb.value);
            self.problem(key.referenced, message, None);
        }
        match verb.value.as_str() {
            "set" => return self.shape(of, &place, value).map(|shape| (verb.value.clone(), Verb::Set(shape))),
            "call" => {
                let verb = self.exposed(of, path, value, &entries, targets)?;
                let Verb::Step { step, .. } = &verb else { return None };
                return Some((step.name().to_owned(), verb));
            }
            _ => {}
        }
        let sent = self.sent(of, path, &verb.value, &entries);
        let to = self.target(of, &place, value, targets)?;
        Some((verb.value.clone(), Verb::Call { to, sent }))
    }

    /// What a call sends.
    pub(super) fn sent(&mut self, of: Reader, path: &str, verb: &str, entries: &[Entry<'_>]) -> Arc<Sent> {
        let bodies: Vec<_> = ["json", "body", "pass"].into_iter().filter_map(|key| get(entries, key)).collect();
        if let [_, second, ..] = bodies[..] {
            let message = format!("{path} sends one of `json`, `body` and the request's own (`pass`)");
            self.problem(second.referenced, message, None);
        }
        let passes = self.flag(path, entries, "pass");
        let headers = get(entries, "headers").map(|tree| self.headers(of, &format!("{path}.headers"), tree));
        let json = get(entries, "json").and_then(|tree| self.shape(of, &format!("{path}.json"), tree));
        let body = get(entries, "body").and_then(|tree| self.template(of, &format!("{path}.body"), tree));
        let method = Method::from_bytes(verb.to_ascii_uppercase().as_bytes()).unwrap_or_default();
        let any_status = self.any_status(path, entries);
        Arc::new(Sent { method, headers: headers.unwrap_or_default(), json, body, passes, any_status })
    }

    /// `status: any`.
    fn any_status(&mut self, path: &str, entries: &[Entry<'_>]) -> bool {
        let Some(tree) = get(entries, "status") else { return false };
        let any = matches!(&tree.value, Tree::Text(word) if word == "any");
        if !any {
            let help = "without it, an answer of 400 and above fails the step".to_owned();
            self.problem(tree.referenced, format!("{path}.status is `any` or left out"), Some(help));
        }
        any
    }

    /// A call goes to a target whose name is written out, so that it can be checked here.
    pub(super) fn target(
        &mut self,
        of: Reader,
        path: &str,
        tree: &Spanned<Tree>,
        targets: &mut Vec<String>,
    ) -> Option<Template> {
        let to = self.template(of, path, tree)?;
        self.known_target(path, tree.referenced, to.beginning(), targets);
        Some(to)
    }

    fn known_target(&mut self, path: &str, at: Location, beginning: &str, targets: &mut Vec<String>) {
        match beginning.split_once(':') {
            Some((target, rest)) if rest.starts_with('/') && !rest.starts_with("//") => {
                if !self.known.targets.contains(&target) {
                    let help = near(target, self.known.targets);
                    let help = help.or_else(|| Some(format!("declare an upstream `{target}`")));
                    self.problem(at, format!("{path}: no upstream is called `{target}`"), help);
                }
                if !targets.iter().any(|known| known == target) {
                    targets.push(target.to_owned());
                }
            }
            _ => {
                let help = Some("a call goes to `target:/path`, where the target is an upstream's name".to_owned());
                self.problem(at, format!("{path}: `{beginning}…` names no target"), help);
            }
        }
    }

    /// Another flow, and the request it gets.
    fn asked(&mut self, of: Reader, written: &Written<'_>) -> Option<Asked> {
        let path = written.at(written.verb);
        let slug = self.slug(&path, written.value)?.to_owned();
        if let Some(flows) = self.known.flows.filter(|flows| !flows.contains(&&*slug)) {
            let help = near(&slug, flows).or_else(|| Some(format!("add a flow `{slug}` to the page")));
            self.problem(written.value.referenced, format!("{path}: no flow is called `{slug}`"), help);
        }
        let with = get(&written.entries, "with").map(|tree| {
            let path = written.at("with");
            let entries = self.mapping(&path, tree, Some(&keys::WITH))?;
            let mut texts = |key: &str| match get(&entries, key) {
                Some(tree) => self.texts(of, &format!("{path}.{key}"), tree),
                None => Vec::new(),
            };
            let (params, query) = (texts("params"), texts("query"));
            let headers = get(&entries, "headers").map(|tree| self.headers(of, &format!("{path}.headers"), tree));
            let json = get(&entries, "json").and_then(|tree| self.shape(of, &format!("{path}.json"), tree));
            let to = get(&entries, "path").and_then(|tree| {
                let to = self.template(of, &format!("{path}.path"), tree)?;
                if !to.beginning().starts_with('/') {
                    let help = Some("path: \"/carts/${cart.id}\"".to_owned());
                    self.problem(tree.referenced, format!("{path}.path begins with `/`"), help);
                }
                Some(to)
            });
            Some(With { path: to, params, query, headers: headers.unwrap_or_default(), json })
        });
        Some(Asked { slug, with: with.flatten() })
    }

    /// An answer to the request.
    pub(super) fn answer(&mut self, of: Reader, path: &str, tree: &Spanned<Tree>) -> Option<Answer> {
        let entries = self.mapping(path, tree, Some(&keys::ANSWER))?;
        if let (Some(_), Some(text)) = (get(&entries, "json"), get(&entries, "text")) {
            self.problem(text.referenced, format!("{path} sends `json` or `text`, not both"), None);
        }
        let status = get(&entries, "status").and_then(|tree| self.status(of, &format!("{path}.status"), tree, 200));
        let headers = get(&entries, "headers").map(|tree| self.headers(of, &format!("{path}.headers"), tree));
        let json = get(&entries, "json").and_then(|tree| self.shape(of, &format!("{path}.json"), tree));
        let text = get(&entries, "text").and_then(|tree| self.template(of, &format!("{path}.text"), tree));
        let status = status.map_or(Status::Usual, Status::Said);
        Some(Answer { status, headers: headers.unwrap_or_default(), json, text })
    }

    /// A status from `least` on: a number, or an expression that gives one.
    fn status(&mut self, of: Reader, path: &str, tree: &Spanned<Tree>, least: u16) -> Option<Shape> {
        let shape = self.shape(of, path, tree)?;
        let wrong = match &shape {
            Shape::Fixed(number) => status(number).is_none_or(|status| !(least..=599).contains(&status.as_u16())),
            Shape::Text(text) => text.exprs().next().is_none(),
            Shape::List(_) | Shape::Map(_) => true,
        };
        if wrong {
            self.problem(tree.referenced, format!("{path} is a status from {least} to 599"), None);
        }
        Some(shape)
    }

    fn fail(&mut self, of: Reader, path: &str, tree: &Spanned<Tree>) -> Option<Verb> {
        let entries = self.mapping(path, tree, Some(&keys::FAIL))?;
        let message = get(&entries, "message").and_then(|tree| self.template(of, &format!("{path}.message"), tree));
        let code = get(&entries, "code").and_then(|tree| self.code(&format!("{path}.code"), tree));
        let Some(number) = get(&entries, "status") else {
            let help = Some("status: 404".to_owned());
            self.problem(tree.referenced, format!("{path} says no status"), help);
            return None;
        };
        let status = self.status(of, &format!("{path}.status"), number, 400)?;
        Some(Verb::Fail { status, message, code })
    }

    /// The word for a failure that programs and dashboards go by.
    fn code(&mut self, path: &str, tree: &Spanned<Tree>) -> Option<&'static str> {
        let word = self.text(path, tree)?;
        let sound = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
        if word.is_empty() || word.len() > CODE_MAX || !word.bytes().all(sound) {
            let help = Some("code: no_such_cart".to_owned());
            let message = format!("{path} is a word of small letters, digits and `_`, at most {CODE_MAX} of them");
            self.problem(tree.referenced, message, help);
            return None;
        }
        // A code stands in timelines, whose names are kept for ever too; a page brings few, and only when it is loaded.
        Some(Box::leak(word.to_owned().into_boxed_str()))
    }
}

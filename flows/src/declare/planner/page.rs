//! Reading the parts of a page: mappings, texts, numbers, durations, templates; what is wrong is noted with its place.

use std::sync::Arc;
use std::time::Duration;

use cel::Env;
use http::HeaderName;
use serde_json::Value as Json;
use serde_saphyr::{Location, Spanned};

use crate::declare::document::{Tree, place};
use crate::declare::expression::{Expr, Use, language};
use crate::declare::form::Form;
use crate::declare::known::Known;
use crate::declare::problem::Problem;
use crate::declare::template::{Shape, Template};
use crate::declare::walk::Path;

/// A key of a mapping and its value.
pub(super) type Entry<'d> = (&'d Spanned<String>, &'d Spanned<Tree>);

/// The value of a key.
pub(super) fn get<'d>(entries: &[Entry<'d>], name: &str) -> Option<&'d Spanned<Tree>> {
    entries.iter().find(|(key, _)| key.value == name).map(|(_, value)| *value)
}

/// "Did you mean" for the nearest of `known`, when one is near.
pub(super) fn near(word: &str, known: &[&str]) -> Option<String> {
    let distance = |k: &&str| strsim::damerau_levenshtein(word, k);
    let nearest = known.iter().copied().min_by_key(distance)?;
    (distance(&nearest) <= 1 + nearest.len() / 4).then(|| format!("did you mean `{nearest}`?"))
}

/// The same, or the whole list.
pub(super) fn near_or_all(word: &str, known: &[&str]) -> Option<String> {
    near(word, known).or_else(|| Some(format!("one of {}", known.join(", "))))
}

/// Who reads: it decides which variables are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reader {
    /// A step, before or while it does its work.
    Step(usize),
    /// A step that does its work for each `item` of a list.
    Item(usize),
    /// The undo or cleanup of a step.
    Afterwards(usize),
    /// The answer in place of a failure.
    OnError,
}

/// A page being read: what is wrong with it, and who reads what.
pub(super) struct Planner<'t> {
    pub(super) env: Arc<Env>,
    pub(super) known: Known<'t>,
    pub(super) problems: Vec<Problem>,
    pub(super) mentions: Vec<Mention>,
    /// The steps that end the flow, and have no value.
    pub(super) ends: Vec<usize>,
    pub(super) reads_body: bool,
    pub(super) streams_body: bool,
    pub(super) looks: Vec<Look>,
    /// What slots hold.
    pub(super) forms: Vec<(String, Form)>,
    /// What `item` is in the steps that loop.
    pub(super) items: Vec<(usize, Form)>,
}

/// A mention of a variable, and where.
pub(super) struct Mention {
    pub(super) of: Reader,
    pub(super) name: String,
    pub(super) how: Use,
    pub(super) path: String,
    pub(super) at: Location,
}

/// Where an expression looks, and its place.
pub(super) struct Look {
    pub(super) of: Reader,
    pub(super) path: Path,
    pub(super) place: String,
    pub(super) at: Location,
}

impl<'t> Planner<'t> {
    pub(super) fn new(known: Known<'t>) -> Self {
        Self {
            env: language(),
            known,
            problems: Vec::new(),
            mentions: Vec::new(),
            ends: Vec::new(),
            reads_body: false,
            streams_body: false,
            looks: Vec::new(),
            forms: Vec::new(),
            items: Vec::new(),
        }
    }
}

impl Planner<'_> {
    pub(super) fn problem(&mut self, at: Location, message: impl Into<String>, help: Option<String>) {
        let (line, column) = place(at);
        self.problems.push(Problem { message: message.into(), help, line, column });
    }

    /// The entries of a mapping, its unknown keys reported.
    pub(super) fn mapping<'d>(
        &mut self,
        what: &str,
        tree: &'d Spanned<Tree>,
        known: Option<&[&str]>,
    ) -> Option<Vec<Entry<'d>>> {
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

    pub(super) fn text<'d>(&mut self, what: &str, tree: &'d Spanned<Tree>) -> Option<&'d str> {
        match &tree.value {
            Tree::Text(text) => Some(text),
            other => {
                self.problem(tree.referenced, format!("{what} is text, not {}", other.kind()), None);
                None
            }
        }
    }

    /// Yes or no; no when it is not said.
    pub(super) fn flag(&mut self, path: &str, entries: &[Entry<'_>], key: &str) -> bool {
        match get(entries, key).map(|tree| (&tree.value, tree.referenced)) {
            Some((Tree::Bool(flag), _)) => *flag,
            Some((_, at)) => {
                self.problem(at, format!("{path}.{key} is true or false"), None);
                false
            }
            None => false,
        }
    }

    /// A whole number within these bounds.
    pub(super) fn number(&mut self, path: &str, tree: &Spanned<Tree>, least: u16, most: u16) -> Option<u16> {
        let number = match &tree.value {
            Tree::Number(number) => number.as_u64().and_then(|n| u16::try_from(n).ok()),
            _ => None,
        };
        let number = number.filter(|n| (least..=most).contains(n));
        if number.is_none() {
            self.problem(tree.referenced, format!("{path} is a number from {least} to {most}"), None);
        }
        number
    }

    pub(super) fn duration(&mut self, what: &str, tree: &Spanned<Tree>) -> Option<Duration> {
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

    /// Compiles one text; its variables are noted as read by `of`.
    pub(super) fn template(&mut self, of: Reader, path: &str, tree: &Spanned<Tree>) -> Option<Template> {
        let text = match &tree.value {
            Tree::Number(number) => number.to_string(),
            Tree::Bool(value) => value.to_string(),
            _ => self.text(path, tree)?.to_owned(),
        };
        match Template::parse(&self.env, &text) {
            Ok(template) => {
                template.exprs().for_each(|expr| self.mention(of, path, tree.referenced, expr));
                Some(template)
            }
            Err(why) => {
                self.problem(tree.referenced, format!("{path}: {why}"), None);
                None
            }
        }
    }

    /// One expression, bare or in `${ }`.
    pub(super) fn expression(&mut self, of: Reader, path: &str, tree: &Spanned<Tree>) -> Option<Expr> {
        if let Tree::Bool(value) = &tree.value {
            return Expr::compile(&self.env, &value.to_string()).ok();
        }
        let text = self.text(path, tree)?.trim();
        let source = text.strip_prefix("${").and_then(|text| text.strip_suffix('}')).unwrap_or(text).trim();
        match Expr::compile(&self.env, source) {
            Ok(expr) => {
                self.mention(of, path, tree.referenced, &expr);
                Some(expr)
            }
            Err(why) => {
                self.problem(tree.referenced, format!("{path}: `{source}` {why}"), None);
                None
            }
        }
    }

    pub(super) fn shape(&mut self, of: Reader, path: &str, tree: &Spanned<Tree>) -> Option<Shape> {
        Some(match &tree.value {
            Tree::Null => Shape::Fixed(Json::Null),
            Tree::Bool(value) => Shape::Fixed(Json::Bool(*value)),
            Tree::Number(number) => Shape::Fixed(Json::Number(number.clone())),
            Tree::Text(_) => Shape::Text(self.template(of, path, tree)?),
            Tree::List(list) => {
                let items = list.iter().enumerate().map(|(n, item)| self.shape(of, &format!("{path}.{n}"), item));
                Shape::List(items.collect::<Vec<_>>().into_iter().collect::<Option<_>>()?)
            }
            Tree::Map(entries) => {
                let mut map = Vec::new();
                for (key, item) in entries {
                    map.push((key.value.clone(), self.shape(of, &format!("{path}.{}", key.value), item)?));
                }
                Shape::Map(map)
            }
        })
    }

    /// A mapping of names to texts.
    pub(super) fn texts(&mut self, of: Reader, path: &str, tree: &Spanned<Tree>) -> Vec<(String, Template)> {
        let mut texts = Vec::new();
        for (key, value) in self.mapping(path, tree, None).unwrap_or_default() {
            if let Some(template) = self.template(of, &format!("{path}.{}", key.value), value) {
                texts.push((key.value.clone(), template));
            }
        }
        texts
    }

    pub(super) fn headers(&mut self, of: Reader, path: &str, tree: &Spanned<Tree>) -> Vec<(String, Template)> {
        if let Tree::Map(entries) = &tree.value {
            for (key, _) in entries.iter().filter(|(key, _)| key.value.parse::<HeaderName>().is_err()) {
                let message = format!("{path}: HTTP does not allow a header `{}`", key.value);
                self.problem(key.referenced, message, None);
            }
        }
        self.texts(of, path, tree)
    }
}

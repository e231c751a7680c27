//! What slots hold, as far as the page says so, and whether expressions look for what is there.

use serde_saphyr::{Location, Spanned};

use super::page::{Look, Planner, Reader, near};
use super::step::Written;
use crate::declare::document::Tree;
use crate::declare::expression::Expr;
use crate::declare::form::Form;
use crate::declare::keys;
use crate::declare::plan::{Joined, Verb, Work};
use crate::declare::walk::{Part, Path};

/// Slots that are what is in another slot, one after the other: more of them are not followed.
const FOLLOWED_MAX: usize = 16;

impl Planner<'_> {
    /// Notes where an expression looks.
    pub(super) fn look(&mut self, of: Reader, place: &str, at: Location, expr: &Expr) {
        for path in &expr.looks {
            self.looks.push(Look { of, path: path.clone(), place: place.to_owned(), at });
        }
    }

    /// Notes what a step's slot holds.
    pub(super) fn holds(&mut self, written: &Written<'_>, name: &str, work: &Work) {
        let gives = written.get("gives").map_or(Form::Any, |tree| self.gives(&written.at("gives"), tree));
        let one = |verb: &Verb| match verb {
            Verb::Set(shape) => Form::of(shape),
            Verb::Call { sent, .. } if sent.any_status => Form::whole_answer(gives.clone()),
            Verb::Flow { any_status: true, .. } => Form::whole_answer(gives.clone()),
            _ => gives.clone(),
        };
        let form = match work {
            Work::One(verb) => one(verb),
            Work::Branches { branches, value } => {
                let mut forms = branches.iter().map(|branch| one(&branch.verb));
                let first = forms.next().unwrap_or(Form::Any);
                let alike = if forms.all(|form| form == first) { first } else { gives.clone() };
                if *value == Joined::List { Form::list(alike) } else { alike }
            }
            Work::Each { list, verb, .. } => {
                let item = list.whole.clone().map_or(Form::Any, |mut path| {
                    path.parts.push(Part::Item);
                    Form::Like(path)
                });
                self.items.push((written.n, item));
                Form::list(one(verb))
            }
            Work::Respond(_) => Form::Any,
        };
        self.forms.push((name.to_owned(), form));
    }

    /// What the page says that a call gives: a word, a list of one, or a mapping of such.
    fn gives(&mut self, path: &str, tree: &Spanned<Tree>) -> Form {
        let form = match &tree.value {
            Tree::Text(word) => match word.as_str() {
                "text" => Some(Form::Text),
                "number" => Some(Form::Number),
                "bool" => Some(Form::Bool),
                "any" => Some(Form::Any),
                _ => None,
            },
            Tree::List(items) => match &items[..] {
                [item] => Some(Form::list(self.gives(&format!("{path}.0"), item))),
                _ => None,
            },
            Tree::Map(fields) => {
                let field = |(key, value): &(Spanned<String>, Spanned<Tree>)| {
                    (key.value.clone(), self.gives(&format!("{path}.{}", key.value), value))
                };
                Some(Form::Map(fields.iter().map(field).collect()))
            }
            _ => None,
        };
        form.unwrap_or_else(|| {
            let help = match &tree.value {
                Tree::Text(word) => near(word, &keys::FORMS),
                _ => None,
            };
            let all =
                || format!("one of {}, a list of one such, or a mapping of names to such", keys::FORMS.join(", "));
            self.problem(tree.referenced, format!("{path} says what a value is"), help.or_else(|| Some(all())));
            Form::Any
        })
    }

    /// Refuses expressions that look for what is not there.
    pub(super) fn check_looks(&mut self) {
        let mut seen = Vec::new();
        for look in std::mem::take(&mut self.looks) {
            let Look { of, path, place, at } = look;
            if self.streams_body && path.root == "request" && path.parts.first() == Some(&Part::Field("body".into())) {
                let help = "pass it on with `pass: true`, or say `body: whole`".to_owned();
                self.problem(at, format!("{place} reads the request's body, which is a stream here"), Some(help));
                continue;
            }
            let Err((depth, miss)) = self.form_at(of, &path, 0) else { continue };
            let message = format!("{place}: `{}` {}", path.text(depth), miss.what);
            if seen.contains(&(at, message.clone())) {
                continue;
            }
            let fields: Vec<&str> = miss.fields.iter().map(String::as_str).collect();
            let help = match (&path.parts[depth], &fields[..]) {
                (_, []) => None,
                (Part::Field(name), fields) => {
                    near(name, fields).or_else(|| Some(format!("its fields are {}", fields.join(", "))))
                }
                (Part::Item, _) => None,
            };
            seen.push((at, message.clone()));
            self.problem(at, message, help);
        }
    }

    /// What is at a place; or how many of the path's parts there are, and why not the next.
    fn form_at(&self, of: Reader, path: &Path, followed: usize) -> Result<Form, (usize, crate::declare::form::Miss)> {
        let mut form = self.root(of, &path.root, followed);
        for (depth, part) in path.parts.iter().enumerate() {
            form = form.at(part).map_err(|miss| (depth, miss))?;
            form = self.follow(of, form, followed);
        }
        Ok(form)
    }

    fn root(&self, of: Reader, name: &str, followed: usize) -> Form {
        let form = match (name, of) {
            ("request", _) => Form::request(),
            ("fail", Reader::OnError) => Form::failure(),
            ("item", Reader::Item(step)) => {
                let item = self.items.iter().find(|(n, _)| *n == step);
                item.map_or(Form::Any, |(_, form)| form.clone())
            }
            _ => {
                let slot = self.forms.iter().find(|(known, _)| known == name);
                slot.map_or(Form::Any, |(_, form)| form.clone())
            }
        };
        self.follow(of, form, followed)
    }

    /// What another place holds, where a form is like that one.
    fn follow(&self, of: Reader, form: Form, followed: usize) -> Form {
        match form {
            Form::Like(path) if followed < FOLLOWED_MAX => self.form_at(of, &path, followed + 1).unwrap_or(Form::Any),
            Form::Like(_) => Form::Any,
            form => form,
        }
    }
}

//! `call`: a step written in Rust, found by its name, its arguments checked against its parameters.

use serde_saphyr::Spanned;

use super::page::{Entry, Planner, Reader, get, near};
use crate::declare::document::Tree;
use crate::declare::expression::Use;
use crate::declare::plan::Verb;
use crate::declare::template::Shape;
use crate::exposed::{Argument, Exposed, Kind};
use crate::graph::GraphNode;

/// Gives a node what is known of the Rust step that it runs; what the page says of it counts first.
pub(super) fn describe(node: &mut GraphNode, verb: &Verb) {
    let Verb::Step { step, .. } = verb else { return };
    step.name().clone_into(&mut node.step);
    step.doc().clone_into(&mut node.doc);
    node.timeout = node.timeout.or(step.timeout());
    node.idempotent |= step.is_idempotent();
}

/// Whether a value that is written out may be given for an argument of this kind. What holds expressions is a text,
/// unless it is one expression.
fn fits(kind: Kind, tree: &Tree, shape: &Shape) -> bool {
    match (kind, tree) {
        (Kind::Any, _) | (Kind::Text, Tree::Text(_)) | (Kind::Number, Tree::Number(_)) => true,
        (Kind::Bool, Tree::Bool(_)) | (Kind::List, Tree::List(_)) | (Kind::Mapping, Tree::Map(_)) => true,
        _ => matches!(shape, Shape::Text(template) if template.only().is_some()),
    }
}

impl Planner<'_> {
    /// A call of a step written in Rust. `path` is that of the mapping it stands in.
    pub(super) fn exposed(
        &mut self,
        of: Reader,
        path: &str,
        tree: &Spanned<Tree>,
        entries: &[Entry<'_>],
        targets: &mut Vec<String>,
    ) -> Option<Verb> {
        let name = self.text(&format!("{path}.call"), tree)?;
        let Some(step) = self.known.step(name) else {
            let names: Vec<&str> = self.known.steps.iter().map(Exposed::name).collect();
            let add = "Rust steps are added to a gateway of your own: zerver::App::new().step(…)".to_owned();
            let help = near(name, &names).unwrap_or(add);
            self.problem(tree.referenced, format!("{path}.call: no step is called `{name}`"), Some(help));
            return None;
        };
        for target in step.targets() {
            if !self.known.targets.contains(target) {
                let help = Some(format!("declare an upstream `{target}`"));
                let message = format!("{path}.call: `{name}` calls `{target}`, but no upstream has that name");
                self.problem(tree.referenced, message, help);
            }
            if !targets.iter().any(|known| known == target) {
                targets.push((*target).to_owned());
            }
        }
        let args = self.args(of, path, &step, tree, get(entries, "args"))?;
        Some(Verb::Step { step, args })
    }

    fn args(
        &mut self,
        of: Reader,
        path: &str,
        step: &Exposed,
        call: &Spanned<Tree>,
        tree: Option<&Spanned<Tree>>,
    ) -> Option<Vec<(&'static str, Shape)>> {
        let place = format!("{path}.args");
        let entries = match tree {
            Some(tree) => self.mapping(&place, tree, None)?,
            None => Vec::new(),
        };
        let names: Vec<&str> = step.arguments().iter().map(|argument| argument.name).collect();
        let mut args = Vec::new();
        for (key, value) in &entries {
            match step.arguments().iter().find(|argument| argument.name == key.value) {
                Some(argument) => {
                    let shape = self.argument(of, &format!("{place}.{}", key.value), argument, value);
                    args.extend(shape.map(|shape| (argument.name, shape)));
                }
                None => {
                    let takes = match &names[..] {
                        [] => "it takes none".to_owned(),
                        names => format!("it takes {}", names.join(", ")),
                    };
                    let help = near(&key.value, &names).unwrap_or(takes);
                    let message = format!("{place}: `{}` takes no argument `{}`", step.name(), key.value);
                    self.problem(key.referenced, message, Some(help));
                }
            }
        }
        let at = tree.unwrap_or(call).referenced;
        for argument in step.arguments().iter().filter(|argument| !argument.is_optional) {
            if get(&entries, argument.name).is_none() {
                let Argument { name, kind, .. } = argument;
                let help = match kind {
                    Kind::Any => format!("args: {{ {name}: … }}"),
                    kind => format!("args: {{ {name}: … }}, which is {}", kind.as_str()),
                };
                self.problem(at, format!("{path}: `{}` needs the argument `{name}`", step.name()), Some(help));
            }
        }
        Some(args)
    }

    /// One argument. Written out, it is of the kind that the step takes, and is what the step's type can be made of.
    fn argument(&mut self, of: Reader, path: &str, argument: &Argument, tree: &Spanned<Tree>) -> Option<Shape> {
        let before = self.mentions.len();
        let shape = self.shape(of, path, tree)?;
        if argument.is_optional {
            if matches!(tree.value, Tree::Null) {
                return Some(shape);
            }
            // A slot that may be missing may be handed on as it is.
            if let Shape::Text(template) = &shape {
                let whole = template.only().map(|expr| expr.source.as_str());
                for mention in self.mentions[before..].iter_mut().filter(|mention| whole == Some(&mention.name)) {
                    mention.how = Use::Careful;
                }
            }
        }
        if !fits(argument.kind, &tree.value, &shape) {
            let message = format!("{path} is {}, not {}", argument.kind.as_str(), tree.value.kind());
            self.problem(tree.referenced, message, None);
        } else if let Some(why) = shape.fixed().and_then(|value| (argument.refuses)(&value)) {
            self.problem(tree.referenced, format!("{path} does not fit: {why}"), None);
        }
        Some(shape)
    }
}

//! A walk over an expression's tree: which variables it reads, where in them it looks, and how large it is.

use std::collections::BTreeMap;
use std::fmt;

use cel::common::ast::{EntryExpr, Expr as Ast, IdedExpr, LiteralValue, operators};

/// Names that are no variables but types or namespaces of functions.
const KNOWN: [&str; 15] = [
    "bool",
    "int",
    "uint",
    "double",
    "string",
    "bytes",
    "list",
    "map",
    "null_type",
    "type",
    "optional",
    "math",
    "strings",
    "base64",
    "lists",
];
/// What may be asked of an option, besides `.?field` and `has(option.field)`.
const OF_OPTIONS: [&str; 4] = ["orValue", "or", "hasValue", "value"];

/// How an expression uses a variable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    /// Every use goes through `.?`, `has()` or a default.
    Careful,
    /// Some use takes it for present.
    Plain,
}

/// A place in a variable's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Path {
    /// The variable.
    pub(super) root: String,
    pub(super) parts: Vec<Part>,
}

/// A step into a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// A field of a map.
    Field(String),
    /// An item of a list.
    Item,
}

impl Path {
    fn to(mut self, part: Part) -> Self {
        self.parts.push(part);
        self
    }

    /// It and its first parts, as a person writes them.
    pub(super) fn text(&self, parts: usize) -> String {
        self.parts[..parts].iter().fold(self.root.clone(), |text, part| match part {
            Part::Field(name) => format!("{text}.{name}"),
            Part::Item => format!("{text}[…]"),
        })
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text(self.parts.len()))
    }
}

/// What is known of an expression.
pub(super) struct Walk {
    /// The free variables it reads, with whether each use minds that it may be missing.
    pub(super) reads: BTreeMap<String, Use>,
    /// Where in them it looks, as deep as that is known.
    pub(super) looks: Vec<Path>,
    /// What the whole of it is, when it does nothing but look.
    pub(super) whole: Option<Path>,
    pub(super) nodes: usize,
    /// The deepest nesting of comprehensions.
    pub(super) deepest: usize,
}

/// The variables of the comprehensions around a place, and what they are.
type Bound = Vec<(String, Option<Path>)>;

impl Walk {
    /// Walks over an expression.
    pub(super) fn of(expr: &Ast) -> Self {
        let mut walk = Self { reads: BTreeMap::new(), looks: Vec::new(), whole: None, nodes: 0, deepest: 0 };
        walk.whole = walk.expr(expr, &mut Vec::new(), 0);
        walk.looks.extend(walk.whole.clone());
        walk
    }

    fn read(&mut self, name: &str, bound: &Bound, how: Use) -> Option<Path> {
        let name = name.trim_start_matches('.');
        if let Some((_, path)) = bound.iter().rev().find(|(known, _)| known == name) {
            return path.clone();
        }
        if name.starts_with('@') || KNOWN.contains(&name) {
            return None;
        }
        let uses = self.reads.entry(name.to_owned()).or_insert(how);
        if how == Use::Plain {
            *uses = Use::Plain;
        }
        Some(Path { root: name.to_owned(), parts: Vec::new() })
    }

    /// A place where an option may stand.
    fn careful(&mut self, expr: &IdedExpr, bound: &mut Bound, depth: usize) -> Option<Path> {
        match &expr.expr {
            Ast::Ident(name) => {
                self.nodes += 1;
                self.read(name, bound, Use::Careful)
            }
            _ => self.expr(&expr.expr, bound, depth),
        }
    }

    /// An expression in which nothing looks any deeper.
    fn used(&mut self, expr: &IdedExpr, bound: &mut Bound, depth: usize) {
        let path = self.expr(&expr.expr, bound, depth);
        self.looks.extend(path);
    }

    fn all<'e>(&mut self, list: impl IntoIterator<Item = &'e IdedExpr>, bound: &mut Bound, depth: usize) {
        for expr in list {
            self.used(expr, bound, depth);
        }
    }

    /// Where it looks, when it does nothing else.
    fn expr(&mut self, expr: &Ast, bound: &mut Bound, depth: usize) -> Option<Path> {
        self.nodes += 1;
        match expr {
            Ast::Ident(name) => return self.read(name, bound, Use::Plain),
            Ast::Select(select) if select.test => {
                let path = self.careful(&select.operand, bound, depth);
                self.looks.extend(path.map(|path| path.to(Part::Field(select.field.clone()))));
            }
            Ast::Select(select) => {
                let path = self.expr(&select.operand.expr, bound, depth)?;
                return Some(path.to(Part::Field(select.field.clone())));
            }
            Ast::Call(call) => return self.call(call, bound, depth),
            Ast::Comprehension(c) => {
                self.deepest = self.deepest.max(depth + 1);
                let list = self.expr(&c.iter_range.expr, bound, depth);
                self.looks.extend(list.clone());
                self.used(&c.accu_init, bound, depth);
                let before = bound.len();
                let item = list.map(|list| list.to(Part::Item));
                bound.push((c.accu_var.clone(), None));
                match &c.iter_var2 {
                    None => bound.push((c.iter_var.clone(), item)),
                    Some(second) => bound.extend([(c.iter_var.clone(), None), (second.clone(), item)]),
                }
                self.all([&c.loop_cond, &c.loop_step, &c.result], bound, depth + 1);
                bound.truncate(before);
            }
            Ast::List(list) => self.all(&list.elements, bound, depth),
            Ast::Map(map) => map.entries.iter().for_each(|entry| self.entry(&entry.expr, bound, depth)),
            Ast::Struct(made) => made.entries.iter().for_each(|entry| self.entry(&entry.expr, bound, depth)),
            Ast::Literal(_) | Ast::Unspecified => {}
        }
        None
    }

    fn call(&mut self, call: &cel::common::ast::CallExpr, bound: &mut Bound, depth: usize) -> Option<Path> {
        let name = call.func_name.as_str();
        if let Some(target) = &call.target {
            let asks = OF_OPTIONS.contains(&name);
            let path = if asks { self.careful(target, bound, depth) } else { self.expr(&target.expr, bound, depth) };
            self.all(&call.args, bound, depth);
            if name == "value" {
                return path;
            }
            self.looks.extend(path);
            return None;
        }
        let optional = [operators::OPT_SELECT, operators::OPT_INDEX].contains(&name);
        let (Some(first), true) = (call.args.first(), optional || name == operators::INDEX) else {
            self.all(&call.args, bound, depth);
            return None;
        };
        let path = if optional { self.careful(first, bound, depth) } else { self.expr(&first.expr, bound, depth) };
        self.all(&call.args[1..], bound, depth);
        let part = match call.args.get(1).map(|key| &key.expr) {
            Some(Ast::Literal(LiteralValue::String(name))) => Part::Field(name.to_string()),
            Some(Ast::Literal(LiteralValue::Int(_))) => Part::Item,
            _ => {
                // Of a list or a map, by a key that is known only at run time.
                self.looks.extend(path);
                return None;
            }
        };
        path.map(|path| path.to(part))
    }

    fn entry(&mut self, entry: &EntryExpr, bound: &mut Bound, depth: usize) {
        match entry {
            EntryExpr::StructField(field) => self.used(&field.value, bound, depth),
            EntryExpr::MapEntry(pair) => self.all([&pair.key, &pair.value], bound, depth),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::declare::expression::{Expr, language};

    #[test]
    fn it_says_where_an_expression_looks() {
        for (source, looks) in [
            ("cart.items[0].sku + cart['id']", &["cart.items[…].sku", "cart.id"][..]),
            ("cart.items.map(i, i.cents * rate.of)", &["cart.items", "cart.items[…].cents", "rate.of"]),
            ("p.?name.orValue('x')", &["p.name"]),
            ("has(p.a.b) && p.value().c == 1", &["p.a.b", "p.c"]),
            ("size(cart.items) > cart.items.size()", &["cart.items", "cart.items"]),
            ("cart.by[request.query.key]", &["request.query.key", "cart.by"]),
            ("{'a': cart.x}.a", &["cart.x"]),
        ] {
            let expr = Expr::compile(&language(), source).unwrap();
            assert_eq!(expr.looks.iter().map(ToString::to_string).collect::<Vec<_>>(), looks, "{source}");
        }
        let whole = |source: &str| Expr::compile(&language(), source).unwrap().whole.map(|path| path.to_string());
        assert_eq!(whole("cart.items").as_deref(), Some("cart.items"));
        assert_eq!(whole("size(cart.items)"), None);
    }
}

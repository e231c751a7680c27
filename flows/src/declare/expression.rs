//! CEL behind one door: compiled once with a bound on its cost, evaluated against slots; it says what it reads.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use cel::objects::{Key, OptionalValue};
use cel::{Context, Env, Program, Value};

use super::walk::{Path, Walk};

pub(super) use super::walk::Use;

/// The most nodes an expression's tree may have.
pub(super) const NODES_MAX: usize = 1_000;
/// How deep comprehensions (`map`, `filter`, `all`, `exists`) may nest.
pub(super) const NESTING_MAX: usize = 2;

/// The language as flows use it; shared by all expressions of a page.
pub(super) fn language() -> Arc<Env> {
    Arc::new(Env::stdlib())
}

/// A compiled expression.
pub(super) struct Expr {
    program: Program,
    env: Arc<Env>,
    /// The text it was compiled from.
    pub(super) source: String,
    /// The free variables it reads, with whether each use minds that it may be missing.
    pub(super) reads: BTreeMap<String, Use>,
    /// Where in them it looks.
    pub(super) looks: Vec<Path>,
    /// What the whole expression is, when it does nothing but look.
    pub(super) whole: Option<Path>,
}

impl Expr {
    /// Compiles `source`.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub(super) fn compile(env: &Arc<Env>, source: &str) -> Result<Self, String> {
        let program = env.compile(source).map_err(|errors| {
            let first = errors.errors.first();
            first.map_or_else(|| "cannot be read".to_owned(), |error| reword(&error.msg, error.pos.1, source))
        })?;
        let walk = Walk::of(&program.expression().expr);
        if walk.nodes > NODES_MAX {
            return Err(format!("is too large: {} parts, the most is {NODES_MAX}", walk.nodes));
        }
        if walk.deepest > NESTING_MAX {
            return Err(format!("nests {} loops, the most is {NESTING_MAX}", walk.deepest));
        }
        let Walk { reads, looks, whole, .. } = walk;
        Ok(Self { program, env: Arc::clone(env), source: source.to_owned(), reads, looks, whole })
    }

    /// Evaluates it; `variable` gives the value of each name it reads.
    ///
    /// # Errors
    /// What went wrong, in words.
    pub(super) fn eval(&self, variable: &dyn Fn(&str) -> Value) -> Result<Value, String> {
        let mut context = Context::with_env(Arc::clone(&self.env));
        for name in self.reads.keys() {
            context.add_variable_from_value(name.as_str(), variable(name));
        }
        self.program.execute(&context).map_err(|error| format!("`{}`: {error}", self.source))
    }
}

/// The parser's text, in the words of the person who wrote the expression.
fn reword(text: &str, column: isize, source: &str) -> String {
    let text = text.strip_prefix("Syntax error: ").unwrap_or(text);
    let quoted = |text: &str| text.split('\'').nth(1).unwrap_or_default().to_owned();
    let column = column.max(1);
    if text.contains("<EOF>'") || usize::try_from(column).is_ok_and(|column| column > source.chars().count()) {
        return "ends too early".to_owned();
    }
    for (begins, words) in [
        ("extraneous input", "unexpected"),
        ("mismatched input", "unexpected"),
        ("token recognition error", "unexpected"),
    ] {
        if text.starts_with(begins) {
            return format!("{words} `{}` at its column {column}", quoted(text));
        }
    }
    if text.starts_with("no viable alternative") {
        return format!("cannot be read from `{}` on, at its column {column}", quoted(text));
    }
    if text.starts_with("missing") {
        return format!("misses `{}` at its column {column}", quoted(text));
    }
    format!("{text}, at its column {column}")
}

/// A JSON value as CEL sees it: whole numbers are `int` where they fit.
pub(super) fn from_json(json: serde_json::Value) -> Value {
    match json {
        serde_json::Value::Null => Value::Null,
        serde_json::Value::Bool(value) => Value::Bool(value),
        serde_json::Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(int), _) => Value::Int(int),
            (None, Some(uint)) => Value::UInt(uint),
            (None, None) => Value::Float(number.as_f64().unwrap_or(f64::NAN)),
        },
        serde_json::Value::String(text) => Value::String(Arc::new(text)),
        serde_json::Value::Array(list) => Value::List(Arc::new(list.into_iter().map(from_json).collect())),
        serde_json::Value::Object(map) => {
            let map: HashMap<String, Value> = map.into_iter().map(|(key, value)| (key, from_json(value))).collect();
            Value::Map(map.into())
        }
    }
}

/// A value that may be missing, as CEL sees it.
pub(super) fn option(value: Option<Value>) -> Value {
    Value::Opaque(Arc::new(value.map_or_else(OptionalValue::none, OptionalValue::of)))
}

/// A value as JSON: an option is what is in it, or null. None for what JSON cannot hold.
pub(super) fn to_json(value: &Value) -> Option<serde_json::Value> {
    match value {
        Value::Opaque(_) => {
            let option = <&OptionalValue>::try_from(value).ok()?;
            option.value().map_or(Some(serde_json::Value::Null), to_json)
        }
        Value::List(list) => list.iter().map(to_json).collect(),
        Value::Map(map) => {
            let entry = |(key, value): (&Key, &Value)| Some((key.to_string(), to_json(value)?));
            map.map.iter().map(entry).collect::<Option<serde_json::Map<_, _>>>().map(serde_json::Value::Object)
        }
        other => other.json().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reads(source: &str) -> Vec<(String, Use)> {
        Expr::compile(&language(), source).unwrap().reads.into_iter().collect()
    }

    #[test]
    fn bound_variables_are_not_read() {
        assert_eq!(reads("roles.exists(r, r == 'admin')"), [("roles".to_owned(), Use::Plain)]);
        assert_eq!(reads("cart.items.map(i, i.cents * factor)").len(), 2);
        assert_eq!(reads("type(a) == int"), [("a".to_owned(), Use::Plain)]);
    }

    #[test]
    fn careful_uses_are_told_apart() {
        for source in ["p.?name.orValue('x')", "has(p.name)", "p.hasValue()", "p.orValue({}).size() == 0"] {
            assert_eq!(reads(source), [("p".to_owned(), Use::Careful)], "{source}");
        }
        for source in ["p.name", "p", "has(p.a.b)", "has(p.name) ? p.name : ''"] {
            assert_eq!(reads(source), [("p".to_owned(), Use::Plain)], "{source}");
        }
    }

    #[test]
    fn options_hold_at_run_time_what_the_rule_promises() {
        let some =
            Value::Opaque(Arc::new(cel::objects::OptionalValue::of(from_json(serde_json::json!({ "name": "Ada" })))));
        let none = Value::Opaque(Arc::new(cel::objects::OptionalValue::none()));
        for (source, with, without) in [
            ("p.?name.orValue('guest')", "Ada", "guest"),
            ("has(p.name) ? 'yes' : 'no'", "yes", "no"),
            ("p.hasValue() ? 'yes' : 'no'", "yes", "no"),
            ("p.orValue({'name': 'nobody'}).name", "Ada", "nobody"),
        ] {
            let expr = Expr::compile(&language(), source).unwrap();
            for (value, expected) in [(&some, with), (&none, without)] {
                let got = expr.eval(&|_| value.clone());
                assert_eq!(got, Ok(Value::String(Arc::new(expected.to_owned()))), "{source}");
            }
        }
    }

    #[test]
    fn costly_expressions_are_refused() {
        let wide = vec!["a"; 600].join(" + ");
        let error = |source: &str| Expr::compile(&language(), source).err().unwrap_or_default();
        assert!(error(&wide).starts_with("is too large"), "{}", error(&wide));
        assert_eq!(error("a.all(x, b.all(y, c.all(z, x < y)))"), "nests 3 loops, the most is 2");
        assert!(Expr::compile(&language(), "a.all(x, b.all(y, x < y)) && c.exists(z, z)").is_ok());
    }

    #[test]
    fn syntax_errors_are_in_plain_words() {
        for (source, expected) in [
            ("cart.total >> 0", "unexpected `>` at its column 13"),
            ("cart.", "ends too early"),
            ("(a", "ends too early"),
            ("a # b", "unexpected `#` at its column 3"),
        ] {
            assert_eq!(Expr::compile(&language(), source).err().as_deref(), Some(expected), "{source}");
        }
    }
}

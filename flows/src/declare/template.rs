//! Text with `${ … }` in it, and JSON made of such texts.

use std::sync::Arc;

use cel::{Env, Value};
use serde_json::Value as Json;

use super::expression::{Expr, to_json};

/// A text that may hold expressions.
pub(super) struct Template(Vec<Part>);

enum Part {
    Text(String),
    Expr(Box<Expr>),
}

/// A JSON value with templates for its texts.
pub(super) enum Shape {
    Fixed(Json),
    Text(Template),
    List(Vec<Shape>),
    Map(Vec<(String, Shape)>),
}

impl Template {
    /// Takes `text` apart: `${ … }` is an expression, `$${` a plain `${`.
    ///
    /// # Errors
    /// What is wrong with an expression, in words.
    pub(super) fn parse(env: &Arc<Env>, text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some(at) = rest.find("${") {
            if rest[..at].ends_with('$') {
                plain.push_str(&rest[..at - 1]);
                plain.push_str("${");
                rest = &rest[at + 2..];
                continue;
            }
            plain.push_str(&rest[..at]);
            if !plain.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut plain)));
            }
            let inner = &rest[at + 2..];
            let end = closing(inner).ok_or_else(|| format!("`{text}`: a `${{` is not closed by `}}`"))?;
            let source = inner[..end].trim();
            let expr = Expr::compile(env, source).map_err(|why| format!("`{source}` {why}"))?;
            parts.push(Part::Expr(Box::new(expr)));
            rest = &inner[end + 1..];
        }
        plain.push_str(rest);
        if !plain.is_empty() || parts.is_empty() {
            parts.push(Part::Text(plain));
        }
        Ok(Self(parts))
    }

    /// The expressions in it.
    pub(super) fn exprs(&self) -> impl Iterator<Item = &Expr> {
        self.0.iter().filter_map(|part| match part {
            Part::Expr(expr) => Some(&**expr),
            Part::Text(_) => None,
        })
    }

    /// The expression that the whole text is.
    pub(super) fn only(&self) -> Option<&Expr> {
        match &self.0[..] {
            [Part::Expr(expr)] => Some(expr),
            _ => None,
        }
    }

    /// The text before the first expression.
    pub(super) fn beginning(&self) -> &str {
        match self.0.first() {
            Some(Part::Text(text)) => text,
            _ => "",
        }
    }

    /// The text, each expression's value passed through `encode`.
    ///
    /// # Errors
    /// What went wrong, in words.
    pub(super) fn text(&self, variable: &dyn Fn(&str) -> Value, encode: fn(&str) -> String) -> Result<String, String> {
        let mut out = String::new();
        for part in &self.0 {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Expr(expr) => {
                    let text = match json(&expr.eval(variable)?, expr)? {
                        Json::String(text) => text,
                        Json::Null => return Err(format!("`{}` is null, where a text is made of it", expr.source)),
                        Json::Array(_) | Json::Object(_) => {
                            return Err(format!("`{}` is a list or a map, where a text is made of it", expr.source));
                        }
                        other => other.to_string(),
                    };
                    out.push_str(&encode(&text));
                }
            }
        }
        Ok(out)
    }

    /// The value: of its own type when the whole text is one expression.
    fn value(&self, variable: &dyn Fn(&str) -> Value) -> Result<Json, String> {
        match &self.0[..] {
            [Part::Expr(expr)] => json(&expr.eval(variable)?, expr),
            _ => self.text(variable, str::to_owned).map(Json::String),
        }
    }
}

fn json(value: &Value, expr: &Expr) -> Result<Json, String> {
    to_json(value).ok_or_else(|| format!("`{}` gives a value that JSON cannot hold", expr.source))
}

/// Where the brace that closes an expression stands: braces and quotes inside it are skipped.
fn closing(text: &str) -> Option<usize> {
    let (mut depth, mut quote, mut escaped) = (0_usize, None, false);
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (Some(_), _) if escaped => escaped = false,
            (Some(_), '\\') => escaped = true,
            (Some(q), _) if q == c => quote = None,
            (Some(_), _) => {}
            (None, '\'' | '"') => quote = Some(c),
            (None, '{') => depth += 1,
            (None, '}') if depth == 0 => return Some(at),
            (None, '}') => depth -= 1,
            (None, _) => {}
        }
    }
    None
}

impl Shape {
    /// The value, where no expression is in it.
    pub(super) fn fixed(&self) -> Option<Json> {
        match self {
            Self::Fixed(value) => Some(value.clone()),
            Self::Text(template) => match &template.0[..] {
                [Part::Text(text)] => Some(Json::String(text.clone())),
                _ => None,
            },
            Self::List(list) => list.iter().map(Self::fixed).collect::<Option<_>>().map(Json::Array),
            Self::Map(map) => {
                let entry = |(key, item): &(String, Self)| Some((key.clone(), item.fixed()?));
                map.iter().map(entry).collect::<Option<_>>().map(Json::Object)
            }
        }
    }

    /// The JSON it stands for.
    ///
    /// # Errors
    /// What went wrong, in words.
    pub(super) fn value(&self, variable: &dyn Fn(&str) -> Value) -> Result<Json, String> {
        match self {
            Self::Fixed(value) => Ok(value.clone()),
            Self::Text(template) => template.value(variable),
            Self::List(list) => list.iter().map(|item| item.value(variable)).collect::<Result<_, _>>().map(Json::Array),
            Self::Map(map) => map
                .iter()
                .map(|(key, item)| Ok((key.clone(), item.value(variable)?)))
                .collect::<Result<_, String>>()
                .map(Json::Object),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::expression::{from_json, language};
    use super::*;

    #[test]
    fn texts_are_taken_apart() {
        let a = |_: &str| from_json(serde_json::json!({ "n": 7, "t": "a/b" }));
        let check = |text: &str, expected: Json| {
            assert_eq!(Template::parse(&language(), text).unwrap().value(&a), Ok(expected), "{text}");
        };
        check("plain", "plain".into());
        check("", "".into());
        check("${a.n}", 7.into());
        check("n=${a.n};", "n=7;".into());
        check("$${a}", "${a}".into());
        check("${ {'k': '}'}.k }!", "}!".into());
        check("${a.n}${a.t}", "7a/b".into());
        let url = Template::parse(&language(), "x:/${a.t}").unwrap();
        assert_eq!(url.text(&a, crate::effect::segment), Ok("x:/a%2Fb".to_owned()));
        assert!(Template::parse(&language(), "${a").is_err());
    }
}

//! What is known of a value before there is one: its fields, its items, or nothing.

use serde_json::Value as Json;

use super::template::Shape;
use super::walk::{Part, Path};

/// What a value looks like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Nobody said.
    Any,
    Text,
    Number,
    Bool,
    List(Box<Form>),
    /// A map with these fields and no others.
    Map(Vec<(String, Form)>),
    /// What is at this place.
    Like(Path),
}

impl Form {
    /// A map with these fields.
    pub(super) fn map<const N: usize>(fields: [(&str, Form); N]) -> Self {
        Self::Map(fields.map(|(name, form)| (name.to_owned(), form)).into())
    }

    pub(super) fn list(of: Form) -> Self {
        Self::List(Box::new(of))
    }

    /// The request, as expressions see it.
    pub(super) fn request() -> Self {
        let any = || Self::Any;
        let (method, path) = (("method", Self::Text), ("path", Self::Text));
        Self::map([method, path, ("params", any()), ("query", any()), ("headers", any()), ("body", any())])
    }

    /// A failure, as `on_error` sees it.
    pub(super) fn failure() -> Self {
        let [code, message, step] = ["code", "message", "step"].map(|name| (name, Self::Text));
        Self::map([code, ("status", Self::Number), message, step])
    }

    /// The answer of a call that takes any status.
    pub(super) fn whole_answer(body: Form) -> Self {
        Self::map([("status", Self::Number), ("headers", Self::Any), ("body", body)])
    }

    /// A value that a page writes out.
    pub(super) fn of(shape: &Shape) -> Self {
        match shape {
            Shape::Fixed(json) => Self::of_json(json),
            Shape::Text(template) => match (template.only(), template.exprs().next()) {
                (Some(expr), _) => expr.whole.clone().map_or(Self::Any, Self::Like),
                (None, _) => Self::Text,
            },
            Shape::List(items) => Self::all_alike(items.iter().map(Self::of)),
            Shape::Map(fields) => {
                Self::Map(fields.iter().map(|(name, value)| (name.clone(), Self::of(value))).collect())
            }
        }
    }

    fn of_json(json: &Json) -> Self {
        match json {
            Json::Null => Self::Any,
            Json::Bool(_) => Self::Bool,
            Json::Number(_) => Self::Number,
            Json::String(_) => Self::Text,
            Json::Array(items) => Self::all_alike(items.iter().map(Self::of_json)),
            Json::Object(fields) => {
                Self::Map(fields.iter().map(|(name, value)| (name.clone(), Self::of_json(value))).collect())
            }
        }
    }

    /// A list of these.
    fn all_alike(mut items: impl Iterator<Item = Self>) -> Self {
        let first = items.next().unwrap_or(Self::Any);
        Self::list(if items.all(|item| item == first) { first } else { Self::Any })
    }

    /// What it is, in words.
    fn kind(&self) -> &'static str {
        match self {
            Self::Any | Self::Like(_) => "anything",
            Self::Text => "text",
            Self::Number => "a number",
            Self::Bool => "true or false",
            Self::List(_) => "a list",
            Self::Map(_) => "a map",
        }
    }

    /// What is at a part of it; [`Form::Any`] where that is not known.
    ///
    /// # Errors
    /// Why there is nothing at that part.
    pub(super) fn at(&self, part: &Part) -> Result<Form, Miss> {
        match (self, part) {
            (Self::Any | Self::Like(_), _) => Ok(Self::Any),
            (Self::List(of), Part::Item) => Ok((**of).clone()),
            // A loop over a map goes over its keys; by a number no field is found.
            (Self::Map(_), Part::Item) => Ok(Self::Any),
            (Self::Map(fields), Part::Field(name)) => {
                let found = fields.iter().find(|(known, _)| known == name);
                found.map(|(_, form)| form.clone()).ok_or_else(|| Miss {
                    what: format!("has no field `{name}`"),
                    fields: fields.iter().map(|(name, _)| name.clone()).collect(),
                })
            }
            (other, part) => {
                let no = match part {
                    Part::Field(name) => format!("no field `{name}`"),
                    Part::Item => "no items".to_owned(),
                };
                Err(Miss { what: format!("is {}, and has {no}", other.kind()), fields: Vec::new() })
            }
        }
    }
}

/// Why there is nothing at a place.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Miss {
    /// `has no field …`.
    pub(super) what: String,
    /// The fields that there are.
    pub(super) fields: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_place_is_there_or_is_not() {
        let form = Form::of_json(&json!({ "id": "a", "items": [{ "sku": "x" }, { "sku": "y" }], "mixed": [1, "a"] }));
        let field = |name: &str| Part::Field(name.to_owned());
        let items = form.at(&field("items")).unwrap();
        assert_eq!(items.at(&Part::Item).unwrap().at(&field("sku")), Ok(Form::Text));
        assert_eq!(form.at(&field("mixed")).unwrap().at(&Part::Item), Ok(Form::Any));
        let miss = form.at(&field("ids")).unwrap_err();
        assert_eq!((miss.what.as_str(), miss.fields.len()), ("has no field `ids`", 3));
        let what = |form: &Form, part: &Part| form.at(part).unwrap_err().what;
        assert_eq!(what(&Form::Text, &field("x")), "is text, and has no field `x`");
        assert_eq!(what(&items, &field("sku")), "is a list, and has no field `sku`");
        assert_eq!(what(&Form::Number, &Part::Item), "is a number, and has no items");
    }
}

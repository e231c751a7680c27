//! Steps written in Rust that pages may call: what `#[step(expose)]` makes of a function, its arguments taken from JSON.

use std::time::Duration;

use futures_util::future::BoxFuture;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::effect::Fx;
use crate::exit::{Fail, Result};
use crate::meta::StepMeta;
use crate::request::Req;

/// A step written in Rust that pages of configuration may call by its name: what `#[step(expose)]` makes beside the
/// function, as `load_cart::exposed()`. A page's arguments are checked against its parameters when the page is loaded.
#[derive(Clone, Copy, Debug)]
pub struct Exposed {
    meta: StepMeta,
    arguments: &'static [Argument],
    call: Call,
}

/// Calls the step with arguments taken out of JSON; its value becomes JSON.
type Call = for<'a> fn(Arguments, &'a Req, &'a Fx<'a>) -> Called<'a>;

/// A call of an exposed step, for the code that `#[step(expose)]` writes.
#[doc(hidden)]
pub type Called<'a> = BoxFuture<'a, Result<Value>>;

/// A parameter of an exposed step; the request and `fx` are none.
#[derive(Clone, Copy, Debug)]
pub struct Argument {
    /// Its name.
    pub name: &'static str,
    /// Whether it may be left out: it is an `Option<&T>`.
    pub is_optional: bool,
    /// What a page may give for it, as far as its type says so by its name.
    pub kind: Kind,
    /// Why it does not take this value; none when it does.
    #[doc(hidden)]
    pub refuses: fn(&Value) -> Option<String>,
}

/// What kind of value an argument takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `&str`.
    Text,
    /// A number of Rust.
    Number,
    /// `&bool`.
    Bool,
    /// A slice, a vector or a set.
    List,
    /// A map.
    Mapping,
    /// A type of the program, which may be any of these.
    Any,
}

impl Kind {
    /// What it takes, in words.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Number => "a number",
            Self::Bool => "true or false",
            Self::List => "a list",
            Self::Mapping => "a mapping",
            Self::Any => "any value",
        }
    }
}

impl Exposed {
    /// For the code that `#[step(expose)]` writes.
    #[doc(hidden)]
    #[must_use]
    pub const fn from_macro(meta: StepMeta, arguments: &'static [Argument], call: Call) -> Self {
        Self { meta, arguments, call }
    }

    /// The name that pages call it by: the function's.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.meta.name
    }

    /// Its documentation, first line first.
    #[must_use]
    pub const fn doc(&self) -> &'static str {
        self.meta.doc
    }

    /// The most time it may take, unless the page says otherwise.
    #[must_use]
    pub const fn timeout(&self) -> Option<Duration> {
        self.meta.timeout
    }

    /// The targets that it declares to call.
    #[must_use]
    pub const fn targets(&self) -> &'static [&'static str] {
        self.meta.targets
    }

    /// Whether what it changes may be changed twice without harm.
    #[must_use]
    pub const fn is_idempotent(&self) -> bool {
        self.meta.idempotent
    }

    /// Its parameters, in the order of the function.
    #[must_use]
    pub const fn arguments(&self) -> &'static [Argument] {
        self.arguments
    }

    /// Calls it. An argument that does not fit fails it with the code `bad_argument`.
    #[cfg_attr(not(feature = "declare"), expect(dead_code, reason = "only pages call it by its name"))]
    pub(crate) fn call<'a>(&self, values: Map<String, Value>, req: &'a Req, fx: &'a Fx<'a>) -> Called<'a> {
        (self.call)(Arguments { step: self.meta.name, values }, req, fx)
    }
}

/// The arguments of one call, for the code that `#[step(expose)]` writes.
#[doc(hidden)]
#[derive(Debug)]
pub struct Arguments {
    step: &'static str,
    values: Map<String, Value>,
}

impl Arguments {
    /// The value of an argument, as the step's type.
    ///
    /// # Errors
    /// `bad_argument`, when the type does not take it.
    pub fn take<T: DeserializeOwned>(&mut self, name: &str) -> Result<T> {
        let value = self.values.remove(name).unwrap_or_default();
        serde_json::from_value(value).map_err(|why| {
            let detail = format!("step `{}` does not take its argument `{name}`: {why}", self.step);
            Fail::internal("bad_argument", detail).into()
        })
    }
}

/// Why `T` cannot be made of this value; none when it can.
#[doc(hidden)]
pub fn refuses<T: DeserializeOwned>(value: &Value) -> Option<String> {
    T::deserialize(value).err().map(|why| why.to_string())
}

/// What a step gave, as pages see it.
///
/// # Errors
/// `step_not_json`, when its type cannot be written as JSON.
#[doc(hidden)]
pub fn given<T: Serialize>(value: &T) -> Result<Value> {
    serde_json::to_value(value).map_err(|why| Fail::internal("step_not_json", why.to_string()).into())
}

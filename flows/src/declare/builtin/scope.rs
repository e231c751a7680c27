//! What expressions see while a flow runs: slots, the request, and what is there in one place only.

use std::sync::OnceLock;

use cel::Value;
use serde_json::{Value as Json, json};

use crate::declare::expression::{Expr, from_json, option};
use crate::declare::plan::Plan;
use crate::exit::{Exit, Fail, Result};
use crate::request::Req;
use crate::slot::Slot;

/// What the steps of one run share.
pub(super) struct Scope<'r> {
    pub(super) plan: &'r Plan,
    pub(super) slots: &'r [Slot<Value>],
    pub(super) req: &'r Req,
    /// The request as expressions see it, made when one first looks.
    request: OnceLock<Value>,
}

/// The scope as one expression sees it.
#[derive(Clone)]
pub(super) struct View<'s> {
    pub(super) scope: &'s Scope<'s>,
    /// A variable that is there in this place only.
    extra: Option<(&'static str, Value)>,
    /// The step whose undo or cleanup this is: these run only when it wrote its slot.
    own: Option<usize>,
}

impl<'r> Scope<'r> {
    pub(super) fn new(plan: &'r Plan, slots: &'r [Slot<Value>], req: &'r Req) -> Self {
        Self { plan, slots, req, request: OnceLock::new() }
    }
}

impl<'s> View<'s> {
    pub(super) fn of(scope: &'s Scope<'s>) -> Self {
        Self { scope, extra: None, own: None }
    }

    /// As the undo or cleanup of `step` sees it.
    pub(super) fn after(scope: &'s Scope<'s>, step: usize) -> Self {
        Self { own: Some(step), ..Self::of(scope) }
    }

    /// The same with a variable more.
    pub(super) fn with(&self, name: &'static str, value: Value) -> Self {
        Self { extra: Some((name, value)), ..self.clone() }
    }

    pub(super) fn variable(&self, name: &str) -> Value {
        if let Some((_, value)) = self.extra.as_ref().filter(|(extra, _)| *extra == name) {
            return value.clone();
        }
        let Scope { plan, slots, req, request } = self.scope;
        let Some(step) = plan.graph.position(name) else {
            return request.get_or_init(|| as_seen(req, plan.reads_body)).clone();
        };
        let value = slots[step].maybe();
        if plan.graph.nodes()[step].may_be_missing() && self.own != Some(step) {
            return option(value.cloned());
        }
        value.cloned().unwrap_or(Value::Null)
    }
}

/// The value of an expression.
pub(super) fn evaluate(expr: &Expr, view: &View<'_>) -> Result<Value> {
    expr.eval(&|name| view.variable(name)).map_err(failed)
}

/// The failure of an expression.
pub(super) fn failed(why: String) -> Exit {
    Fail::internal("expression_failed", why).into()
}

/// A failure as `on_error` sees it: what a client may know, and the step.
pub(super) fn failure(fail: &Fail) -> Value {
    from_json(json!({
        "code": fail.code,
        "status": fail.status.as_u16(),
        "message": fail.message,
        "step": fail.step,
    }))
}

/// Names and texts as a map; the first of a name counts.
pub(super) fn texts(pairs: impl Iterator<Item = (String, String)>) -> Json {
    let mut map = serde_json::Map::new();
    for (key, value) in pairs {
        map.entry(key).or_insert(Json::String(value));
    }
    Json::Object(map)
}

/// Headers as a map.
pub(super) fn headers(headers: &http::HeaderMap) -> Json {
    let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    texts(headers.iter().map(|(name, value)| (name.as_str().to_owned(), text(value))))
}

/// The request as expressions see it: `method, path, params, query, headers, body`.
fn as_seen(req: &Req, reads_body: bool) -> Value {
    let body = if reads_body {
        serde_json::from_slice(&req.body)
            .unwrap_or_else(|_| Json::String(String::from_utf8_lossy(&req.body).into_owned()))
    } else {
        Json::Null
    };
    from_json(json!({
        "method": req.method.as_str(),
        "path": req.path,
        "params": texts(req.params.iter().cloned()),
        "query": texts(req.query_pairs().iter().cloned()),
        "headers": headers(&req.headers),
        "body": body,
    }))
}

//! The steps a page can use: calls, values and the answer, run as nodes of the one driver.

use std::pin::Pin;
use std::sync::{Arc, OnceLock};

use cel::Value;
use cel::objects::OptionalValue;
use futures_util::future::BoxFuture;
use http::StatusCode;
use serde_json::{Value as Json, json};

use super::expression::from_json;
use super::planner::{Asked, Join, Plan, Step, Verb};
use super::template::Template;
use crate::driver::drive;
use crate::effect::{Answer, Call, Fx, segment};
use crate::exit::{Exit, Fail, Result};
use crate::flow::Flow;
use crate::graph::Graph;
use crate::node::{Node, Wrote, node};
use crate::policy::retry;
use crate::request::Req;
use crate::response::Response;
use crate::run::Run;
use crate::slot::Slot;

/// Makes a flow of a plan.
pub(super) fn flow(plan: Plan) -> Flow {
    let Plan { graph, steps, reads_body } = plan;
    let steps: Arc<[Step]> = steps.into();
    let shared = graph.clone();
    let graph_of_runs = Arc::new(graph);
    Flow::new(shared, move |req, run| {
        let (graph, steps) = (Arc::clone(&graph_of_runs), Arc::clone(&steps));
        Box::pin(async move { body(&graph, &steps, reads_body, req, run).await }) as BoxFuture<'_, _>
    })
}

/// What the steps of one run share.
struct Scope<'r> {
    graph: &'r Graph,
    slots: &'r [Slot<Value>],
    req: &'r Req,
    reads_body: bool,
    /// The request as expressions see it, made when one first looks.
    request: OnceLock<Value>,
}

async fn body(graph: &Graph, steps: &[Step], reads_body: bool, req: &Req, run: &Run) -> Result<Response> {
    let slots: Vec<Slot<Value>> = steps.iter().map(|_| Slot::new()).collect();
    let answer = Slot::new();
    let scope = Scope { graph, slots: &slots, req, reads_body, request: OnceLock::new() };
    {
        let make = |(n, step)| Box::pin(node(perform(&scope, step, n, run.fx(n), &answer)));
        let mut nodes: Vec<_> = steps.iter().enumerate().map(make).collect();
        let mut pinned: Vec<Pin<&mut (dyn Node + Send)>> =
            nodes.iter_mut().map(|node| node.as_mut() as Pin<&mut (dyn Node + Send)>).collect();
        drive(run, &mut pinned).await?;
    }
    Ok(answer.take().expect("the driver ends well only when the answer is written"))
}

async fn perform(scope: &Scope<'_>, step: &Step, n: usize, fx: Fx<'_>, answer: &Slot<Response>) -> Result<Wrote> {
    if let Some(when) = &step.when {
        match when.eval(&|name| scope.variable(name)).map_err(failed)? {
            Value::Bool(true) => {}
            Value::Bool(false) => return Ok(Wrote::Nothing),
            other => return Err(failed(format!("`{}` is {other:?}, where true or false is due", when.source))),
        }
    }
    let variable = |name: &str| scope.variable(name);
    match &step.verb {
        Verb::Set(shape) => scope.slots[n].put(from_json(shape.value(&variable).map_err(failed)?)),
        Verb::Call(asked) => {
            scope.slots[n].put(retry(&fx, asked.retries, || ask(scope, asked, &fx)).await?);
        }
        Verb::Respond { status, headers, json, text } => {
            let mut response = match (json, text) {
                (Some(json), _) => Response::json(&json.value(&variable).map_err(failed)?)?,
                (None, Some(text)) => Response::text(text.text(&variable, str::to_owned).map_err(failed)?),
                (None, None) => Response::empty(200),
            };
            if let Some(status) = status {
                let number = status.value(&variable).map_err(failed)?;
                let code = number.as_u64().and_then(|n| u16::try_from(n).ok());
                response.status = code
                    .and_then(|code| StatusCode::from_u16(code).ok())
                    .ok_or_else(|| failed(format!("respond.status: {number} is no HTTP status")))?;
            }
            for (name, value) in headers {
                response = response.header(name, &value.text(&variable, str::to_owned).map_err(failed)?)?;
            }
            answer.put(response);
        }
    }
    Ok(Wrote::Slot)
}

/// Makes the calls of a step and joins their answers to its value.
async fn ask(scope: &Scope<'_>, asked: &Asked, fx: &Fx<'_>) -> Result<Value> {
    let calls: Vec<Call<'_>> = asked.to.iter().map(|to| prepare(scope, asked, to, fx)).collect::<Result<_>>()?;
    let list = |answers: Vec<Answer>| {
        let values: Result<Vec<Value>> = answers.iter().map(value_of).collect();
        values.map(|values| Value::List(Arc::new(values)))
    };
    match asked.join {
        Join::All => list(fx.all(calls).await?),
        Join::Quorum(needed) => list(fx.quorum(needed, calls).await?),
        Join::One | Join::Race => value_of(&fx.race(calls).await?),
        Join::FirstOk => value_of(&fx.first_ok(calls).await?),
        Join::Hedge(after) => value_of(&fx.hedge(after, calls).await?),
    }
}

/// A call with all its parts evaluated.
fn prepare<'r>(scope: &Scope<'_>, asked: &Asked, to: &Template, fx: &Fx<'r>) -> Result<Call<'r>> {
    let Asked { method, headers, json, body, .. } = asked;
    let variable = |name: &str| scope.variable(name);
    let mut call = fx.call(method.clone(), to.text(&variable, segment).map_err(failed)?);
    for (name, value) in headers {
        call = call.header(name, value.text(&variable, str::to_owned).map_err(failed)?);
    }
    if let Some(json) = json {
        call = call.json(&json.value(&variable).map_err(failed)?);
    }
    if let Some(body) = body {
        call = call.body(body.text(&variable, str::to_owned).map_err(failed)?);
    }
    Ok(call)
}

fn failed(why: String) -> Exit {
    Fail::internal("expression_failed", why).into()
}

/// An answer as a value: JSON where it says it is, text otherwise, null where there is no body.
fn value_of(answer: &Answer) -> Result<Value> {
    if answer.body.is_empty() {
        return Ok(Value::Null);
    }
    let kind = answer.header("content-type").unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    if kind.eq_ignore_ascii_case("application/json") || kind.ends_with("+json") {
        return Ok(from_json(answer.json()?));
    }
    Ok(from_json(answer.text()?.into()))
}

impl Scope<'_> {
    fn variable(&self, name: &str) -> Value {
        let Some(step) = self.graph.position(name) else {
            return self.request.get_or_init(|| request(self.req, self.reads_body)).clone();
        };
        let value = self.slots[step].maybe();
        if self.graph.nodes()[step].may_be_missing() {
            let option = value.map_or_else(OptionalValue::none, |value| OptionalValue::of(value.clone()));
            return Value::Opaque(Arc::new(option));
        }
        value.cloned().unwrap_or(Value::Null)
    }
}

/// The request as expressions see it: `method, path, params, query, headers, body`.
fn request(req: &Req, reads_body: bool) -> Value {
    let texts = |pairs: &mut dyn Iterator<Item = (String, String)>| {
        let mut map = serde_json::Map::new();
        for (key, value) in pairs {
            map.entry(key).or_insert(Json::String(value));
        }
        Json::Object(map)
    };
    let mut headers = req
        .headers
        .iter()
        .map(|(name, value)| (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned()));
    let body = if reads_body {
        serde_json::from_slice(&req.body)
            .unwrap_or_else(|_| Json::String(String::from_utf8_lossy(&req.body).into_owned()))
    } else {
        Json::Null
    };
    from_json(json!({
        "method": req.method.as_str(),
        "path": req.path,
        "params": texts(&mut req.params.iter().cloned()),
        "query": texts(&mut req.query_pairs().iter().cloned()),
        "headers": texts(&mut headers),
        "body": body,
    }))
}

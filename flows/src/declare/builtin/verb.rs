//! Doing the one thing a step of a page says: a call, a value, another flow, an early answer, a failure.

use bytes::Bytes;
use cel::Value;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use serde_json::{Value as Json, json};

use super::scope::{View, failed, headers};
use crate::declare::expression::from_json;
use crate::declare::plan::{Answer as Shaped, Asked, Sent, Status, Verb, With, status};
use crate::declare::template::{Shape, Template};
use crate::effect::{Answer, Call, Fx, segment};
use crate::exit::{Fail, Result};
use crate::request::Req;
use crate::response::Response;

/// Does it; its value, or how the flow ends.
pub(super) async fn act(verb: &Verb, view: &View<'_>, fx: &Fx<'_>) -> Result<Value> {
    match verb {
        Verb::Set(shape) => Ok(from_json(value(shape, view)?)),
        Verb::Call { to, sent } => {
            let answer = call(to, sent, view, fx)?.await?;
            let body = body_of(&answer)?;
            Ok(from_json(if sent.any_status { whole(answer.status, &answer.headers, body) } else { body }))
        }
        Verb::Step { step, args } => {
            let value = |(name, shape): &(&str, Shape)| Ok(((*name).to_owned(), value(shape, view)?));
            let args = args.iter().map(value).collect::<Result<_>>()?;
            Ok(from_json(step.call(args, view.scope.req, fx).await?))
        }
        Verb::Flow { asked, any_status } => inserted(asked, *any_status, view, fx).await,
        Verb::Replace(asked) => fx.replace(asked.slug.as_str(), request(asked, view)?),
        Verb::Answer(shape) => fx.done(answer(shape, view, StatusCode::OK)?),
        Verb::Fail { status, message, code } => Err(failure(status, message.as_ref(), *code, view)?.into()),
    }
}

/// A call with all its parts evaluated.
fn call<'r>(to: &Template, sent: &Sent, view: &View<'_>, fx: &Fx<'r>) -> Result<Call<'r>> {
    let Sent { method, headers, json, body, passes, any_status } = sent;
    let mut call = fx.call(method.clone(), to.text(&|name| view.variable(name), segment).map_err(failed)?);
    for (name, value) in headers {
        call = call.header(name, text(value, view)?);
    }
    if let Some(json) = json {
        call = call.json(&value(json, view)?);
    }
    if let Some(body) = body {
        call = call.body(text(body, view)?);
    }
    if *passes {
        call = call.pass(view.scope.req);
    }
    Ok(if *any_status { call.any_status() } else { call })
}

/// Runs another flow as a part of the step. As with a call, an answer of 400 and above is a failure unless any will do.
async fn inserted(asked: &Asked, any_status: bool, view: &View<'_>, fx: &Fx<'_>) -> Result<Value> {
    let response = fx.flow(&asked.slug, request(asked, view)?).await?;
    let status = response.status;
    if status.as_u16() >= 400 && !any_status {
        let detail = format!("flow `{}` answered {}", asked.slug, status.as_u16());
        return Err(Fail::upstream("flow_status", detail).into());
    }
    let bytes = response.body.whole().ok_or_else(|| {
        let detail =
            format!("flow `{}` streams its answer, which no step can read; replace this flow by it", asked.slug);
        Fail::internal("flow_streams", detail)
    })?;
    let body = if is_json(&response.headers) && !bytes.is_empty() {
        let wrong = |error| failed(format!("flow `{}` answered what is not the JSON it says: {error}", asked.slug));
        serde_json::from_slice(bytes).map_err(wrong)?
    } else {
        as_text(bytes)
    };
    Ok(from_json(if any_status { whole(status, &response.headers, body) } else { body }))
}

/// The request that another flow gets: this flow's own, or one that the page makes for it.
fn request(asked: &Asked, view: &View<'_>) -> Result<Req> {
    let own = view.scope.req;
    let to = match asked.with.as_ref().map(|with| &with.path) {
        None => own.path.clone(),
        Some(None) => "/".to_owned(),
        Some(Some(path)) => path.text(&|name| view.variable(name), segment).map_err(failed)?,
    };
    let mut req = Req::new(Method::GET, &to);
    (req.client, req.deadline) = (own.client, own.deadline);
    let Some(With { params, query, headers, json, .. }) = &asked.with else {
        req.method = own.method.clone();
        req.query.clone_from(&own.query);
        req.params.clone_from(&own.params);
        req.headers.clone_from(&own.headers);
        req.body = own.body.clone();
        return Ok(req);
    };
    for (name, value) in params {
        req.params.push((name.clone(), text(value, view)?));
    }
    if !query.is_empty() {
        let pair = |(name, value): &(String, Template)| {
            text(value, view).map(|value| format!("{}={}", segment(name), segment(&value)))
        };
        req.query = Some(query.iter().map(pair).collect::<Result<Vec<_>>>()?.join("&"));
    }
    for (name, value) in headers {
        let value = text(value, view)?;
        let wrong = || failed(format!("HTTP does not allow the value of header `{name}`"));
        let name: HeaderName = name.parse().map_err(|_| wrong())?;
        req.headers.insert(name, HeaderValue::from_str(&value).map_err(|_| wrong())?);
    }
    if let Some(json) = json {
        req.method = Method::POST;
        req.headers.entry(CONTENT_TYPE).or_insert(HeaderValue::from_static("application/json"));
        req.body = value(json, view)?.to_string().into();
    }
    Ok(req)
}

/// An answer to the request; `usual` is its status where the page says none.
pub(super) fn answer(shape: &Shaped, view: &View<'_>, usual: StatusCode) -> Result<Response> {
    let Shaped { status, headers, json, text: plain } = shape;
    let mut response = match (json, plain) {
        (Some(json), _) => Response::json(&value(json, view)?)?,
        (None, Some(plain)) => Response::text(text(plain, view)?),
        (None, None) => Response::empty(200),
    };
    response.status = match status {
        Status::Said(shape) => number(shape, view)?,
        Status::Usual => usual,
    };
    for (name, value) in headers {
        response = response.header(name, &text(value, view)?)?;
    }
    Ok(response)
}

fn failure(status: &Shape, message: Option<&Template>, code: Option<&'static str>, view: &View<'_>) -> Result<Fail> {
    let status = number(status, view)?;
    if !(status.is_client_error() || status.is_server_error()) {
        return Err(failed(format!("{} is no status to fail with; that is 400 to 599", status.as_u16())));
    }
    let fail = match message {
        Some(message) => Fail::new(status, text(message, view)?),
        None => Fail::new(status, status.canonical_reason().unwrap_or("the flow failed")),
    };
    Ok(match code {
        Some(code) => fail.with_code(code),
        None => fail,
    })
}

fn number(shape: &Shape, view: &View<'_>) -> Result<StatusCode> {
    let number = value(shape, view)?;
    status(&number).ok_or_else(|| failed(format!("{number} is no HTTP status")))
}

fn value(shape: &Shape, view: &View<'_>) -> Result<Json> {
    shape.value(&|name| view.variable(name)).map_err(failed)
}

fn text(template: &Template, view: &View<'_>) -> Result<String> {
    template.text(&|name| view.variable(name), str::to_owned).map_err(failed)
}

/// An answer of any status as a value.
fn whole(status: StatusCode, all: &HeaderMap, body: Json) -> Json {
    json!({ "status": status.as_u16(), "headers": headers(all), "body": body })
}

/// A call's answer as a value: JSON where it says it is, text otherwise, null where there is no body.
fn body_of(answer: &Answer) -> Result<Json> {
    match &answer.body[..] {
        [] => Ok(Json::Null),
        _ if is_json(&answer.headers) => answer.json(),
        _ => Ok(answer.text()?.into()),
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    kind.eq_ignore_ascii_case("application/json") || kind.ends_with("+json")
}

fn as_text(body: &Bytes) -> Json {
    if body.is_empty() { Json::Null } else { String::from_utf8_lossy(body).into() }
}

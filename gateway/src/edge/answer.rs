//! Answers that the gateway gives itself: refusals, fixed replies, and what flows say.

use std::panic::AssertUnwindSafe;

use bytes::Bytes;
use futures_util::FutureExt as _;
use http::{HeaderName, HeaderValue, Method, StatusCode, header};
use pingora_core::{Error as PingoraError, ErrorType, Result};
use pingora_http::ResponseHeader;
use pingora_proxy::Session;
use zerver_flows::{Body, BoundFlow, Cancel, Env, Fail, Req, Values};
use zerver_telemetry::event::{Cause, NodeId};
use zerver_telemetry::names::Name;

use super::arriving::{self, Arriving};
use super::{showing, streaming};
use crate::admission::{self, Permit, Reason};
use crate::error::Error;
use crate::exchange::Exchange;
use crate::live::Live;
use crate::pipeline::content_length;
use crate::plan::{Plan, Route};
use crate::reply::Reply;

/// Answers with a failure and notes it.
pub(super) async fn fail(session: &mut Session, exchange: &mut Exchange, error: &Error) -> Result<()> {
    let reply = Reply::failure(error, &exchange.request_id);
    exchange.failed(error, reply.status.as_u16());
    give(session, exchange, reply).await
}

/// Writes an answer. The connection stays usable where the request's body was read or is short enough to be read away.
pub(super) async fn give(session: &mut Session, exchange: &mut Exchange, reply: Reply) -> Result<()> {
    exchange.waiting(Cause::Write, Name::NONE, None);
    let headers = &session.req_header().headers;
    let small = content_length(headers).is_none_or(|length| length <= 64 * 1024);
    let waits = headers.contains_key(header::EXPECT);
    if !session.as_downstream_mut().is_body_done() {
        if waits {
            // A client that waits for leave to send its body has its answer instead; whether it sends some now is its choice.
            session.as_downstream_mut().set_keepalive(None);
        } else if small {
            // Without this the connection would have to be closed; the drain has a time limit of its own.
            let _ = session.as_downstream_mut().drain_request_body().await;
        }
    }
    let head_only = session.req_header().method == Method::HEAD;
    let empty = head_only || reply.body.is_empty();
    let head = header(&reply, exchange)?;
    session.write_response_header(Box::new(head), empty).await?;
    if !empty {
        session.write_response_body(Some(reply.body), true).await?;
    }
    exchange.answered_unless_failed(reply.status.as_u16());
    Ok(())
}

/// The head of an answer, its length included.
pub(super) fn header(reply: &Reply, exchange: &Exchange) -> Result<ResponseHeader> {
    let mut head = ResponseHeader::build(reply.status, Some(reply.headers.len() + 4))?;
    for (name, value) in reply.headers.iter().cloned().chain(exchange.headers()) {
        head.append_header(name, value)?;
    }
    let bodiless = reply.status == StatusCode::NO_CONTENT || reply.status == StatusCode::NOT_MODIFIED;
    if !bodiless {
        head.insert_header(header::CONTENT_LENGTH, reply.body.len())?;
    }
    Ok(head)
}

/// The flow that is asked, and what it is asked with besides the session.
pub(super) struct Asked<'a> {
    pub(super) live: &'a Live,
    pub(super) plan: &'a Plan,
    pub(super) route: &'a Route,
    pub(super) flow: &'a BoundFlow,
    pub(super) params: Vec<(String, String)>,
}

/// Runs a flow and writes its answer. A client that leaves meanwhile cancels the flow and all its effects; where something
/// may have to be undone, it is undone first, and so it is when a gateway that stops has no more time.
///
/// `permit`, the seat of the route's own gate, is for the flow's work: it is given back before a streamed answer, which
/// takes as long as its client likes and would teach the limit nothing.
pub(super) async fn run_flow(
    session: &mut Session,
    exchange: &mut Exchange,
    asked: Asked<'_>,
    permit: &mut Option<Permit>,
) -> Result<()> {
    let Asked { live, plan, route, flow, params } = asked;
    let streams = flow.flow().graph().head().streams_body;
    let body = if streams {
        Arriving::of(session, route).map(|(upload, arriving)| (Bytes::new(), Some((upload, arriving))))
    } else {
        arriving::whole(session, exchange, plan, route).await.map(|body| (body, None))
    };
    let (body, arriving) = match body {
        Ok(body) => body,
        Err(error) => return fail(session, exchange, &error).await,
    };
    let head = session.req_header();
    let mut req = Req::new(head.method.clone(), head.uri.path_and_query().map_or("/", |target| target.as_str()));
    req.headers = head.headers.clone();
    let values = showing::asked(&mut req.headers, plan).then(|| Values::new(live.recorder.redaction()));
    req.params = params;
    req.body = body;
    let (upload, arriving) = arriving.unzip();
    if let Some(upload) = &upload {
        req = req.with_upload(upload.clone());
    }
    let bytes_whole = req.body.len() as u64;
    req.client = Some(exchange.client);
    req.deadline = exchange.deadline;

    let mut env = Env::new(exchange.log().clone(), plan.engine.clone());
    // Where something may have to be undone, a client that leaves must not take the undoing with it.
    let cancel = flow.flow().graph().has_undo().then(Cancel::new);
    env.cancel.clone_from(&cancel);
    env.values.clone_from(&values);
    let running = cancel.is_some().then(|| live.undoing.begin());
    exchange.waiting(Cause::Io, flow.name(), None);
    exchange.delegate(true);
    let mut run = std::pin::pin!(AssertUnwindSafe(flow.run(req, env)).catch_unwind());
    let outcome = tokio::select! {
        biased;
        outcome = &mut run => Some(outcome),
        () = live.undoing.told(), if cancel.is_some() => {
            if let Some(cancel) = &cancel {
                cancel.client_left();
            }
            Some(run.await)
        }
        gone = client(session, arriving) => {
            tracing::debug!(request_id = exchange.request_id, ?gone, "client left during a flow");
            if let Some(cancel) = &cancel {
                cancel.client_left();
                let _ = run.await;
            }
            None
        }
    };
    exchange.delegate(false);
    let bytes = upload.map_or(bytes_whole, |upload| upload.progress().0);
    if bytes > 0 {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        exchange.log().attr_int(NodeId::ROOT, live.keys.request_bytes, bytes);
    }
    match outcome {
        None => {
            exchange.failed(&Error::ClientGone, 0);
            Err(PingoraError::explain(ErrorType::ConnectionClosed, "the client left during a flow").into_down())
        }
        Some(Err(_panic)) => fail(session, exchange, &Error::Internal).await,
        Some(Ok(outcome)) if values.is_some() => {
            let shown = values.map(|values| showing::reply(&outcome, &values, exchange.log()));
            give(session, exchange, shown.expect("it is there, says the condition")).await
        }
        Some(Ok(outcome)) => match outcome.result {
            Ok(response) => {
                // Nothing is left to undo, however long its answer takes.
                drop(running);
                let framing = |name: &HeaderName| {
                    *name == header::CONTENT_LENGTH || *name == header::TRANSFER_ENCODING || *name == header::CONNECTION
                };
                let headers: Vec<(HeaderName, HeaderValue)> = response
                    .headers
                    .iter()
                    .filter(|(name, _)| !framing(name))
                    .map(|(name, value)| (name.clone(), value.clone()))
                    .collect();
                match response.body {
                    Body::Whole(body) => {
                        give(session, exchange, Reply { status: response.status, headers, body }).await
                    }
                    Body::Stream(body) => {
                        if let Some(permit) = permit.take() {
                            let failed = response.status.is_server_error();
                            permit.done(if failed { admission::Outcome::Failed } else { admission::Outcome::Good });
                        }
                        streaming::give(session, exchange, response.status, headers, body).await
                    }
                }
            }
            // The client is still there: it was the gateway that gave up.
            Err(failure) if failure.code == "client_gone" => {
                fail(session, exchange, &Error::Shed { reason: Reason::Draining.as_str(), retry_after: 1 }).await
            }
            Err(failure) => {
                tracing::debug!(request_id = exchange.request_id, %failure, "flow failed");
                fail(session, exchange, &error(&failure)).await
            }
        },
    }
}

/// Hands over the body that a flow passes on, and sees the client leave.
async fn client(session: &mut Session, arriving: Option<Arriving>) -> Result<Option<Bytes>> {
    if let Some(arriving) = arriving {
        arriving.read(session).await?;
        if !session.as_downstream_mut().is_body_done() {
            // What is left of it nobody reads: the flow knows why, and ends.
            std::future::pending::<()>().await;
        }
    }
    // Any byte, end or reset from the client: bytes of a next request are kept, the rest means that it left.
    session.as_downstream_mut().read_body_or_idle(true).await
}

/// A flow's failure as ours: the operator's detail stays inside. Where a gate refused a call, its own time to come again
/// goes to the client.
fn error(fail: &Fail) -> Error {
    let by_gate = fail.refused.map(|refusal| {
        let millis = refusal.retry_after.as_millis();
        u32::try_from(millis.div_ceil(1000)).unwrap_or(u32::MAX).max(1)
    });
    Error::Flow {
        status: fail.status.as_u16(),
        code: fail.code.to_owned(),
        message: fail.message.clone().into_owned(),
        retry_after: by_gate.or((fail.status == StatusCode::SERVICE_UNAVAILABLE).then_some(1)),
        refused: fail.refused.is_some(),
    }
}

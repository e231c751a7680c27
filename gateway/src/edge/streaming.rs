//! Answers that are made while they are written: the producer and the client each wait for the other.

use std::future::poll_fn;
use std::pin::pin;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, StatusCode, Version, header};
use pingora_core::{Error as PingoraError, ErrorType, Result};
use pingora_http::ResponseHeader;
use pingora_proxy::Session;
use zerver_flows::body::{Awaited, BodyStream};
use zerver_telemetry::event::{Cause, NodeId};
use zerver_telemetry::names::Name;

use crate::error::Error;
use crate::exchange::Exchange;

/// The most bytes of one write, as pieces of proxied bodies have at most: the time that a client has for a piece
/// (`limits.body_timeout`) does not grow with what a producer hands over at once.
const WRITE_MAX: usize = 64 * 1024;

/// Writes an answer whose body is a stream: the head at once, then each piece as it comes.
///
/// While the client takes a piece, the producer makes the next one, and no more. A client that leaves, a client that takes
/// no piece in the time that bodies have, and the request's own deadline drop the producer where it waits. A producer
/// that fails makes the connection break off: without its last chunk (RFC 9112, 8) or its END_STREAM (RFC 9113, 8.1) the
/// answer is no whole one for anybody. Only HTTP/1.0, which ends bodies by closing, cannot tell.
pub(super) async fn give(
    session: &mut Session,
    exchange: &mut Exchange,
    status: StatusCode,
    headers: Vec<(HeaderName, HeaderValue)>,
    mut body: BodyStream,
) -> Result<()> {
    let names = Names { client: exchange.log().name("client"), stream: exchange.log().name("stream") };
    let request = session.req_header();
    let bodiless = request.method == Method::HEAD
        || status.is_informational()
        || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    let mut head = ResponseHeader::build(status, Some(headers.len() + 4))?;
    for (name, value) in headers.into_iter().chain(exchange.headers()) {
        head.append_header(name, value)?;
    }
    if !bodiless && request.version == Version::HTTP_11 {
        head.insert_header(header::TRANSFER_ENCODING, "chunked")?;
    }
    exchange.waiting(Cause::Write, names.client, None);
    session.write_response_header(Box::new(head), bodiless).await?;
    if bodiless {
        exchange.answered_unless_failed(status.as_u16());
        return Ok(());
    }
    let ended = {
        let late = exchange.time_left();
        let late = pin!(async {
            match late {
                Some(left) => tokio::time::sleep(left).await,
                None => std::future::pending().await,
            }
        });
        tokio::select! {
            biased;
            ended = pieces(session, exchange, names, &mut body) => ended,
            () = late => Err(Ended { error: Error::Deadline, cause: None }),
        }
    };
    // Nobody is to be kept waiting for a destructor: what the producer holds is given back before the answer's last byte.
    drop(body);
    let ended = match ended {
        Ok(()) => session.write_response_body(None, true).await.map_err(|cause| Ended::gone(Some(cause))),
        Err(ended) => Err(ended),
    };
    match ended {
        Ok(()) => {
            exchange.answered_unless_failed(status.as_u16());
            Ok(())
        }
        Err(Ended { error, cause }) => {
            exchange.failed(&error, status.as_u16());
            // HTTP/2 is told so; an HTTP/1.1 connection is closed as the session goes.
            session.as_downstream_mut().shutdown().await;
            Err(cause.unwrap_or_else(|| PingoraError::explain(ErrorType::WriteError, error.to_string())).into_down())
        }
    }
}

/// What the request waits for, by name.
#[derive(Clone, Copy)]
struct Names {
    client: Name,
    stream: Name,
}

/// Why a stream ended before its end.
struct Ended {
    error: Error,
    cause: Option<Box<PingoraError>>,
}

impl Ended {
    fn gone(cause: Option<Box<PingoraError>>) -> Self {
        Self { error: Error::ClientGone, cause }
    }
}

/// Writes every piece; all that is left then is the end.
async fn pieces(
    session: &mut Session,
    exchange: &Exchange,
    names: Names,
    body: &mut BodyStream,
) -> std::result::Result<(), Ended> {
    loop {
        let piece = tokio::select! {
            biased;
            () = produced(exchange, names.stream, body) => body.take(),
            // Any end or reset: bytes of a next request are kept and wake nobody.
            gone = session.as_downstream_mut().read_body_or_idle(true) => return Err(Ended::gone(gone.err())),
        };
        let mut piece = match piece {
            None => return Ok(()),
            Some(Ok(piece)) => piece,
            Some(Err(broken)) => {
                tracing::debug!(request_id = exchange.request_id, %broken, "stream failed");
                let log = exchange.log();
                log.attr_text(
                    NodeId::ROOT,
                    log.name("zerver.stream.error"),
                    &format!("{}: {}", broken.code, broken.detail),
                );
                return Err(Ended { error: Error::StreamFailed, cause: None });
            }
        };
        while !piece.is_empty() {
            let part = piece.split_to(piece.len().min(WRITE_MAX));
            write(session, exchange, names.client, part, body).await.map_err(|cause| Ended::gone(Some(cause)))?;
        }
    }
}

/// Waits for the producer, and says what the producer waits for.
async fn produced(exchange: &Exchange, stream: Name, body: &mut BodyStream) {
    poll_fn(|cx| {
        let polled = body.poll_fill(cx);
        if polled.is_pending() {
            let cause = if body.awaited() == Awaited::Timer { Cause::Timer } else { Cause::Io };
            exchange.waiting(cause, stream, None);
        }
        polled
    })
    .await;
}

/// Writes a part and flushes it. While the client takes it, the producer makes the next piece.
async fn write(
    session: &mut Session,
    exchange: &Exchange,
    client: Name,
    part: Bytes,
    body: &mut BodyStream,
) -> Result<()> {
    exchange.waiting(Cause::Write, client, None);
    let mut written = pin!(session.write_response_body(Some(part), false));
    tokio::select! {
        biased;
        written = &mut written => written,
        () = body.fill() => written.await,
    }
}

//! Bodies on their way to a flow: read whole before it runs, or handed to it piece by piece while it does.

use bytes::{Bytes, BytesMut};
use http::header;
use pingora_core::ErrorType;
use pingora_proxy::Session;
use zerver_flows::Upload;
use zerver_flows::upload::{UploadError, UploadWriter};
use zerver_telemetry::event::Cause;
use zerver_telemetry::names::Name;

use crate::error::Error;
use crate::exchange::Exchange;
use crate::pipeline::content_length;
use crate::plan::{Plan, Route};

/// Reads the whole body, within the route's bound and the time that bodies may take.
pub(super) async fn whole(
    session: &mut Session,
    exchange: &Exchange,
    plan: &Plan,
    route: &Route,
) -> Result<Bytes, Error> {
    let limits = &plan.document.limits;
    let max = route.body_bytes.unwrap_or(limits.body_bytes);
    if content_length(&session.req_header().headers).is_some_and(|length| length > max as u64) {
        return Err(Error::BodyTooLarge);
    }
    if session.as_downstream_mut().is_body_done() {
        return Ok(Bytes::new());
    }
    let gone = |_| Error::ClientGone;
    ask(session).await.map_err(gone)?;
    exchange.waiting(Cause::Read, Name::NONE, None);
    let read = async {
        let mut body = BytesMut::new();
        while let Some(piece) = session.as_downstream_mut().read_request_body().await.map_err(gone)? {
            if body.len() + piece.len() > max {
                return Err(Error::BodyTooLarge);
            }
            body.extend_from_slice(&piece);
        }
        Ok(body.freeze())
    };
    tokio::time::timeout(limits.body_timeout, read).await.unwrap_or(Err(Error::BodyTimeout))
}

/// The client's side of a body that a flow passes on.
pub(super) struct Arriving {
    writer: UploadWriter,
    /// The route's own bound; what is passed on is not held, so there is no other.
    max: u64,
}

impl Arriving {
    /// The body as the flow sees it, and where it comes from.
    pub(super) fn of(session: &Session, route: &Route) -> Result<(Upload, Self), Error> {
        let max = route.body_bytes.map_or(u64::MAX, |max| max as u64);
        let length = content_length(&session.req_header().headers);
        if length.is_some_and(|length| length > max) {
            return Err(Error::BodyTooLarge);
        }
        let (upload, writer) = Upload::channel(length);
        Ok((upload, Self { writer, max }))
    }

    /// Reads the body as fast as the flow asks for it, to its end. Each piece has the time that bodies may take
    /// (`limits.body_timeout`). Whoever takes its time in asking leaves the client waiting, and does not see it leave.
    ///
    /// # Errors
    /// When the client left.
    ///
    /// # Cancel safety
    /// Dropping it breaks the body off.
    pub(super) async fn read(self, session: &mut Session) -> pingora_core::Result<()> {
        let Self { mut writer, max } = self;
        if session.as_downstream_mut().is_body_done() {
            writer.end(Ok(()));
            return Ok(());
        }
        let mut read = 0_u64;
        loop {
            writer.wanted().await;
            if read == 0 {
                ask(session).await?;
            }
            match session.as_downstream_mut().read_request_body().await {
                Ok(Some(piece)) => {
                    read += piece.len() as u64;
                    if read > max {
                        writer.end(Err(UploadError::TooLarge { limit: max }));
                        return Ok(());
                    }
                    writer.push(piece);
                }
                Ok(None) => {
                    writer.end(Ok(()));
                    return Ok(());
                }
                Err(error) if *error.etype() == ErrorType::ReadTimedout => {
                    writer.end(Err(UploadError::Timeout));
                    return Ok(());
                }
                Err(error) => {
                    writer.end(Err(UploadError::Broken));
                    return Err(error);
                }
            }
        }
    }
}

/// Tells a client that waits for it that its body is wanted (RFC 9110, section 10.1.1).
async fn ask(session: &mut Session) -> pingora_core::Result<()> {
    if session.req_header().headers.contains_key(header::EXPECT) {
        session.as_downstream_mut().write_continue_response().await?;
    }
    Ok(())
}

//! A look at the beginning of the request's body, before it is passed on.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use zerver_telemetry::clock::Ticks;
use zerver_telemetry::event::{Cause, NodeId, NodeKind, Outcome};
use zerver_telemetry::names::Name;
use zerver_telemetry::recorder::Opening;

use super::Fx;
use crate::exit::{Fail, Result};
use crate::request::Req;
use crate::upload::PEEK_MAX;

impl<'r> Fx<'r> {
    /// The first `bytes` of the request's body, or all of it when it has fewer; it stays there to be passed on
    /// ([`Call::pass`](super::Call::pass)). At most [`PEEK_MAX`]. In a flow with `body = "stream"` the step is parked
    /// until they have arrived.
    ///
    /// # Errors
    /// When the body does not arrive: 413, 408 or 400, the client's doing.
    ///
    /// ```
    /// use zerver_flows::{Fail, Fx, Req, Response, Result, fake::Fake, flow, step};
    ///
    /// #[step]
    /// async fn sniff(req: &Req, fx: &Fx<'_>) -> Result<&'static str> {
    ///     match &fx.peek(req, 4).await?[..] {
    ///         b"\x89PNG" => Ok("png"),
    ///         _ => Err(Fail::new(http::StatusCode::UNSUPPORTED_MEDIA_TYPE, "send a PNG").into()),
    ///     }
    /// }
    /// #[step(targets("files"))]
    /// async fn store(req: &Req, kind: &str, fx: &Fx<'_>) -> Result<u16> {
    ///     Ok(fx.put(format!("files:/new.{kind}")).pass(req).await?.status.as_u16())
    /// }
    /// #[step]
    /// async fn respond(stored: &u16) -> Result<Response> {
    ///     Ok(Response::empty(*stored))
    /// }
    /// #[flow("upload", body = "stream")]
    /// async fn upload(req: &Req) -> Response {
    ///     let kind = sniff(req);
    ///     let stored = store(req, kind);
    ///     respond(stored)
    /// }
    /// let mut fake = Fake::new();
    /// fake.on("PUT files:/new.png").status(201);
    /// let mut image = Req::new(http::Method::POST, "/");
    /// image.body = b"\x89PNG....".as_slice().into();
    /// let done = fake.run(&upload(), image);
    /// assert_eq!((done.status(), &done.calls[0].call.body[..]), (201, b"\x89PNG....".as_slice()));
    /// ```
    #[must_use = "a body is looked at when this is awaited"]
    pub fn peek(&self, req: &'r Req, bytes: usize) -> Peek<'r> {
        Peek { fx: *self, req, bytes, node: None }
    }
}

/// A look at the request's body; see [`Fx::peek`].
#[must_use = "a body is looked at when this is awaited"]
pub struct Peek<'r> {
    fx: Fx<'r>,
    req: &'r Req,
    bytes: usize,
    /// Open while it waits for the client.
    node: Option<NodeId>,
}

impl Peek<'_> {
    fn close(&mut self, at: Ticks, outcome: Outcome, error: Name) {
        if let Some(node) = self.node.take() {
            self.fx.run.shared.log.close(at, node, outcome, 0, error);
            self.fx.cell().stamp.done(false);
        }
    }
}

impl Future for Peek<'_> {
    type Output = Result<Bytes>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Bytes>> {
        let me = &mut *self;
        let log = &me.fx.run.shared.log;
        if me.bytes > PEEK_MAX {
            let detail = format!("a step looks at {} bytes of the body; at most {PEEK_MAX} can be", me.bytes);
            return Poll::Ready(Err(Fail::internal("peek_too_long", detail).into()));
        }
        match me.req.upload().poll_peek(me.bytes, cx) {
            Poll::Ready(looked) => {
                let (outcome, error) = match &looked {
                    Ok(_) => (Outcome::Ok, Name::NONE),
                    Err(error) => (Outcome::Error, log.name(Fail::from(*error).code)),
                };
                me.close(log.now(), outcome, error);
                Poll::Ready(looked.map_err(|error| Fail::from(error).into()))
            }
            Poll::Pending => {
                if me.node.is_none() {
                    let (cell, now) = (me.fx.cell(), log.now());
                    let opening = Opening::running(log.name("request_body"), NodeKind::Station, cell.node());
                    me.node = Some(log.open(now, opening.in_state(Cause::Read, Name::NONE)));
                    cell.stamp.begin(false);
                }
                Poll::Pending
            }
        }
    }
}

impl Drop for Peek<'_> {
    fn drop(&mut self) {
        let at = self.fx.run.moment(self.fx.step);
        self.close(at, Outcome::Cancelled, Name::NONE);
    }
}

impl std::fmt::Debug for Peek<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Peek").field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

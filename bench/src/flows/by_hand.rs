//! The same work written by hand with `join!`: what a person writes who wants no flow, with and without a timeline.

use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method};
use tokio::join;
use zerver_flows::adapter::{Adapter, HttpCall, Retries, Traced};
use zerver_flows::{Req, Response};
use zerver_telemetry::event::{Cause, NodeId, NodeKind, Outcome};
use zerver_telemetry::id::traceparent;
use zerver_telemetry::names::Name;
use zerver_telemetry::recorder::{Log, Opening};

/// What the steps need. Without a timeline the log is only passed on, since the adapter takes one.
#[derive(Clone, Copy)]
pub(super) struct Hands<'h> {
    pub(super) log: &'h Log,
    pub(super) adapter: &'h dyn Adapter,
    pub(super) step: Name,
    pub(super) target: Name,
    pub(super) origin: &'h std::sync::Arc<str>,
    pub(super) retries: &'h Retries,
    /// Whether steps and calls are written to the timeline, as a flow writes them.
    pub(super) traced: bool,
    /// Whether the middle steps make a call each.
    pub(super) calls: bool,
}

type Fallible<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// A run of one first step, layers of `WIDTH` parallel steps, and a last step.
pub(super) async fn run(hands: Hands<'_>, req: &Req, steps: usize) -> Fallible<Response> {
    if hands.traced {
        hands.log.state(hands.log.now(), NodeId::ROOT, Cause::Join, Name::NONE, None);
    }
    let first = hands.step(None, async { Ok(req.path.len() as u64) }).await?;
    let response = if steps == 5 {
        let (a, b, c) = join!(hands.middle(first), hands.middle(first), hands.middle(first));
        let (a, b, c) = (a?, b?, c?);
        hands.step(None, async { Ok(answer(a + b + c)) }).await?
    } else {
        let (mut a, mut b, mut c, mut d) = (first, first, first, first);
        for _ in 0..(steps - 2) / 4 {
            let layer = join!(hands.middle(a), hands.middle(b), hands.middle(c), hands.middle(d));
            (a, b, c, d) = (layer.0?, layer.1?, layer.2?, layer.3?);
        }
        hands.step(None, async { Ok(answer(a + b + c + d)) }).await?
    };
    if hands.traced {
        hands.log.state(hands.log.now(), NodeId::ROOT, Cause::Run, Name::NONE, None);
    }
    Ok(response)
}

fn answer(sum: u64) -> Response {
    Response::empty(if std::hint::black_box(sum) > 0 { 200 } else { 500 })
}

impl Hands<'_> {
    /// Runs a step; with a timeline, writes its opening, its first poll and its end.
    async fn step<T>(&self, node: Option<NodeId>, work: impl Future<Output = Fallible<T>>) -> Fallible<T> {
        if !self.traced {
            return work.await;
        }
        let node = node.unwrap_or_else(|| self.open());
        let result = work.await;
        let outcome = if result.is_ok() { Outcome::Ok } else { Outcome::Error };
        self.log.close(self.log.now(), node, outcome, 0, Name::NONE);
        result
    }

    fn open(&self) -> NodeId {
        let now = self.log.now();
        let opening = Opening::running(self.step, NodeKind::Step, NodeId::ROOT).in_state(Cause::Worker, Name::NONE);
        let node = self.log.open(now, opening);
        self.log.state(now, node, Cause::Run, Name::NONE, None);
        node
    }

    async fn middle(&self, before: u64) -> Fallible<u64> {
        let node = self.traced.then(|| self.open());
        if self.calls {
            let step = node.unwrap_or(NodeId::ROOT);
            self.step(node, async { Ok(before + self.fetch(step).await?.len() as u64) }).await
        } else {
            self.step(node, async { Ok(std::hint::black_box(before) + 1) }).await
        }
    }

    async fn fetch(&self, step: NodeId) -> Fallible<Bytes> {
        let (log, name) = (self.log, self.target);
        let mut headers = HeaderMap::new();
        let mut node = NodeId::ROOT;
        if self.traced {
            let opening = Opening::running(name, NodeKind::Effect, step).in_state(Cause::Io, name);
            node = log.open(log.now(), opening);
            let trace = traceparent(log.trace_id(), log.span_id(node), log.sampled());
            headers.insert("traceparent", HeaderValue::from_bytes(&trace)?);
        }
        let call = HttpCall {
            target: std::sync::Arc::clone(self.origin),
            method: Method::GET,
            path_and_query: "/item".to_owned(),
            headers,
            body: Bytes::new(),
            upload: None,
            deadline: None,
            idempotency_key: None,
            priority: zerver_flows::adapter::Priority::default(),
        };
        let traced = Traced { log, node, parent: step, name, occurrence: 1, attempt: 1, retries: self.retries };
        let answer = self.adapter.http(call, traced).await?;
        if self.traced {
            log.close(log.now(), node, Outcome::Ok, answer.status.as_u16(), Name::NONE);
        }
        Ok(answer.body)
    }
}

/// Polls a future that must be ready at once.
///
/// # Panics
/// When it is not: then not the same thing is measured.
pub(super) fn at_once<T>(future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    match Pin::as_mut(&mut future).poll(&mut cx) {
        std::task::Poll::Ready(value) => value,
        std::task::Poll::Pending => panic!("every effect of these flows is ready at once"),
    }
}

//! The probe of one request: measures its future from the outside, so that queued, parked and running are facts.
//!
//! [`Timed`] wraps the request's future. A poll is *running*; from a pending poll to the first wake the request is
//! *parked* with the cause the request announced; from that wake to the next poll it is *queued* for a worker.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Wake, Waker};

use futures_util::task::AtomicWaker;
use pin_project_lite::pin_project;
use zerver_telemetry::clock::Clock;
use zerver_telemetry::event::{Cause, NodeId};
use zerver_telemetry::id::{SpanId, TraceId};
use zerver_telemetry::names::Name;
use zerver_telemetry::recorder::Log;

tokio::task_local! {
    /// The probe of the request whose future is being polled: the way to it for who gets no argument of ours, the first phase
    /// that pingora calls, and whatever is logged meanwhile.
    static CURRENT: Arc<Probe>;
}

/// The probe of the request that is being polled; none outside of any.
#[must_use]
pub fn current() -> Option<Arc<Probe>> {
    CURRENT.try_with(Arc::clone).ok()
}

/// Which request is being polled, for what is logged meanwhile; none outside of any.
#[must_use]
pub fn identity() -> Option<Identity> {
    let here = |probe: &Arc<Probe>| {
        let log = probe.log.get()?;
        let request_id = probe.request_id.get().map(|id| id.to_string());
        Some(Identity { trace_id: log.trace_id(), span_id: log.span_id(NodeId::ROOT), request_id })
    };
    CURRENT.try_with(here).ok().flatten()
}

/// Polls `future` as the request of `probe`, measured.
pub async fn serving<F: Future>(probe: Arc<Probe>, future: F) -> F::Output {
    CURRENT.scope(Arc::clone(&probe), Timed::new(future, probe)).await
}

/// Which request something belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Its trace.
    pub trace_id: TraceId,
    /// Its span.
    pub span_id: SpanId,
    /// The name that its client gave it.
    pub request_id: Option<String>,
}

/// What a request's future and its stations share.
#[derive(Debug)]
pub struct Probe {
    clock: Clock,
    log: OnceLock<Log>,
    request_id: OnceLock<Box<str>>,
    /// The node waited for, the cause and its name, packed: what a pending poll means now.
    waiting: AtomicU64,
    /// True while somebody else writes the request's states (a flow runs).
    delegated: AtomicBool,
    /// Ticks of the first wake since the last pending poll; 0 while none came.
    woken: AtomicU64,
    task: AtomicWaker,
    /// Set by the socket while the kernel takes no more bytes for the client.
    client_full: OnceLock<Arc<AtomicBool>>,
    client: OnceLock<Name>,
}

const NO_NODE: u64 = u16::MAX as u64;

impl Probe {
    /// A probe that writes nothing until [`Probe::attach`].
    #[must_use]
    pub fn new(clock: Clock) -> Arc<Self> {
        Arc::new(Self {
            clock,
            log: OnceLock::new(),
            request_id: OnceLock::new(),
            waiting: AtomicU64::new(pack(Cause::Read, Name::NONE, None)),
            delegated: AtomicBool::new(false),
            woken: AtomicU64::new(0),
            task: AtomicWaker::new(),
            client_full: OnceLock::new(),
            client: OnceLock::new(),
        })
    }

    /// From now on the request's states go to this log. A second log is ignored: a probe serves one request.
    pub fn attach(&self, log: Log) {
        let _ = self.log.set(log);
    }

    /// The name that the request's client gave it.
    pub fn named(&self, request_id: &str) {
        let _ = self.request_id.set(request_id.into());
    }

    /// A pending poll while `full` is set means that `client` takes no more bytes, whatever else was announced.
    pub fn watch_client(&self, full: Arc<AtomicBool>, client: Name) {
        let _ = self.client_full.set(full);
        let _ = self.client.set(client);
    }

    /// What a pending poll means now.
    fn meaning(&self) -> (Cause, Name, Option<NodeId>) {
        if self.client_full.get().is_some_and(|full| full.load(Relaxed)) {
            return (Cause::Write, self.client.get().copied().unwrap_or_default(), None);
        }
        unpack(self.waiting.load(Relaxed))
    }

    /// Says what a pending poll means from now on. `child` is the node whose end will wake the request.
    pub fn waiting(&self, cause: Cause, name: Name, child: Option<NodeId>) {
        self.waiting.store(pack(cause, name, child), Relaxed);
    }

    /// Leaves the request's states to somebody else, or takes them back.
    pub fn delegate(&self, to_other: bool) {
        self.delegated.store(to_other, Relaxed);
    }

    fn log(&self) -> Option<&Log> {
        self.log.get().filter(|_| !self.delegated.load(Relaxed))
    }
}

impl Wake for Probe {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // Only the first wake counts: from it on the request is ready.
        if self.woken.load(Relaxed) == 0 {
            let _ = self.woken.compare_exchange(0, self.clock.now().0, Relaxed, Relaxed);
        }
        self.task.wake();
    }
}

fn pack(cause: Cause, name: Name, child: Option<NodeId>) -> u64 {
    cause as u64 | (child.map_or(NO_NODE, |n| u64::from(n.0)) << 8) | (u64::from(name.0) << 32)
}

fn unpack(word: u64) -> (Cause, Name, Option<NodeId>) {
    let cause = Cause::ALL[(word & 0xff) as usize % Cause::ALL.len()];
    let node = (word >> 8) & 0xffff;
    (cause, Name((word >> 32) as u32), (node != NO_NODE).then_some(NodeId(node as u16)))
}

pin_project! {
    /// A request's future, measured.
    pub struct Timed<F> {
        #[pin]
        inner: F,
        probe: Arc<Probe>,
        waker: Waker,
        pending: bool,
    }
}

impl<F> Timed<F> {
    /// Wraps a future.
    pub fn new(inner: F, probe: Arc<Probe>) -> Self {
        let waker = Waker::from(Arc::clone(&probe));
        Self { inner, probe, waker, pending: false }
    }
}

impl<F: Future> Future for Timed<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let probe = &**this.probe;
        probe.task.register(cx.waker());
        let woken = probe.woken.swap(0, Relaxed);
        if *this.pending
            && let Some(log) = probe.log()
        {
            let (cause, _, child) = unpack(probe.waiting.load(Relaxed));
            let child = child.filter(|_| cause == Cause::Join);
            let now = log.now();
            if woken != 0 && woken < now.0 {
                log.state(zerver_telemetry::clock::Ticks(woken), NodeId::ROOT, Cause::Worker, Name::NONE, child);
                log.state(now, NodeId::ROOT, Cause::Run, Name::NONE, None);
            } else {
                log.state(now, NodeId::ROOT, Cause::Run, Name::NONE, child);
            }
        }
        let polled = this.inner.poll(&mut Context::from_waker(this.waker));
        *this.pending = polled.is_pending();
        if *this.pending
            && let Some(log) = probe.log()
        {
            let (cause, name, _) = probe.meaning();
            log.state(log.now(), NodeId::ROOT, cause, name, None);
        }
        polled
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use zerver_telemetry::event::Outcome;
    use zerver_telemetry::recorder::Recorder;

    #[test]
    fn the_words_read_back() {
        for word in [(Cause::Write, Name(7), None), (Cause::Join, Name(70_000), Some(NodeId(9)))] {
            assert_eq!(unpack(pack(word.0, word.1, word.2)), word);
        }
    }

    #[test]
    fn a_wake_ends_the_park_and_the_poll_ends_the_queue() {
        let clock = Clock::manual();
        let recorder = Recorder::for_tests(clock.clone());
        let recording = recorder.start(clock.now(), None, false);
        let probe = Probe::new(clock.clone());
        probe.attach((*recording).clone());
        probe.waiting(Cause::Io, recorder.names().intern("web"), None);
        let mut polls = 0;
        let mut timed = Box::pin(Timed::new(
            std::future::poll_fn(|_| {
                polls += 1;
                clock.advance(Duration::from_millis(1));
                if polls == 2 { Poll::Ready(()) } else { Poll::Pending }
            }),
            Arc::clone(&probe),
        ));
        let mut cx = Context::from_waker(Waker::noop());
        assert!(timed.as_mut().poll(&mut cx).is_pending());
        clock.advance(Duration::from_millis(10));
        Arc::clone(&probe).wake();
        clock.advance(Duration::from_millis(5));
        Arc::clone(&probe).wake();
        assert!(timed.as_mut().poll(&mut cx).is_ready());
        recording.finish(clock.now(), Outcome::Ok, 200, Name::NONE);
        let timeline = recorder.timelines().remove(0);
        let split = timeline.root().split();
        assert_eq!((split.run_ns, split.park_ns, split.queue_ns), (2_000_000, 10_000_000, 5_000_000));
    }
}

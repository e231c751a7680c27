//! Measures a future: the time from wake to poll is queue, pending is park with its cause, a poll is run.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering::Relaxed};
use std::task::{Context, Poll, Waker};

use pin_project_lite::pin_project;
use zerver_telemetry::event::{Cause, NodeId};
use zerver_telemetry::names::Name;
use zerver_telemetry::recorder::Log;

use crate::wake::Stamp;

/// Says what a measured future waits for, from wherever its code stands. Cheap to clone.
///
/// The future that is measured and the code inside it share one: before an await, the code says why it will be
/// pending, and [`Episode`] writes that when it is.
#[derive(Clone, Debug)]
pub struct Parking(Arc<Cell>);

#[derive(Debug)]
struct Cell {
    cause: AtomicU8,
    name: AtomicU32,
    delegated: AtomicBool,
}

impl Default for Parking {
    fn default() -> Self {
        Self::new()
    }
}

impl Parking {
    /// Waiting for I/O that has no name, until told otherwise.
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::new(Cell {
            cause: AtomicU8::new(Cause::Io as u8),
            name: AtomicU32::new(Name::NONE.0),
            delegated: AtomicBool::new(false),
        }))
    }

    /// From now until the guard is dropped, pending means `cause`; then it means again what it meant before.
    #[must_use = "the cause holds only until the guard is dropped"]
    pub fn during(&self, cause: Cause, name: Name) -> ParkingGuard<'_> {
        let (cause_before, name_before) = self.get();
        self.set(cause, name);
        ParkingGuard { parking: self, cause: cause_before, name: name_before }
    }

    /// From now on, pending means `cause`.
    pub fn set(&self, cause: Cause, name: Name) {
        self.0.cause.store(cause as u8, Relaxed);
        self.0.name.store(name.0, Relaxed);
    }

    fn get(&self) -> (Cause, Name) {
        let cause = Cause::ALL.get(usize::from(self.0.cause.load(Relaxed))).copied().unwrap_or(Cause::Io);
        (cause, Name(self.0.name.load(Relaxed)))
    }

    /// While this is on, someone inside writes the node's states and [`Episode`] writes none: a flow does so for the
    /// request it answers.
    pub(crate) fn delegate(&self, on: bool) {
        self.0.delegated.store(on, Relaxed);
    }

    fn is_delegated(&self) -> bool {
        self.0.delegated.load(Relaxed)
    }
}

/// Gives the cause before back when dropped; see [`Parking::during`].
#[derive(Debug)]
pub struct ParkingGuard<'p> {
    parking: &'p Parking,
    cause: Cause,
    name: Name,
}

impl Drop for ParkingGuard<'_> {
    fn drop(&mut self) {
        self.parking.set(self.cause, self.name);
    }
}

pin_project! {
    /// A future whose queueing, parking and running are written to a node of a timeline.
    ///
    /// The node must be open and running when the episode is made; it stays open when the future ends, so that whoever
    /// opened it closes it. States tile the node's life: a wake's moment ends a park, a poll's start ends a queue.
    /// Costs two clock reads a poll, and one a wake.
    #[derive(Debug)]
    pub struct Episode<F> {
        #[pin]
        inner: F,
        log: Log,
        node: NodeId,
        parking: Parking,
        stamp: Arc<Stamp>,
        waker: Waker,
        polled: bool,
    }
}

impl<F: Future> Episode<F> {
    /// Measures `inner` as `node`. `parking` is shared with the code inside.
    pub fn new(inner: F, log: Log, node: NodeId, parking: Parking) -> Self {
        let stamp = Stamp::new(log.recorder().clock().clone());
        let waker = Waker::from(Arc::clone(&stamp));
        Self { inner, log, node, parking, stamp, waker, polled: false }
    }
}

impl<F: Future> Future for Episode<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let me = self.project();
        let woken = me.stamp.take();
        if *me.polled && !me.parking.is_delegated() {
            let now = me.log.now();
            let (at, by) = woken.unwrap_or((now, None));
            me.log.state(at.min(now), *me.node, Cause::Worker, Name::NONE, by);
            me.log.state(now, *me.node, Cause::Run, Name::NONE, None);
        }
        *me.polled = true;
        me.stamp.register(cx.waker());
        let polled = me.inner.poll(&mut Context::from_waker(me.waker));
        if polled.is_pending() && !me.parking.is_delegated() {
            let (cause, name) = me.parking.get();
            me.log.state(me.log.now(), *me.node, cause, name, None);
        }
        polled
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    use futures_util::FutureExt;
    use futures_util::task::noop_waker;
    use zerver_telemetry::clock::Clock;
    use zerver_telemetry::event::{Outcome, StateKind};
    use zerver_telemetry::recorder::Recorder;

    #[test]
    fn queue_park_and_run_are_told_apart() {
        let clock = Clock::manual();
        let ms = |n| clock.advance(Duration::from_millis(n));
        let recorder = Recorder::for_tests(clock.clone());
        let request = recorder.start(clock.now(), None, false);
        let (tell, told) = tokio::sync::oneshot::channel();
        let parking = Parking::new();
        let seats = recorder.names().intern("seats");
        let inner = async {
            ms(1);
            let _waiting = parking.during(Cause::Permit, seats);
            told.await.unwrap();
            ms(2);
        };
        let mut episode = Box::pin(Episode::new(inner, (*request).clone(), NodeId::ROOT, parking.clone()));
        let waker = noop_waker();
        let mut cx = Context::from_waker(&waker);
        assert!(episode.poll_unpin(&mut cx).is_pending());
        ms(10);
        tell.send(()).unwrap();
        ms(5);
        assert!(episode.poll_unpin(&mut cx).is_ready());
        drop(episode);
        request.finish(clock.now(), Outcome::Ok, 200, Name::NONE);

        let timeline = recorder.timelines().remove(0);
        timeline.check().unwrap();
        let states: Vec<_> =
            timeline.root().states.iter().map(|s| (s.cause.kind(), s.cause, s.len_ns() / 1_000_000)).collect();
        assert_eq!(
            states,
            [
                (StateKind::Run, Cause::Run, 1),
                (StateKind::Queue, Cause::Permit, 10),
                (StateKind::Queue, Cause::Worker, 5),
                (StateKind::Run, Cause::Run, 2),
            ]
        );
    }
}

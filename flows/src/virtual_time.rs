//! Time that passes only when everybody waits: the clock and the executor under the fake and the replay.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use zerver_telemetry::clock::{Clock, Ticks};

/// A clock that stands still while anyone can run, and then jumps to the next timer.
#[derive(Debug)]
pub(crate) struct VirtualTime {
    clock: Clock,
    next: AtomicU64,
    timers: Mutex<Vec<Waiting>>,
}

#[derive(Debug)]
struct Waiting {
    id: u64,
    due: Ticks,
    waker: Waker,
}

impl VirtualTime {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { clock: Clock::manual(), next: AtomicU64::new(0), timers: Mutex::default() })
    }

    pub(crate) fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Ready after `wait`.
    pub(crate) fn timer(self: &Arc<Self>, wait: Duration) -> BoxFuture<'static, ()> {
        let due = self.clock.after(self.clock.now(), wait);
        Box::pin(Timer { time: Arc::clone(self), id: self.next.fetch_add(1, Relaxed), due })
    }

    /// Runs `future` to its end. None when it waits for something that will never happen.
    pub(crate) fn run<F: Future>(&self, future: F) -> Option<F::Output> {
        let mut future = pin!(future);
        let flag = Arc::new(Flag(AtomicBool::new(true)));
        let waker = Waker::from(Arc::clone(&flag));
        loop {
            while flag.0.swap(false, Relaxed) {
                if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
                    return Some(output);
                }
            }
            self.jump()?;
        }
    }

    /// Moves the clock to the next timer and wakes all that are due then. None when there is none.
    fn jump(&self) -> Option<()> {
        let mut timers = self.timers.lock();
        let next = timers.iter().map(|timer| timer.due).min()?;
        self.clock.advance(self.clock.between(self.clock.now(), next));
        let (due, later) = timers.drain(..).partition(|timer| timer.due <= next);
        *timers = later;
        drop(timers);
        let mut due: Vec<Waiting> = due;
        due.sort_by_key(|timer| timer.id);
        for timer in due {
            timer.waker.wake();
        }
        Some(())
    }
}

struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Relaxed);
    }
}

struct Timer {
    time: Arc<VirtualTime>,
    id: u64,
    due: Ticks,
}

impl Future for Timer {
    type Output = ();

    fn poll(self: std::pin::Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.time.clock.now() >= self.due {
            return Poll::Ready(());
        }
        let mut timers = self.time.timers.lock();
        timers.retain(|timer| timer.id != self.id);
        timers.push(Waiting { id: self.id, due: self.due, waker: cx.waker().clone() });
        Poll::Pending
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        self.time.timers.lock().retain(|timer| timer.id != self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_jumps_to_the_next_timer_and_no_further() {
        let time = VirtualTime::new();
        let start = time.clock().now();
        let both = async {
            let slow = time.timer(Duration::from_secs(3_600));
            futures_util::future::select(slow, time.timer(Duration::from_millis(5))).await;
        };
        assert_eq!(time.run(both), Some(()));
        assert_eq!(time.clock().since(start), Duration::from_millis(5));
        assert_eq!(time.run(std::future::pending::<()>()), None);
    }
}

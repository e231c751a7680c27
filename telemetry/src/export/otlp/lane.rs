//! The way of one signal: what waits, and the loop that takes batches from it and delivers each or gives it up.
//!
//! Lanes share the exporter's thread and nothing else: a receiver that hangs holds up its own signal only.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use parking_lot::{Condvar, Mutex};
use tokio::sync::{Notify, watch};
use tokio::time::{Sleep, sleep, timeout};

use crate::clock::{Clock, Ticks};
use crate::export::otlp::message::Frame;
use crate::export::otlp::transport::{Answer, Transport};
use crate::export::queue::{Group, Queue};
use crate::export::{DropCause, ExportCounters, News, Signal};
use crate::id::IdSource;

/// The first pause before a batch is tried again; each later one is twice as long, up to [`PAUSE_MAX`].
const PAUSE: Duration = Duration::from_millis(250);
/// The longest pause of our own.
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// The longest pause that a receiver can ask for.
const HOLD_MAX: Duration = Duration::from_secs(300);
/// The least time between two reports of failure.
const QUIET: Duration = Duration::from_secs(60);
/// The pause while the gateway is ending, when there is little time left.
const PAUSE_LAST: Duration = Duration::from_millis(50);

/// What waits of one signal; shared by those who offer and the loop that sends.
#[derive(Debug)]
pub(crate) struct Lane<T> {
    queue: Mutex<Queue<T>>,
    settled: Condvar,
    wake: Notify,
    batch: usize,
}

impl<T> Lane<T> {
    pub(crate) fn new(batch: usize, max_items: usize, max_bytes: usize) -> Self {
        let queue = Mutex::new(Queue::new(max_items, max_bytes));
        Self { queue, settled: Condvar::new(), wake: Notify::new(), batch }
    }

    /// Never waits: when too much waits already, the oldest is dropped and counted.
    pub(crate) fn offer(&self, group: Group<T>) {
        let mut queue = self.queue.lock();
        let before = queue.len();
        queue.push(group);
        let (after, full) = (queue.len(), self.batch);
        drop(queue);
        if before == 0 || (before < full && after >= full) {
            self.wake.notify_one();
        }
    }

    pub(crate) fn counters(&self) -> ExportCounters {
        self.queue.lock().counters()
    }

    /// Waits until all that was offered so far is settled; says whether it is.
    pub(crate) fn flush(&self, deadline: Duration) -> bool {
        let mut queue = self.queue.lock();
        let upto = queue.counters().offered;
        queue.flush_upto = queue.flush_upto.max(upto);
        self.wake.notify_one();
        let pending = |queue: &mut Queue<T>| !queue.ended && queue.settled() < upto;
        self.settled.wait_while_for(&mut queue, pending, deadline);
        queue.settled() >= upto
    }

    pub(crate) fn wake(&self) {
        self.wake.notify_one();
    }

    /// Waits until the loop has ended, then gives up what is left, ended or not: from here on nothing arrives.
    pub(crate) fn wait_for_end(&self, deadline: Duration) -> ExportCounters {
        let mut queue = self.queue.lock();
        self.settled.wait_while_for(&mut queue, |queue| !queue.ended, deadline);
        queue.end();
        queue.counters()
    }

    /// Gives everything up and tells whoever waits.
    pub(crate) fn end(&self) {
        self.queue.lock().end();
        self.settled.notify_all();
    }
}

/// Tells of changes, and not too often.
pub(crate) struct Teller {
    pub(crate) signal: Signal,
    pub(crate) tell: Arc<dyn Fn(News<'_>) + Send + Sync>,
    pub(crate) clock: Clock,
    /// A failure was told of, and no delivery since.
    pub(crate) failing: bool,
    /// When it last told of a failure at all.
    pub(crate) told: Option<Ticks>,
}

impl Teller {
    fn failing(&mut self, why: &str) {
        let now = self.clock.now();
        if !self.failing && self.told.is_none_or(|told| self.clock.between(told, now) >= QUIET) {
            (self.failing, self.told) = (true, Some(now));
            (self.tell)(News::Failing { signal: self.signal, why });
        }
    }

    fn delivered(&mut self) {
        if std::mem::take(&mut self.failing) {
            (self.tell)(News::Delivered { signal: self.signal });
        }
    }
}

/// The loop's side of a lane.
pub(crate) struct Sender<T> {
    pub(crate) lane: Arc<Lane<T>>,
    pub(crate) transport: Transport,
    /// Appends the message of a batch.
    pub(crate) encode: fn(Vec<T>, &Frame, &mut BytesMut),
    pub(crate) frame: Frame,
    /// Holds the deadline once the exporter stops.
    pub(crate) stopped: watch::Receiver<Option<Duration>>,
    pub(crate) delay: Duration,
    pub(crate) retry_for: Duration,
    /// Until when the receiver is left alone, over the ends of batches.
    pub(crate) hold: Option<Pin<Box<Sleep>>>,
    /// Says when deliveries begin to fail and when they work again.
    pub(crate) teller: Teller,
    /// Draws the jitter of pauses, so that many gateways do not come back at once.
    pub(crate) dice: IdSource,
}

impl<T> Sender<T> {
    fn stopping(&self) -> bool {
        self.stopped.borrow().is_some() || self.stopped.has_changed().is_err()
    }

    /// Items that wait, and whether they should go at once.
    fn due(&self) -> (usize, bool) {
        let queue = self.lane.queue.lock();
        let hurry = self.stopping() || queue.settled() < queue.flush_upto;
        (queue.len(), hurry || queue.len() >= self.lane.batch)
    }

    /// Sends until the exporter stops and nothing waits.
    pub(crate) async fn run(mut self) {
        loop {
            let (waiting, now) = self.due();
            if waiting == 0 {
                if self.stopping() {
                    return self.lane.end();
                }
                self.lane.wake.notified().await;
                continue;
            }
            if !now {
                let fills = async {
                    while !self.due().1 {
                        self.lane.wake.notified().await;
                    }
                };
                // Full or not, after the delay it goes.
                let _ = timeout(self.delay, fills).await;
            }
            loop {
                let batch = self.lane.queue.lock().take(self.lane.batch);
                if batch.is_empty() {
                    break;
                }
                let body = self.transport.pack(|out| (self.encode)(batch, &self.frame, out));
                let result = timeout(self.retry_for, self.deliver(&body)).await;
                self.lane.queue.lock().settle(result.unwrap_or(Err(DropCause::Unreachable)));
                self.lane.settled.notify_all();
            }
        }
    }

    /// Sends a batch until it arrives or is refused; gives how many of its items were refused all the same. The caller
    /// bounds the time.
    async fn deliver(&mut self, body: &bytes::Bytes) -> Result<u64, DropCause> {
        let mut pause = PAUSE;
        loop {
            self.wait_while_held().await;
            match self.transport.send(body).await {
                Answer::Taken { refused, remark, odd } => {
                    match remark {
                        Some(remark) => {
                            self.teller.failing(&remark);
                            self.lane.queue.lock().remarked(remark, odd);
                        }
                        None => self.teller.delivered(),
                    }
                    return Ok(refused);
                }
                Answer::Refused { why } => {
                    self.teller.failing(&why);
                    self.lane.queue.lock().failed(why);
                    return Err(DropCause::Rejected);
                }
                Answer::Again { why, after } => {
                    self.teller.failing(&why);
                    self.lane.queue.lock().failed(why);
                    // A quarter more or less.
                    let percent = 75 + u32::try_from(self.dice.next_u64() % 51).unwrap_or(25);
                    let own = pause * percent / 100;
                    self.hold = Some(Box::pin(sleep(after.unwrap_or(own).max(own).min(HOLD_MAX))));
                    pause = (pause * 2).min(PAUSE_MAX);
                }
            }
        }
    }

    async fn wait_while_held(&mut self) {
        let stopping = self.stopping();
        let Some(hold) = &mut self.hold else { return };
        if stopping {
            sleep(PAUSE_LAST).await;
        } else {
            let mut stopped = self.stopped.clone();
            let ending = async { _ = stopped.wait_for(Option::is_some).await };
            tokio::select! {
                () = hold => {}
                // A stop cuts the pause short: one more try is worth more than waiting.
                () = ending => {}
            }
        }
        self.hold = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_told_and_not_too_often() {
        let (tell, told) = std::sync::mpsc::channel();
        let clock = Clock::manual();
        let mut teller = Teller {
            signal: Signal::Traces,
            tell: Arc::new(move |news| tell.send(matches!(news, News::Failing { why: "no", .. })).expect("it listens")),
            clock: clock.clone(),
            failing: false,
            told: None,
        };
        // It fails, fails on, works, works on, and fails again within the minute: that is not told, nor is its end.
        teller.failing("no");
        teller.failing("no");
        for _ in 0..2 {
            teller.delivered();
        }
        teller.failing("no");
        teller.delivered();
        clock.advance(QUIET);
        teller.failing("no");
        assert_eq!(told.try_iter().collect::<Vec<_>>(), [true, false, true]);
    }
}

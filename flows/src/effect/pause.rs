//! A pause: the step is parked on a timer.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::BoxFuture;

use super::Fx;

impl<'r> Fx<'r> {
    /// Waits for `time`. The step is parked on a timer meanwhile.
    #[must_use = "a pause is made when it is awaited"]
    pub fn sleep(&self, time: Duration) -> Sleep<'r> {
        Sleep { fx: *self, time, timer: None }
    }
}

/// A pause; see [`Fx::sleep`].
#[must_use = "a pause is made when it is awaited"]
pub struct Sleep<'r> {
    fx: Fx<'r>,
    time: Duration,
    timer: Option<BoxFuture<'static, ()>>,
}

impl Sleep<'_> {
    fn stop(&mut self) {
        if self.timer.take().is_some() {
            self.fx.cell().stamp.done(true);
        }
    }
}

impl Future for Sleep<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let me = &mut *self;
        if me.timer.is_none() {
            me.timer = Some(me.fx.run.shared.shell.timer(me.time));
            me.fx.cell().stamp.begin(true);
        }
        let over = me.timer.as_mut().is_none_or(|timer| timer.as_mut().poll(cx).is_ready());
        if over {
            me.stop();
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }
}

impl Drop for Sleep<'_> {
    fn drop(&mut self) {
        self.stop();
    }
}

impl std::fmt::Debug for Sleep<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sleep").field("time", &self.time).finish_non_exhaustive()
    }
}

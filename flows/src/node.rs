//! A node of a running graph: a future that can be given up before its flow ends.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

use crate::exit::Result;

/// What a node that ended well did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrote {
    /// It wrote its slot.
    Slot,
    /// Its condition did not hold; the slot stays empty.
    Nothing,
}

/// A node of a running graph.
pub trait Node {
    /// Polls its future.
    fn poll_node(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Wrote>>;
    /// Drops its future, and with it whatever that waits for.
    fn give_up(self: Pin<&mut Self>);
}

pin_project! {
    /// See [`node`].
    #[derive(Debug)]
    pub struct NodeFuture<F> {
        #[pin]
        inner: Option<F>,
    }
}

/// Makes a node of a future.
pub fn node<F: Future<Output = Result<Wrote>>>(inner: F) -> NodeFuture<F> {
    NodeFuture { inner: Some(inner) }
}

impl<F: Future<Output = Result<Wrote>>> Node for NodeFuture<F> {
    fn poll_node(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Wrote>> {
        let Some(inner) = self.as_mut().project().inner.as_pin_mut() else {
            return Poll::Pending;
        };
        let polled = inner.poll(cx);
        if polled.is_ready() {
            self.project().inner.set(None);
        }
        polled
    }

    fn give_up(self: Pin<&mut Self>) {
        self.project().inner.set(None);
    }
}

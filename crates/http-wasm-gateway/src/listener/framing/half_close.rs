//! Clients that have shut down their sending direction and may still read.

use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::time::{Sleep, sleep};

/// How long the end of a connection is hidden from hyper, which would drop the response that it is about to send.
#[derive(Debug)]
pub(super) struct HalfClose {
    timeout: Duration,
    /// When the client shut down its direction.
    timer: Option<Pin<Box<Sleep>>>,
    /// Some data may not have been sent yet.
    unflushed: bool,
    reader: Option<Waker>,
}

impl HalfClose {
    pub(super) fn new(timeout: Duration) -> Self {
        Self { timeout, timer: None, unflushed: false, reader: None }
    }

    pub(super) fn writes(&mut self) {
        self.unflushed = true;
    }

    /// Everything written has been sent.
    pub(super) fn flushed(&mut self) {
        // It may have been the response that the close waits for.
        if std::mem::take(&mut self.unflushed)
            && let Some(reader) = self.reader.take()
        {
            reader.wake();
        }
    }

    pub(super) fn is_unflushed(&self) -> bool {
        self.unflushed
    }

    /// Ready once a request has continued for long enough without its client.
    pub(super) fn poll_expired(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.timeout.is_zero() {
            return Poll::Ready(());
        }
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(self.timeout)));
        let expired = timer.as_mut().poll(cx);
        if expired.is_pending() {
            self.reader = Some(cx.waker().clone());
        }
        expired
    }
}

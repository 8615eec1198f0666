//! Clients that have shut down their sending direction and may still read.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Sleep, sleep};

/// How long a request continues after its client has shut down its direction.
#[derive(Debug)]
pub(super) struct HalfClose {
    timeout: Duration,
    /// When the client shut down its direction.
    timer: Option<Pin<Box<Sleep>>>,
}

impl HalfClose {
    pub(super) fn new(timeout: Duration) -> Self {
        Self { timeout, timer: None }
    }

    /// Ready once a request has continued for long enough without its client.
    pub(super) fn poll_expired(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.timeout.is_zero() {
            return Poll::Ready(());
        }
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(self.timeout)));
        timer.as_mut().poll(cx)
    }
}

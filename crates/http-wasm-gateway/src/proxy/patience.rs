//! How long to wait for an upstream.
//!
//! The clock runs while it is the upstream's turn: to take more of the request, or to answer. It stands still
//! while the client is still sending, or a slow upload would count against the upstream.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::Instant;

use crate::body::BoxError;

/// Whose turn it is in an exchange, and since when.
#[derive(Debug, Clone)]
pub(super) struct Clock(Arc<Mutex<Turn>>);

#[derive(Debug, Clone, Copy)]
enum Turn {
    Client,
    ClientFailed,
    Upstream { since: Instant },
}

impl Clock {
    pub(super) fn start() -> Self {
        Self(Arc::new(Mutex::new(Turn::Upstream { since: Instant::now() })))
    }

    /// It is the upstream's turn from now on: it gets the request only now.
    pub(super) fn restart(&self) {
        self.set(Turn::Upstream { since: Instant::now() });
    }

    /// Ends once it has been the upstream's turn for `limit`.
    pub(super) async fn expired(&self, limit: Duration) {
        loop {
            let since = match self.turn() {
                Turn::Upstream { since } if since.elapsed() >= limit => return,
                Turn::Upstream { since } => since,
                // Should the turn change meanwhile, the rest is waited for next time round.
                Turn::Client | Turn::ClientFailed => Instant::now(),
            };
            tokio::time::sleep_until(since + limit).await;
        }
    }

    /// Whether the request could not be sent because its own body failed.
    pub(super) fn client_failed(&self) -> bool {
        matches!(self.turn(), Turn::ClientFailed)
    }

    fn turn(&self) -> Turn {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, turn: Turn) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = turn;
    }
}

/// A request body that keeps a [`Clock`].
#[derive(Debug)]
pub(super) struct Timed<B> {
    body: B,
    clock: Clock,
}

impl<B> Timed<B> {
    pub(super) fn new(body: B, clock: Clock) -> Self {
        Self { body, clock }
    }
}

impl<B: Body<Data = Bytes, Error = BoxError> + Unpin> Body for Timed<B> {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        self.clock.set(match &polled {
            Poll::Pending => Turn::Client,
            Poll::Ready(Some(Err(_))) => Turn::ClientFailed,
            Poll::Ready(Some(Ok(_)) | None) => Turn::Upstream { since: Instant::now() },
        });
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http_body_util::{BodyExt as _, Channel};
    use tokio::time::{Instant, timeout};

    use super::{Clock, Timed};
    use crate::body::{BoxError, boxed};

    const LIMIT: Duration = Duration::from_secs(30);

    #[tokio::test(start_paused = true)]
    async fn an_upstream_that_has_everything_is_given_the_limit_and_no_more() {
        let start = Instant::now();
        Clock::start().expired(LIMIT).await;
        assert_eq!(start.elapsed().as_secs(), LIMIT.as_secs());
    }

    #[tokio::test(start_paused = true)]
    async fn the_clock_stands_still_while_the_client_is_sending() {
        let clock = Clock::start();
        let (mut sender, body) = Channel::<bytes::Bytes, BoxError>::new(1);
        let mut body = Timed::new(boxed(body), clock.clone());
        let upload = async {
            tokio::time::sleep(LIMIT * 10).await;
            sender.send_data("late".into()).await.expect("the body is being read");
        };
        let (_, frame) = tokio::join!(upload, async {
            timeout(LIMIT * 20, body.frame()).await.expect("data comes").expect("a frame")
        });
        assert!(frame.is_ok());

        let sent = Instant::now();
        clock.expired(LIMIT).await;
        assert_eq!(sent.elapsed().as_secs(), LIMIT.as_secs());
    }
}

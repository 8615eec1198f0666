//! Timeouts for an upstream.
//!
//! The timer runs while the upstream is expected to act: to read more of the request, or to respond. It is stopped
//! while the client is still sending, because a slow upload must not count against the upstream.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http_body::Body;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::body::{Hook, Hooked, PolledFrame};

/// Which side of an exchange is expected to act, and since when.
#[derive(Debug, Clone)]
pub(super) struct ResponseTimer {
    /// When the timer was last started.
    started: Instant,
    /// Present if the request has a body. Without one, the upstream is expected to act from the start.
    awaited: Option<Arc<Mutex<Awaited>>>,
}

#[derive(Debug, Clone, Copy)]
enum Awaited {
    Client,
    Upstream { since: Instant },
}

impl ResponseTimer {
    /// Starts the timer of a request with this body.
    pub(super) fn start<B: Body>(body: &B) -> Self {
        let started = Instant::now();
        let shared = || Arc::new(Mutex::new(Awaited::Upstream { since: started }));
        Self { started, awaited: (!body.is_end_stream()).then(shared) }
    }

    /// Restarts the timer, because the request is only now sent to the upstream.
    pub(super) fn restart(&mut self) {
        self.started = Instant::now();
        self.set(Awaited::Upstream { since: self.started });
    }

    /// Completes once the upstream has been expected to act for `limit`.
    pub(super) async fn expired(&self, limit: Duration) {
        loop {
            let since = match self.awaited() {
                Awaited::Upstream { since } if since.elapsed() >= limit => return,
                Awaited::Upstream { since } => since,
                // If the side changes in the meantime, the next iteration waits for the rest.
                Awaited::Client => Instant::now(),
            };
            sleep_until(since + limit).await;
        }
    }

    /// Polls for the same as [`expired`](Self::expired), with a timer that is reused.
    pub(super) fn poll_expired(
        &self,
        limit: Duration,
        timer: &mut LazyTimer,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        let since = match self.awaited() {
            Awaited::Upstream { since } => since,
            Awaited::Client => Instant::now(),
        };
        timer.poll(since + limit, cx)
    }

    fn awaited(&self) -> Awaited {
        match &self.awaited {
            None => Awaited::Upstream { since: self.started },
            Some(awaited) => *awaited.lock().unwrap_or_else(PoisonError::into_inner),
        }
    }

    fn set(&self, awaited: Awaited) {
        if let Some(shared) = &self.awaited {
            *shared.lock().unwrap_or_else(PoisonError::into_inner) = awaited;
        }
    }
}

/// A timer for a sequence of deadlines, most of which are never reached. It stays set to an earlier deadline until that
/// has passed, so that not every request sets a timer.
#[derive(Debug, Default)]
pub(super) struct LazyTimer(Option<Pin<Box<Sleep>>>);

impl LazyTimer {
    /// Ready at the deadline.
    fn poll(&mut self, deadline: Instant, cx: &mut Context<'_>) -> Poll<()> {
        let timer = self.0.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if timer.deadline() > deadline {
            timer.as_mut().reset(deadline);
        }
        loop {
            ready!(timer.as_mut().poll(cx));
            if Instant::now() >= deadline {
                return Poll::Ready(());
            }
            timer.as_mut().reset(deadline);
        }
    }
}

/// A request body that keeps a [`ResponseTimer`].
pub(super) type TimedBody<B> = Hooked<B, ResponseTimer>;

impl<B> TimedBody<B> {
    pub(super) fn new(body: B, response_timer: ResponseTimer) -> Self {
        Self { body, hook: response_timer }
    }
}

impl<B> Hook<B> for ResponseTimer {
    fn polled(&mut self, _: &mut B, polled: PolledFrame, _: &mut Context<'_>) -> PolledFrame {
        self.set(match &polled {
            Poll::Pending => Awaited::Client,
            Poll::Ready(_) => Awaited::Upstream { since: Instant::now() },
        });
        polled
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http_body_util::{BodyExt as _, Channel};
    use tokio::time::{Instant, timeout};

    use super::{ResponseTimer, TimedBody};
    use crate::body::{BoxError, boxed, empty};

    const LIMIT: Duration = Duration::from_secs(30);

    #[tokio::test(start_paused = true)]
    async fn the_response_timer_expires_at_the_limit_once_the_request_is_sent() {
        let start = Instant::now();
        ResponseTimer::start(&empty()).expired(LIMIT).await;
        assert_eq!(start.elapsed().as_secs(), LIMIT.as_secs());
    }

    #[tokio::test(start_paused = true)]
    async fn the_response_timer_is_paused_while_the_client_is_sending() {
        let (mut sender, body) = Channel::<bytes::Bytes, BoxError>::new(1);
        let response_timer = ResponseTimer::start(&body);
        let mut body = TimedBody::new(boxed(body), response_timer.clone());
        let upload = async {
            tokio::time::sleep(LIMIT * 10).await;
            sender.send_data("late".into()).await.expect("the body is being read");
        };
        let (_, frame) = tokio::join!(upload, async {
            timeout(LIMIT * 20, body.frame()).await.expect("data comes").expect("a frame")
        });
        assert!(frame.is_ok());

        let sent = Instant::now();
        response_timer.expired(LIMIT).await;
        assert_eq!(sent.elapsed().as_secs(), LIMIT.as_secs());
    }
}

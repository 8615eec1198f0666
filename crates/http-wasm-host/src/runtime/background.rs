//! Background work and timers.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use super::housekeeping::{Housekeeping, Timer};
use super::{Runtime, Task};

/// The runtime of an engine, and the housekeeping thread for what the runtime can't do. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Background(Arc<Inner>);

struct Inner {
    runtime: Box<dyn Runtime>,
    housekeeping: Housekeeping,
}

impl Background {
    pub(crate) fn new(runtime: Box<dyn Runtime>) -> Self {
        Self(Arc::new(Inner { runtime, housekeeping: Housekeeping::default() }))
    }

    /// Runs `task` off the request path: on the runtime, or else on the housekeeping thread.
    pub(crate) fn spawn(&self, task: Task) {
        if let Err(task) = self.0.runtime.spawn(task) {
            // A task that doesn't fit is dropped, together with what it holds.
            let _fits = self.0.housekeeping.spawn(task);
        }
    }

    /// Runs `task` on the runtime. Gives it back when there is none.
    pub(crate) fn spawn_on_runtime(&self, task: Task) -> Result<(), Task> {
        self.0.runtime.spawn(task)
    }

    pub(crate) fn sleep(&self, duration: Duration) -> Task {
        match self.0.runtime.sleep(duration) {
            Some(sleep) => sleep,
            None => Box::pin(self.0.housekeeping.sleep(duration)),
        }
    }

    /// Ends once other tasks have had their turn.
    pub(crate) fn yield_now(&self) -> Task {
        self.0.runtime.yield_now()
    }

    /// Awaits `call` for at most `limit`, counted from its first wait: most calls never wait, and need no timer.
    pub(crate) async fn within<F: Future>(&self, limit: Duration, call: F) -> Option<F::Output> {
        let mut call = pin!(call);
        let mut timer = None;
        poll_fn(|cx| match call.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending => timer.get_or_insert_with(|| self.sleep(limit)).as_mut().poll(cx).map(|()| None),
        })
        .await
    }

    /// The same, except that once `longer` returns a limit, that one counts from then on.
    ///
    /// # Errors
    /// The limit that was exceeded.
    pub(crate) async fn within_longer<F: Future>(
        &self,
        mut limit: Duration,
        longer: impl Fn() -> Option<Duration>,
        call: F,
    ) -> Result<F::Output, Duration> {
        let mut call = pin!(call);
        let (mut timer, mut is_longer) = (None, false);
        poll_fn(|cx| {
            if let Poll::Ready(output) = call.as_mut().poll(cx) {
                return Poll::Ready(Ok(output));
            }
            if !is_longer && let Some(longer) = longer() {
                (limit, timer, is_longer) = (longer, None, true);
            }
            timer.get_or_insert_with(|| self.sleep(limit)).as_mut().poll(cx).map(|()| Err(limit))
        })
        .await
    }

    /// Wakes `waker` on the housekeeping thread after `delay`, unless the timer is dropped before. `None` if that is
    /// beyond the range of the clock.
    pub(crate) fn wake_after(&self, delay: Duration, waker: Waker) -> Option<Timer> {
        Instant::now().checked_add(delay).map(|at| self.0.housekeeping.wake_at(at, waker))
    }
}

impl fmt::Debug for Background {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Background").finish_non_exhaustive()
    }
}

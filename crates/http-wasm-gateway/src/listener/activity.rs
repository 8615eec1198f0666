//! What a connection is waiting for, and for how long.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use slab::Slab;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use crate::exchange::Share;

/// The timeouts of a connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct Timeouts {
    /// For a request head, from its first byte or, for the first request, from the start of the connection.
    pub(super) head: Duration,
    /// For the next request.
    pub(super) idle: Duration,
    /// For the client to read what is available.
    pub(super) response: Duration,
}

/// The state of one connection, shared by the parts that observe it.
#[derive(Debug)]
pub(super) struct Activity {
    state: Mutex<State>,
    abandoned: Notify,
    /// Requests that are held by calls of guests that were abandoned.
    held: AtomicUsize,
}

#[derive(Debug)]
struct State {
    /// Requests whose response hasn't been handed over completely. An HTTP/1.1 request has a deadline while its client
    /// is expected to act.
    requests: Slab<Option<Instant>>,
    /// Since when the connection has been in this state.
    since: Instant,
    expected: Expected,
    /// A request body is blocked by a handler that doesn't read it, and the response has been sent.
    abandoned: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expected {
    /// No request has come yet.
    FirstRequest,
    /// A head has started to arrive.
    Head,
    NextRequest,
}

/// What a connection has timed out waiting for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expired {
    /// The rest of a head, or the first request.
    Head,
    /// Another request.
    Idle,
    /// The client to read more of a response.
    Response,
    /// A handler to continue reading a request body whose response has been sent.
    Upload,
}

impl Activity {
    /// For a connection that started at `since`.
    pub(super) fn new(since: Instant) -> Arc<Self> {
        let state =
            State { requests: Slab::new(), since, expected: Expected::FirstRequest, abandoned: false };
        Arc::new(Self { state: Mutex::new(state), abandoned: Notify::new(), held: AtomicUsize::new(0) })
    }

    /// Counts a request that has arrived, until the guard is dropped.
    pub(super) fn request(self: &Arc<Self>) -> InFlight {
        let mut state = self.state();
        state.expected = Expected::NextRequest;
        let id = state.requests.insert(None);
        InFlight { activity: self.clone(), id, number: state.requests.len() }
    }

    /// Records that a request head has started to arrive, but is incomplete.
    pub(super) fn head_begins(&self) {
        let mut state = self.state();
        if state.expected == Expected::NextRequest {
            (state.expected, state.since) = (Expected::Head, Instant::now());
        }
    }

    /// The number of requests that are held by calls of guests that were abandoned, and that continue.
    pub(super) fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    /// Restarts the connection's timeout.
    pub(super) fn restart(&self) {
        self.state().since = Instant::now();
    }

    /// Completes when the connection has timed out.
    pub(super) async fn expired(&self, timeouts: Timeouts) -> Expired {
        // State changes don't wake this, because they are frequent. It checks often enough instead: whatever starts
        // after one check can't have timed out before the next.
        let pause = timeouts.head.min(timeouts.idle).min(timeouts.response);
        loop {
            let (deadline, expired) = self.state().deadline(timeouts);
            let now = Instant::now();
            if deadline <= now {
                return expired;
            }
            tokio::select! {
                () = sleep_until(deadline.min(now + pause)) => {}
                () = self.abandoned.notified() => {}
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// When the timeout expires, if nothing changes until then.
    fn deadline(&self, timeouts: Timeouts) -> (Instant, Expired) {
        if self.abandoned {
            return (self.since, Expired::Upload);
        }
        if !self.requests.is_empty() {
            let first = self.requests.iter().filter_map(|(_, deadline)| *deadline).min();
            return (first.unwrap_or_else(|| Instant::now() + timeouts.response), Expired::Response);
        }
        match self.expected {
            Expected::FirstRequest | Expected::Head => (self.since + timeouts.head, Expired::Head),
            Expected::NextRequest => (self.since + timeouts.idle, Expired::Idle),
        }
    }
}

/// A request in progress.
#[derive(Debug)]
pub(super) struct InFlight {
    activity: Arc<Activity>,
    id: usize,
    /// The number of requests in progress on the connection when it arrived, including itself.
    pub(super) number: usize,
}

impl InFlight {
    /// Counts another request of the same connection.
    pub(super) fn another(&self) -> Self {
        self.activity.request()
    }

    /// Sets the client's deadline for reading more of the response. `None` if the client isn't expected to act.
    pub(super) fn set_client_deadline(&self, deadline: Option<Instant>) {
        self.activity.state().requests[self.id] = deadline;
    }

    /// Records that the rest of the request body can't be read, so the connection can't continue.
    pub(super) fn abandon(&self) {
        self.activity.state().abandoned = true;
        self.activity.abandoned.notify_one();
    }
}

impl Share for InFlight {
    type Held = HeldInFlight;

    fn hold(self) -> HeldInFlight {
        self.activity.held.fetch_add(1, Ordering::Relaxed);
        HeldInFlight(self)
    }
}

/// A request that is held by calls of guests that were abandoned. It counts as one of its client's requests until they
/// end.
#[derive(Debug)]
pub(super) struct HeldInFlight(InFlight);

impl Drop for HeldInFlight {
    fn drop(&mut self) {
        self.0.activity.held.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let mut state = self.activity.state();
        state.requests.remove(self.id);
        if state.requests.is_empty() {
            state.since = Instant::now();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::{Activity, Expired, Timeouts};

    const TIMEOUTS: Timeouts = Timeouts {
        head: Duration::from_secs(30),
        idle: Duration::from_secs(60),
        response: Duration::from_secs(40),
    };

    #[tokio::test(start_paused = true)]
    async fn the_first_request_has_the_head_timeout_and_the_next_the_idle_timeout() {
        let start = Instant::now();
        let activity = Activity::new(start);
        assert_eq!(activity.expired(TIMEOUTS).await, Expired::Head);
        assert_eq!(start.elapsed().as_secs(), 30);

        drop(activity.request());
        let idle = Instant::now();
        assert_eq!(activity.expired(TIMEOUTS).await, Expired::Idle);
        assert_eq!(idle.elapsed().as_secs(), 60);
    }

    #[tokio::test(start_paused = true)]
    async fn the_head_timeout_starts_at_the_first_byte_of_the_head() {
        let activity = Activity::new(Instant::now());
        drop(activity.request());
        let start = Instant::now();
        let (expired, ()) = tokio::join!(activity.expired(TIMEOUTS), async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            activity.head_begins();
            tokio::time::sleep(Duration::from_secs(10)).await;
            activity.head_begins();
        });
        assert_eq!((expired, start.elapsed().as_secs()), (Expired::Head, 31));
    }

    #[tokio::test(start_paused = true)]
    async fn a_response_that_the_client_does_not_read_expires() {
        let activity = Activity::new(Instant::now());
        let start = Instant::now();
        let (_waits, stalls) = (activity.request(), activity.request());
        let (expired, ()) = tokio::join!(activity.expired(TIMEOUTS), async {
            tokio::time::sleep(Duration::from_secs(10)).await;
            stalls.set_client_deadline(Some(Instant::now() + TIMEOUTS.response));
        });
        assert_eq!((expired, start.elapsed().as_secs()), (Expired::Response, 50));
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_expires_while_a_request_is_being_processed() {
        let activity = Activity::new(Instant::now());
        let start = Instant::now();
        let request = activity.request();
        let (_, ()) = tokio::join!(activity.expired(TIMEOUTS), async {
            tokio::time::sleep(Duration::from_secs(1000)).await;
            drop(request);
        });
        assert_eq!(start.elapsed().as_secs(), 1060);
    }
}

//! What goes on on a connection, and how long it may go on.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use slab::Slab;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

/// How long a connection may wait, and for what.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// For the head of a request, from its first byte or, for the first request, from the connection's beginning.
    pub(super) head: Duration,
    /// For the next request.
    pub(super) idle: Duration,
    /// For the client to take what is there for it.
    pub(super) take: Duration,
}

/// What goes on on one connection. Shared by the parts that see it.
#[derive(Debug)]
pub(super) struct Activity {
    state: Mutex<State>,
    abandoned: Notify,
}

#[derive(Debug)]
struct State {
    /// Requests whose response has not been handed over whole; for each of HTTP/1.1, until when the client may
    /// take its time, if it is the client's turn.
    requests: Slab<Option<Instant>>,
    /// Since when the connection has been as it is.
    since: Instant,
    waits_for: Waits,
    /// A request's body is held up by a handler that doesn't read it, and the response has gone.
    abandoned: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Waits {
    /// No request has come yet.
    First,
    /// A head has begun to come.
    Head,
    Next,
}

/// What a connection waited for in vain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expired {
    /// The rest of a head, or the first request.
    Head,
    /// Another request.
    Idle,
    /// The client to take more of a response.
    Take,
    /// A handler to read on in a request's body whose response has gone.
    Upload,
}

impl Activity {
    /// Of a connection that began at `since`.
    pub(super) fn new(since: Instant) -> Arc<Self> {
        let state = State { requests: Slab::new(), since, waits_for: Waits::First, abandoned: false };
        Arc::new(Self { state: Mutex::new(state), abandoned: Notify::new() })
    }

    /// A request has come; it lasts until the guard is dropped.
    pub(super) fn request(self: &Arc<Self>) -> InFlight {
        let mut state = self.state();
        state.waits_for = Waits::Next;
        InFlight { activity: self.clone(), id: state.requests.insert(None) }
    }

    /// The head of a request has begun to come, but is not there yet.
    pub(super) fn head_begins(&self) {
        let mut state = self.state();
        if state.waits_for == Waits::Next {
            (state.waits_for, state.since) = (Waits::Head, Instant::now());
        }
    }

    /// Whether there is a request whose response has not been handed over whole.
    pub(super) fn is_busy(&self) -> bool {
        !self.state().requests.is_empty()
    }

    /// The connection begins to wait anew.
    pub(super) fn restart(&self) {
        self.state().since = Instant::now();
    }

    /// Ends when the connection has waited for too long.
    pub(super) async fn expired(&self, patience: Patience) -> Expired {
        // Nobody is woken when something changes, for that is often. It is looked at often enough instead: what begins after one look can't
        // have taken too long before the next.
        let pause = patience.head.min(patience.idle).min(patience.take);
        loop {
            let (deadline, expired) = self.state().deadline(patience);
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
    /// When waiting has been too long, should nothing change until then.
    fn deadline(&self, patience: Patience) -> (Instant, Expired) {
        if self.abandoned {
            return (self.since, Expired::Upload);
        }
        if !self.requests.is_empty() {
            let first = self.requests.iter().filter_map(|(_, deadline)| *deadline).min();
            return (first.unwrap_or_else(|| Instant::now() + patience.take), Expired::Take);
        }
        match self.waits_for {
            Waits::First | Waits::Head => (self.since + patience.head, Expired::Head),
            Waits::Next => (self.since + patience.idle, Expired::Idle),
        }
    }
}

/// A request that is on its way.
#[derive(Debug)]
pub(super) struct InFlight {
    activity: Arc<Activity>,
    id: usize,
}

impl InFlight {
    /// The client must take more of the response by then, or it is not the client's turn.
    pub(super) fn client_takes(&self, deadline: Option<Instant>) {
        self.activity.state().requests[self.id] = deadline;
    }

    /// The rest of the request's body can't be read, so the connection can't go on.
    pub(super) fn abandon(&self) {
        self.activity.state().abandoned = true;
        self.activity.abandoned.notify_one();
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

    use super::{Activity, Expired, Patience};

    const PATIENCE: Patience = Patience {
        head: Duration::from_secs(30),
        idle: Duration::from_secs(60),
        take: Duration::from_secs(40),
    };

    #[tokio::test(start_paused = true)]
    async fn the_first_request_has_as_long_as_a_head_and_the_next_as_long_as_a_connection_may_lie_idle() {
        let start = Instant::now();
        let activity = Activity::new(start);
        assert_eq!(activity.expired(PATIENCE).await, Expired::Head);
        assert_eq!(start.elapsed().as_secs(), 30);

        drop(activity.request());
        let idle = Instant::now();
        assert_eq!(activity.expired(PATIENCE).await, Expired::Idle);
        assert_eq!(idle.elapsed().as_secs(), 60);
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_has_its_own_time_from_its_first_byte() {
        let activity = Activity::new(Instant::now());
        drop(activity.request());
        let start = Instant::now();
        let (expired, ()) = tokio::join!(activity.expired(PATIENCE), async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            activity.head_begins();
            tokio::time::sleep(Duration::from_secs(10)).await;
            activity.head_begins();
        });
        assert_eq!((expired, start.elapsed().as_secs()), (Expired::Head, 31));
    }

    #[tokio::test(start_paused = true)]
    async fn a_response_that_the_client_does_not_take_expires() {
        let activity = Activity::new(Instant::now());
        let start = Instant::now();
        let (_waits, stalls) = (activity.request(), activity.request());
        let (expired, ()) = tokio::join!(activity.expired(PATIENCE), async {
            tokio::time::sleep(Duration::from_secs(10)).await;
            stalls.client_takes(Some(Instant::now() + PATIENCE.take));
        });
        assert_eq!((expired, start.elapsed().as_secs()), (Expired::Take, 50));
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_expires_while_a_request_is_on_its_way() {
        let activity = Activity::new(Instant::now());
        let start = Instant::now();
        let request = activity.request();
        let (_, ()) = tokio::join!(activity.expired(PATIENCE), async {
            tokio::time::sleep(Duration::from_secs(1000)).await;
            drop(request);
        });
        assert_eq!(start.elapsed().as_secs(), 1060);
    }
}

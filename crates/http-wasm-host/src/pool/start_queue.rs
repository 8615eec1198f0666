//! Limits how many start-ups of a guest run at once.
//!
//! The pool has no limit, but the machine does: in a burst of requests that each run a start-up of 50 ms, none would
//! end before nearly all of them have. So at most as many start-ups run at once as there are threads. Other requests
//! wait in the order of their arrival, sheddable ones behind all others, and can also get an instance that another
//! request returns. No request waits for another *request*: a start-up always ends, and if the running ones make no
//! progress, the next ones start.
//!
//! As long as instances are returned sooner than a start-up would take, one start-up at a time is enough, and the other
//! threads serve the requests that have an instance.

use std::collections::{BTreeMap, HashMap};
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

use crate::runtime::Background;

/// How long the running start-ups may make no progress, because they sleep or aren't polled, before others start. This
/// is far longer than the time between two polls of a start-up that computes.
const STALL_TIMEOUT: Duration = Duration::from_secs(1);

/// The queue for one guest's start-ups. Requests wait for a `T`: an instance.
pub(crate) struct StartQueue<T: Recycle> {
    /// Maximum number of concurrent start-ups.
    limit: usize,
    state: Mutex<State<T>>,
    /// Length of the queue, so that returning an instance usually takes no lock.
    waiting: AtomicUsize,
}

struct State<T> {
    running: usize,
    /// When a start-up last made progress.
    progress: Instant,
    /// When an instance was last returned to a waiting request.
    returned: Instant,
    /// How long the last start-up took.
    took: Duration,
    next_ticket: u64,
    waiting: BTreeMap<Ticket, Waker>,
    served: HashMap<Ticket, Served<T>>,
}

impl<T> State<T> {
    fn may_start(&self, limit: usize) -> bool {
        self.running == 0 || self.running < limit && self.returned.elapsed() > self.took
    }
}

/// Decides who is served first: whether the request is sheddable, and its position in the order of arrival.
type Ticket = (bool, u64);

enum Served<T> {
    Permit,
    Returned(T),
}

/// A value that can be handed to a waiting request.
pub(crate) trait Recycle {
    /// Returns it to where the next request finds it.
    fn put_back(self);
}

/// What a waiting request gets.
pub(crate) enum Acquired<'a, T: Recycle> {
    /// A permit to run a start-up.
    Permit(StartPermit<'a, T>),
    /// An instance that another request has returned.
    Returned(T),
}

impl<T: Recycle> StartQueue<T> {
    pub(crate) fn new() -> Self {
        Self {
            limit: available_parallelism().map_or(1, usize::from),
            state: Mutex::new(State {
                running: 0,
                progress: Instant::now(),
                returned: Instant::now(),
                took: Duration::ZERO,
                next_ticket: 0,
                waiting: BTreeMap::new(),
                served: HashMap::new(),
            }),
            waiting: AtomicUsize::new(0),
        }
    }

    /// Waits for a permit, or for an instance that another request returns, whichever comes first. `idle` is called
    /// once the request is queued, since an instance may have been returned just before.
    pub(crate) async fn wait(
        &self,
        background: &Background,
        sheddable: bool,
        idle: impl FnOnce() -> Option<T>,
    ) -> Acquired<'_, T> {
        let mut waiter = match self.enqueue(sheddable) {
            Ok(permit) => return Acquired::Permit(permit),
            Err(waiter) => waiter,
        };
        if let Some(idle) = idle() {
            return Acquired::Returned(idle);
        }
        loop {
            if let Some(acquired) = background.within(STALL_TIMEOUT, &mut waiter).await {
                return acquired;
            }
            if let Some(permit) = waiter.start_if_stalled() {
                return Acquired::Permit(permit);
            }
        }
    }

    /// Hands `value` to the request that has waited longest. Returns it if no request waits.
    pub(crate) fn hand_over(&self, value: T) -> Option<T> {
        if !self.has_waiters() {
            return Some(value);
        }
        let mut state = self.lock();
        let Some((ticket, waker)) = state.waiting.pop_first() else { return Some(value) };
        state.served.insert(ticket, Served::Returned(value));
        state.returned = Instant::now();
        self.unlock(state, [waker]);
        None
    }

    pub(crate) fn has_waiters(&self) -> bool {
        self.waiting.load(Ordering::SeqCst) > 0
    }

    fn enqueue(&self, sheddable: bool) -> Result<StartPermit<'_, T>, Waiter<'_, T>> {
        let mut state = self.lock();
        if state.waiting.is_empty() && state.may_start(self.limit) {
            state.running += 1;
            state.progress = Instant::now();
            return Ok(StartPermit(self));
        }
        state.next_ticket += 1;
        let ticket = (sheddable, state.next_ticket);
        state.waiting.insert(ticket, Waker::noop().clone());
        self.unlock(state, []);
        Err(Waiter { queue: self, ticket })
    }

    /// Lets requests continue if they can, and wakes them and `others` outside the lock.
    fn unlock(&self, mut state: MutexGuard<'_, State<T>>, others: impl IntoIterator<Item = Waker>) {
        let mut wakers: Vec<_> = others.into_iter().collect();
        while state.may_start(self.limit)
            && let Some((ticket, waker)) = state.waiting.pop_first()
        {
            state.running += 1;
            state.progress = Instant::now();
            state.served.insert(ticket, Served::Permit);
            wakers.push(waker);
        }
        self.waiting.store(state.waiting.len(), Ordering::SeqCst);
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Permission to run a start-up, until it is dropped.
pub(crate) struct StartPermit<'a, T: Recycle>(&'a StartQueue<T>);

impl<T: Recycle> StartPermit<'_, T> {
    /// Runs the start-up.
    pub(crate) async fn run<F: Future>(self, start_up: F) -> F::Output {
        let began = Instant::now();
        let mut start_up = pin!(start_up);
        poll_fn(|cx| {
            let polled = start_up.as_mut().poll(cx);
            let mut state = self.0.lock();
            state.progress = Instant::now();
            if polled.is_ready() {
                state.took = began.elapsed();
            }
            self.0.unlock(state, []);
            polled
        })
        .await
    }
}

impl<T: Recycle> Drop for StartPermit<'_, T> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.running -= 1;
        self.0.unlock(state, []);
    }
}

/// A position in the queue.
struct Waiter<'a, T: Recycle> {
    queue: &'a StartQueue<T>,
    ticket: Ticket,
}

impl<'a, T: Recycle> Waiter<'a, T> {
    /// Takes a permit if the running start-ups make no progress.
    fn start_if_stalled(&mut self) -> Option<StartPermit<'a, T>> {
        let mut state = self.queue.lock();
        if state.progress.elapsed() < STALL_TIMEOUT {
            return None;
        }
        state.waiting.remove(&self.ticket)?;
        state.running += 1;
        self.queue.unlock(state, []);
        Some(StartPermit(self.queue))
    }
}

impl<'a, T: Recycle> Future for Waiter<'a, T> {
    type Output = Acquired<'a, T>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Acquired<'a, T>> {
        let mut state = self.queue.lock();
        match state.served.remove(&self.ticket) {
            Some(Served::Returned(value)) => return Poll::Ready(Acquired::Returned(value)),
            Some(Served::Permit) => return Poll::Ready(Acquired::Permit(StartPermit(self.queue))),
            None => {}
        }
        if let Some(waker) = state.waiting.get_mut(&self.ticket) {
            waker.clone_from(cx.waker());
        }
        Poll::Pending
    }
}

/// A request that leaves the queue passes on an item that it was handed but hasn't taken.
impl<T: Recycle> Drop for Waiter<'_, T> {
    fn drop(&mut self) {
        let mut state = self.queue.lock();
        state.waiting.remove(&self.ticket);
        let served = state.served.remove(&self.ticket);
        if let Some(Served::Permit) = served {
            state.running -= 1;
        }
        self.queue.unlock(state, []);
        if let Some(Served::Returned(value)) = served {
            value.put_back();
        }
    }
}

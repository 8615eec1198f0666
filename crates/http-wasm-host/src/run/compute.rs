//! Limits how many calls of a heavy guest compute at once.
//!
//! The pool has no limit, but a guest that computes for milliseconds gains nothing from more concurrent calls than
//! there are threads: they would only compete for time, and each would hold an instance. So a call of such a guest
//! needs a permit while it computes, and only then: it has none while it waits for a body or for the next handler.
//! Permits therefore never wait for each other. A call that has computed for longer than its slice hands its permit to
//! a waiting call, and queues again.
//!
//! Nothing depends on permits being returned: if calls with permits are no longer polled, others replace them.

use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker};
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

use crate::abi::Phase;
use crate::run::weight::Weight;
use crate::runtime::Background;

/// How long the calls with permits may make no progress before others compute. This is far longer than the time between
/// two polls of a call that computes.
const STALL_TIMEOUT: Duration = Duration::from_secs(1);

/// How long a guest's calls compute, and the queue in which they wait for permits.
#[derive(Debug)]
pub(crate) struct Compute {
    weights: [Weight; 2],
    pub(crate) queue: Arc<ComputeQueue>,
    on_overrun: OnceLock<Waker>,
}

impl Compute {
    pub(crate) fn new() -> Self {
        let permits = available_parallelism().map_or(1, usize::from);
        Self { weights: Default::default(), queue: ComputeQueue::new(permits), on_overrun: OnceLock::new() }
    }

    /// Wakes `waker` whenever a call has computed for so long that its deadline will probably stop it.
    pub(crate) fn on_overrun(&self, waker: Waker) {
        let _ = self.on_overrun.set(waker);
    }

    /// Records such a call.
    #[cold]
    pub(crate) fn overran(&self) {
        if let Some(waker) = self.on_overrun.get() {
            waker.wake_by_ref();
        }
    }

    #[inline]
    pub(crate) fn weight(&self, phase: Phase) -> &Weight {
        match phase {
            Phase::Request => &self.weights[0],
            Phase::Response => &self.weights[1],
        }
    }
}

/// The queues in which calls wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum QueueKind {
    /// Calls that hold an instance and have computed little.
    Pinned = 0,
    /// Requests without an instance. They get one together with the permit, so that waiting requests need no memory.
    New = 1,
    /// Calls that have used up a slice.
    Long = 2,
}

/// The order in which the queues are searched for the next call. Calls that delay others least usually come first, but
/// no call waits forever.
const TURNS: [[QueueKind; 3]; 5] = {
    use QueueKind::{Long, New, Pinned};
    let usual = [Pinned, New, Long];
    let new = [New, Pinned, Long];
    [usual, new, usual, new, [Long, Pinned, New]]
};

/// The queues of one guest's calls.
#[derive(Debug)]
pub(crate) struct ComputeQueue {
    permits: usize,
    state: Mutex<State>,
    /// The number of waiting calls. Most calls see here, without a lock, that there are none.
    waiting: AtomicUsize,
    created: Instant,
    /// When a call with a permit last made progress, in milliseconds since `created`.
    progress: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    /// The number of calls with a permit of this generation.
    running: usize,
    /// Incremented when the calls with permits make no progress: their permits no longer count.
    generation: u64,
    turn: usize,
    next_ticket: u64,
    queues: [BTreeMap<u64, Waker>; 3],
    /// Calls that were granted a permit and haven't taken it yet, with the permit's generation.
    granted: HashMap<u64, u64>,
}

impl State {
    /// Takes the next call out of its queue.
    fn pop(&mut self) -> Option<(u64, Waker)> {
        let order = TURNS[self.turn % TURNS.len()];
        let next = order.into_iter().find_map(|kind| self.queues[kind as usize].pop_first())?;
        self.turn = self.turn.wrapping_add(1);
        Some(next)
    }

    fn waiting(&self) -> usize {
        self.queues.iter().map(BTreeMap::len).sum()
    }
}

impl ComputeQueue {
    fn new(permits: usize) -> Arc<Self> {
        Arc::new(Self {
            permits,
            state: Mutex::default(),
            waiting: AtomicUsize::new(0),
            created: Instant::now(),
            progress: AtomicU64::new(0),
        })
    }

    /// Returns a permit if one is available and no call waits.
    pub(crate) fn try_acquire(self: &Arc<Self>) -> Option<ComputePermit> {
        let mut state = self.lock();
        if state.running >= self.permits || state.waiting() > 0 {
            return None;
        }
        state.running += 1;
        let generation = state.generation;
        drop(state);
        self.progressed();
        Some(ComputePermit { queue: self.clone(), generation })
    }

    /// Waits for a permit.
    pub(crate) async fn acquire(self: Arc<Self>, background: Background, kind: QueueKind) -> ComputePermit {
        if let Some(permit) = self.try_acquire() {
            return permit;
        }
        let mut waiter = self.enqueue(kind);
        loop {
            if let Some(permit) = background.within(STALL_TIMEOUT, &mut waiter).await {
                return permit;
            }
            self.recover();
        }
    }

    /// Whether calls wait for permits.
    pub(crate) fn has_waiters(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
    }

    /// Records that a call with a permit makes progress.
    pub(crate) fn progressed(&self) {
        let millis = u64::try_from(self.created.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.progress.store(millis, Ordering::Relaxed);
    }

    fn enqueue(self: &Arc<Self>, kind: QueueKind) -> Waiter {
        let mut state = self.lock();
        state.next_ticket += 1;
        let ticket = state.next_ticket;
        state.queues[kind as usize].insert(ticket, Waker::noop().clone());
        // A permit may have been returned just before.
        self.unlock(state);
        Waiter { queue: self.clone(), kind, ticket }
    }

    /// Invalidates the current permits if the calls that have them make no progress.
    fn recover(&self) {
        let progress = self.created + Duration::from_millis(self.progress.load(Ordering::Relaxed));
        if progress.elapsed() >= STALL_TIMEOUT {
            let mut state = self.lock();
            state.generation += 1;
            state.running = 0;
            self.unlock(state);
        }
    }

    /// Grants the available permits, and wakes their calls outside the lock.
    fn unlock(&self, mut state: MutexGuard<'_, State>) {
        let mut wakers = Vec::new();
        while state.running < self.permits
            && let Some((ticket, waker)) = state.pop()
        {
            state.running += 1;
            let generation = state.generation;
            state.granted.insert(ticket, generation);
            wakers.push(waker);
        }
        self.waiting.store(state.waiting(), Ordering::Relaxed);
        drop(state);
        if !wakers.is_empty() {
            self.progressed();
            wakers.into_iter().for_each(Waker::wake);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Permission to compute, until it is dropped.
pub(crate) struct ComputePermit {
    queue: Arc<ComputeQueue>,
    generation: u64,
}

impl Drop for ComputePermit {
    fn drop(&mut self) {
        let mut state = self.queue.lock();
        if state.generation == self.generation {
            state.running -= 1;
        }
        self.queue.unlock(state);
    }
}

/// A position in a queue.
struct Waiter {
    queue: Arc<ComputeQueue>,
    kind: QueueKind,
    ticket: u64,
}

impl Future for Waiter {
    type Output = ComputePermit;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<ComputePermit> {
        let mut state = self.queue.lock();
        if let Some(generation) = state.granted.remove(&self.ticket) {
            return Poll::Ready(ComputePermit { queue: self.queue.clone(), generation });
        }
        if let Some(waker) = state.queues[self.kind as usize].get_mut(&self.ticket) {
            waker.clone_from(cx.waker());
        }
        Poll::Pending
    }
}

/// A call that leaves its queue passes on a permit that it was granted but hasn't taken.
impl Drop for Waiter {
    fn drop(&mut self) {
        let mut state = self.queue.lock();
        state.queues[self.kind as usize].remove(&self.ticket);
        if state.granted.remove(&self.ticket) == Some(state.generation) {
            state.running -= 1;
        }
        self.queue.unlock(state);
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures_util::FutureExt as _;

    use super::*;
    use crate::runtime::TokioRuntime;

    type Acquire = Pin<Box<dyn Future<Output = ComputePermit> + Send>>;

    fn acquire(queue: &Arc<ComputeQueue>, kind: QueueKind) -> Acquire {
        let mut acquire = Box::pin(queue.clone().acquire(Background::new(Box::new(TokioRuntime)), kind));
        assert!(acquire.as_mut().now_or_never().is_none(), "it waits");
        acquire
    }

    #[test]
    fn the_number_of_permits_is_limited_and_released_ones_go_to_waiters() {
        let queue = ComputeQueue::new(2);
        let held = [(); 2].map(|()| queue.try_acquire().expect("a permit"));
        assert!(queue.try_acquire().is_none() && !queue.has_waiters());
        let mut first = acquire(&queue, QueueKind::New);
        let mut second = acquire(&queue, QueueKind::New);
        assert!(queue.has_waiters());
        drop(held);
        // The waiting calls have the permits, even if they haven't taken them yet.
        assert!(queue.try_acquire().is_none() && !queue.has_waiters());
        let permits = [&mut first, &mut second].map(|waits| waits.as_mut().now_or_never().expect("a permit"));
        drop(permits);
        assert!(queue.try_acquire().is_some());
    }

    #[test]
    fn a_permit_for_a_dropped_call_is_passed_on() {
        let queue = ComputeQueue::new(1);
        let held = queue.try_acquire();
        let gone = acquire(&queue, QueueKind::New);
        let leaves = acquire(&queue, QueueKind::New);
        let mut stays = acquire(&queue, QueueKind::New);
        drop(leaves);
        drop(held);
        assert!(stays.as_mut().now_or_never().is_none());
        drop(gone);
        assert!(stays.as_mut().now_or_never().is_some());
    }

    #[test]
    fn calls_that_hold_an_instance_have_priority_and_no_queue_starves() {
        let queue = ComputeQueue::new(1);
        let mut held = queue.try_acquire();
        let mut waiting: Vec<_> = [QueueKind::Long, QueueKind::New, QueueKind::Pinned]
            .iter()
            .flat_map(|kind| [(); 5].map(|()| (*kind, acquire(&queue, *kind))))
            .collect();
        let mut order = Vec::new();
        while !waiting.is_empty() {
            drop(held.take());
            let next = waiting.iter_mut().position(|(_, waits)| {
                held = waits.as_mut().now_or_never();
                held.is_some()
            });
            order.push(waiting.remove(next.expect("one gets the permit")).0);
        }
        use QueueKind::{Long, New, Pinned};
        assert_eq!(order[..10], [Pinned, New, Pinned, New, Long, Pinned, New, Pinned, New, Long]);
    }

    #[test]
    fn the_permit_of_a_stalled_call_is_replaced_and_not_returned() {
        let queue = ComputeQueue::new(1);
        let stalled = queue.try_acquire().expect("a permit");
        let other = queue.clone().acquire(Background::new(Box::new(TokioRuntime)), QueueKind::New);
        let permit = futures_executor::block_on(pin!(other));
        drop(stalled);
        assert!(queue.try_acquire().is_none(), "there is one permit");
        drop(permit);
        assert!(queue.try_acquire().is_some());
    }
}

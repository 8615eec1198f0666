//! Limits how many start-ups of a guest run at once.
//!
//! The pool has no limit, but the machine has: in a burst of requests that each run a start-up of 50 ms, none would end
//! before nearly all have. So no more start-ups run at once than there are threads. Other requests wait in the order in
//! which they arrived, sheddable ones behind all others, and a waiting request also gets instances that others return. No request waits for another
//! *request*: a start-up always ends, and if the running ones make no progress, the next ones start.
//!
//! As long as instances are returned sooner than a start-up takes, one start-up at a time is enough, and the other
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

/// How long the running start-ups may make no progress, because they sleep or aren't polled, before others start. Far
/// more than the time between two polls of one that computes.
const PATIENCE: Duration = Duration::from_secs(1);

/// The queue for one guest's start-ups. Requests wait for a `T`: an instance.
pub(crate) struct Turns<T: Keep> {
    /// Maximum number of concurrent start-ups.
    limit: usize,
    line: Mutex<Line<T>>,
    /// Length of the queue, so that returning an instance usually takes no lock.
    waiting: AtomicUsize,
}

struct Line<T> {
    running: usize,
    /// When a start-up last made progress.
    progress: Instant,
    /// When an instance was last returned to a waiting request.
    given: Instant,
    /// How long the last start-up took.
    took: Duration,
    next_ticket: u64,
    waiting: BTreeMap<Ticket, Waker>,
    served: HashMap<Ticket, Served<T>>,
}

impl<T> Line<T> {
    fn may_start(&self, limit: usize) -> bool {
        self.running == 0 || self.running < limit && self.given.elapsed() > self.took
    }
}

/// Who is served first: whether the request is sheddable, and when it came.
type Ticket = (bool, u64);

enum Served<T> {
    Turn,
    Given(T),
}

/// What can be handed to a waiting request.
pub(crate) trait Keep {
    /// Puts it where the next request finds it.
    fn keep(self);
}

/// What a request gets in the end.
pub(crate) enum Got<'a, T: Keep> {
    /// It may run a start-up.
    Turn(Turn<'a, T>),
    /// It needs none.
    Given(T),
}

impl<T: Keep> Turns<T> {
    pub(crate) fn new() -> Self {
        Self {
            limit: available_parallelism().map_or(1, usize::from),
            line: Mutex::new(Line {
                running: 0,
                progress: Instant::now(),
                given: Instant::now(),
                took: Duration::ZERO,
                next_ticket: 0,
                waiting: BTreeMap::new(),
                served: HashMap::new(),
            }),
            waiting: AtomicUsize::new(0),
        }
    }

    /// Waits for a turn or for an instance that another request returns, whichever comes first. `idle` is called once
    /// the request is queued, since an instance may have been returned just before.
    pub(crate) async fn wait(
        &self,
        background: &Background,
        sheddable: bool,
        idle: impl FnOnce() -> Option<T>,
    ) -> Got<'_, T> {
        let mut place = match self.stand_in_line(sheddable) {
            Ok(turn) => return Got::Turn(turn),
            Err(place) => place,
        };
        if let Some(idle) = idle() {
            return Got::Given(idle);
        }
        loop {
            if let Some(got) = background.within(PATIENCE, &mut place).await {
                return got;
            }
            if let Some(turn) = place.go_ahead() {
                return Got::Turn(turn);
            }
        }
    }

    /// Hands `value` to the request that has waited longest; returns it if none waits.
    pub(crate) fn give(&self, value: T) -> Option<T> {
        if !self.anybody_waits() {
            return Some(value);
        }
        let mut line = self.lock();
        let Some((ticket, waker)) = line.waiting.pop_first() else { return Some(value) };
        line.served.insert(ticket, Served::Given(value));
        line.given = Instant::now();
        self.unlock(line, [waker]);
        None
    }

    pub(crate) fn anybody_waits(&self) -> bool {
        self.waiting.load(Ordering::SeqCst) > 0
    }

    fn stand_in_line(&self, sheddable: bool) -> Result<Turn<'_, T>, Place<'_, T>> {
        let mut line = self.lock();
        if line.waiting.is_empty() && line.may_start(self.limit) {
            line.running += 1;
            line.progress = Instant::now();
            return Ok(Turn(self));
        }
        line.next_ticket += 1;
        let ticket = (sheddable, line.next_ticket);
        line.waiting.insert(ticket, Waker::noop().clone());
        self.unlock(line, []);
        Err(Place { turns: self, ticket })
    }

    /// Lets requests continue that can, and wakes them and `others` outside of the lock.
    fn unlock(&self, mut line: MutexGuard<'_, Line<T>>, others: impl IntoIterator<Item = Waker>) {
        let mut wakers: Vec<_> = others.into_iter().collect();
        while line.may_start(self.limit)
            && let Some((ticket, waker)) = line.waiting.pop_first()
        {
            line.running += 1;
            line.progress = Instant::now();
            line.served.insert(ticket, Served::Turn);
            wakers.push(waker);
        }
        self.waiting.store(line.waiting.len(), Ordering::SeqCst);
        drop(line);
        wakers.into_iter().for_each(Waker::wake);
    }

    fn lock(&self) -> MutexGuard<'_, Line<T>> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Permission to run a start-up, until it is dropped.
pub(crate) struct Turn<'a, T: Keep>(&'a Turns<T>);

impl<T: Keep> Turn<'_, T> {
    /// Runs it.
    pub(crate) async fn run<F: Future>(self, start_up: F) -> F::Output {
        let began = Instant::now();
        let mut start_up = pin!(start_up);
        poll_fn(|cx| {
            let polled = start_up.as_mut().poll(cx);
            let mut line = self.0.lock();
            line.progress = Instant::now();
            if polled.is_ready() {
                line.took = began.elapsed();
            }
            self.0.unlock(line, []);
            polled
        })
        .await
    }
}

impl<T: Keep> Drop for Turn<'_, T> {
    fn drop(&mut self) {
        let mut line = self.0.lock();
        line.running -= 1;
        self.0.unlock(line, []);
    }
}

/// A position in the queue.
struct Place<'a, T: Keep> {
    turns: &'a Turns<T>,
    ticket: Ticket,
}

impl<'a, T: Keep> Place<'a, T> {
    /// A turn of its own if nothing makes progress.
    fn go_ahead(&mut self) -> Option<Turn<'a, T>> {
        let mut line = self.turns.lock();
        if line.progress.elapsed() < PATIENCE {
            return None;
        }
        line.waiting.remove(&self.ticket)?;
        line.running += 1;
        self.turns.unlock(line, []);
        Some(Turn(self.turns))
    }
}

impl<'a, T: Keep> Future for Place<'a, T> {
    type Output = Got<'a, T>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Got<'a, T>> {
        let mut line = self.turns.lock();
        match line.served.remove(&self.ticket) {
            Some(Served::Given(value)) => return Poll::Ready(Got::Given(value)),
            Some(Served::Turn) => return Poll::Ready(Got::Turn(Turn(self.turns))),
            None => {}
        }
        if let Some(waker) = line.waiting.get_mut(&self.ticket) {
            waker.clone_from(cx.waker());
        }
        Poll::Pending
    }
}

/// A request that leaves the queue passes on what it was given but hasn't taken.
impl<T: Keep> Drop for Place<'_, T> {
    fn drop(&mut self) {
        let mut line = self.turns.lock();
        line.waiting.remove(&self.ticket);
        let served = line.served.remove(&self.ticket);
        if let Some(Served::Turn) = served {
            line.running -= 1;
        }
        self.turns.unlock(line, []);
        if let Some(Served::Given(value)) = served {
            value.keep();
        }
    }
}

//! Whose turn it is to run a guest's start-up.
//!
//! The pool has no limit, but the machine has: a burst of requests, each running a start-up of 50 ms of its own, would see none
//! of them end before nearly all have. So no more of them run at once than threads can, the other requests wait in the order in
//! which they came, and whoever waits also gets what comes back meanwhile. Nobody waits for another's *request*: a start-up
//! always ends, and if those that have their turn stand still, the next ones go ahead.
//!
//! As long as instances come back sooner than a start-up takes, one start-up at a time is enough, and the other threads serve
//! the requests that have what they need.

use std::collections::{BTreeMap, HashMap};
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

use crate::runtime::Background;

/// How long those that have their turn may stand still before others go ahead: they sleep, or nobody polls them. Far more than the time
/// between two polls of one that computes.
const PATIENCE: Duration = Duration::from_secs(1);

/// The turns of one guest's start-ups. `T` is what requests wait for: an instance.
pub(crate) struct Turns<T: Keep> {
    /// Start-ups that run at once.
    limit: usize,
    line: Mutex<Line<T>>,
    /// Length of the line, so that giving an instance back takes no lock as a rule.
    waiting: AtomicUsize,
}

struct Line<T> {
    running: usize,
    /// When a start-up last did something.
    progress: Instant,
    /// When an instance last came back to one who waited.
    given: Instant,
    /// How long the last start-up took.
    took: Duration,
    next_ticket: u64,
    waiting: BTreeMap<u64, Waker>,
    served: HashMap<u64, Served<T>>,
}

impl<T> Line<T> {
    fn may_start(&self, limit: usize) -> bool {
        self.running == 0 || self.running < limit && self.given.elapsed() > self.took
    }
}

enum Served<T> {
    Turn,
    Given(T),
}

/// What can be given to a request that waits.
pub(crate) trait Keep {
    /// Takes it to where the next request finds it.
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

    /// Waits for a turn or for what another gives, whichever comes first. `idle` is asked once the request stands in line, as
    /// something may have come back just before.
    pub(crate) async fn wait(&self, background: &Background, idle: impl FnOnce() -> Option<T>) -> Got<'_, T> {
        let mut place = match self.stand_in_line() {
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

    /// Gives `value` to who has waited longest; back if nobody waits.
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

    fn stand_in_line(&self) -> Result<Turn<'_, T>, Place<'_, T>> {
        let mut line = self.lock();
        if line.waiting.is_empty() && line.may_start(self.limit) {
            line.running += 1;
            line.progress = Instant::now();
            return Ok(Turn(self));
        }
        line.next_ticket += 1;
        let ticket = line.next_ticket;
        line.waiting.insert(ticket, Waker::noop().clone());
        self.unlock(line, []);
        Err(Place { turns: self, ticket })
    }

    /// Lets those go on who can, and wakes them and `others` outside of the lock.
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

/// Leave to run a start-up, until it is dropped.
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

/// A place in the line.
struct Place<'a, T: Keep> {
    turns: &'a Turns<T>,
    ticket: u64,
}

impl<'a, T: Keep> Place<'a, T> {
    /// A turn of its own if nothing moves.
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

/// Who leaves the line passes on what it has been served and has not taken.
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

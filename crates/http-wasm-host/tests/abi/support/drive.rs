//! Driving futures without an executor.

use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

pub(crate) use futures_executor::block_on;
use tracing::Dispatch;

/// A future polled by hand, with a waker that counts calls from elsewhere. On a busy machine, a guest may yield in the
/// middle of its work, and then wakes its own task.
pub(crate) struct ByHand<F> {
    future: Pin<Box<F>>,
    wakes: Arc<Wakes>,
}

#[derive(Default)]
struct Wakes {
    polled_on: Mutex<Option<ThreadId>>,
    turns_given: AtomicUsize,
    by_others: AtomicUsize,
}

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        let by_itself = *self.polled_on.lock().unwrap() == Some(thread::current().id());
        let count = if by_itself { &self.turns_given } else { &self.by_others };
        count.fetch_add(1, Ordering::SeqCst);
    }
}

impl Wakes {
    fn all(&self) -> usize {
        self.turns_given.load(Ordering::SeqCst) + self.by_others()
    }

    fn by_others(&self) -> usize {
        self.by_others.load(Ordering::SeqCst)
    }
}

impl<F: Future> ByHand<F> {
    pub(crate) fn new(future: F) -> Self {
        Self { future: Box::pin(future), wakes: Arc::default() }
    }

    /// The same future with another waker, and a function that returns how often the old one has been called.
    pub(crate) fn handed_over(self) -> (Self, impl Fn() -> usize) {
        let Self { future, wakes } = self;
        (Self { future, wakes: Arc::default() }, move || wakes.by_others())
    }

    /// How often the waker has been called from elsewhere.
    pub(crate) fn wakes(&self) -> usize {
        self.wakes.by_others()
    }

    /// Polls until the future has completed or waits for something external. In between, it may yield to other tasks.
    pub(crate) fn poll(&mut self) -> Poll<F::Output> {
        loop {
            let wakes = self.wakes.all();
            let waker = Waker::from(self.wakes.clone());
            *self.wakes.polled_on.lock().unwrap() = Some(thread::current().id());
            let poll = self.future.as_mut().poll(&mut Context::from_waker(&waker));
            *self.wakes.polled_on.lock().unwrap() = None;
            match poll {
                Poll::Pending if self.wakes.all() > wakes => {}
                poll => return poll,
            }
        }
    }

    /// Polls a future that is expected to wait.
    #[track_caller]
    pub(crate) fn waits(&mut self) {
        assert!(self.poll().is_pending(), "it should have waited");
    }

    /// Polls a future that is expected to complete.
    #[track_caller]
    pub(crate) fn ends(&mut self) -> F::Output {
        match self.poll() {
            Poll::Ready(output) => output,
            Poll::Pending => panic!("it should have ended"),
        }
    }
}

/// Runs `what` on this thread with this subscriber.
pub(crate) fn with_subscriber<T>(subscriber: impl Into<Dispatch>, what: impl FnOnce() -> T) -> T {
    // If there were only one subscriber, an event first emitted on a thread without any would be considered disabled
    // everywhere.
    let _second = Dispatch::new(tracing_subscriber::registry());
    tracing::dispatcher::with_default(&subscriber.into(), what)
}

/// Repeats `test` until it passes, but fails if an attempt fails within `limit`. What it tests must happen within that
/// time, which may take several attempts on a busy machine.
pub(crate) fn within<T>(limit: Duration, test: impl Fn() -> T) -> T {
    let began = Instant::now();
    loop {
        let start = Instant::now();
        match std::panic::catch_unwind(AssertUnwindSafe(&test)) {
            Ok(shown) => return shown,
            Err(panic) if start.elapsed() <= limit || began.elapsed() > Duration::from_secs(30) => {
                std::panic::resume_unwind(panic)
            }
            Err(_) => {}
        }
    }
}

/// Waits for something that another thread does.
#[track_caller]
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !holds() {
        assert!(Instant::now() < deadline, "never happened: {what}");
        thread::sleep(Duration::from_millis(2));
    }
}

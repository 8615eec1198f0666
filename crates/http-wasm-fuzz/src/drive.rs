//! Polling by hand: clean-ups run when the target says so, and waiting forever is detected.

use std::cell::Cell;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use http_wasm_host::{Runtime, Task};

/// Collects clean-up calls until [`CleanUps::run`].
#[derive(Clone, Default)]
pub(crate) struct CleanUps(Arc<Mutex<Vec<Task>>>);

impl CleanUps {
    /// Runs all pending clean-ups.
    pub(crate) fn run(&self) {
        let tasks = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        for task in tasks {
            // Everything has arrived by now, so a clean-up doesn't have to wait.
            assert!(drive(task, &Cell::new(usize::MAX), || false).is_some());
        }
    }
}

impl Runtime for CleanUps {
    fn spawn(&self, task: Task) -> Result<(), Task> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(task);
        Ok(())
    }

    fn sleep(&self, _: Duration) -> Option<Task> {
        None
    }
}

#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Polls `future` to completion, or drops it once it has used up its `waits`. `arrive` delivers the next data that it
/// may be waiting for, and returns whether there was any.
///
/// # Panics
/// If it waits for something that can't arrive.
pub(crate) fn drive<F: Future>(
    future: F,
    waits: &Cell<usize>,
    mut arrive: impl FnMut() -> bool,
) -> Option<F::Output> {
    let mut future = pin!(future);
    let woken = Arc::new(Woken::default());
    let waker = Waker::from(woken.clone());
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return Some(output);
        }
        waits.set(waits.get().checked_sub(1)?);
        if !woken.0.swap(false, Ordering::Relaxed) {
            assert!(arrive(), "waits for something that can't come");
            assert!(woken.0.swap(false, Ordering::Relaxed), "what has arrived woke nobody");
        }
    }
}

#[derive(Default)]
struct ThreadNotify {
    notified: Mutex<bool>,
    changed: Condvar,
}

impl Wake for ThreadNotify {
    fn wake(self: Arc<Self>) {
        *self.notified.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.changed.notify_one();
    }
}

/// Polls `future` to completion while other threads keep the time.
///
/// # Panics
/// If it waits for longer than `limit`.
pub(crate) fn wait<F: Future>(future: F, limit: Duration) -> F::Output {
    let mut future = pin!(future);
    let notify = Arc::new(ThreadNotify::default());
    let waker = Waker::from(notify.clone());
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        let notified = notify.notified.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = notify.changed.wait_timeout_while(notified, limit, |notified| !*notified);
        let (mut notified, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
        assert!(!timeout.timed_out(), "waits for longer than {limit:?}");
        *notified = false;
    }
}

//! Detects when written data has been flushed to the connection.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// The flushes of one connection, counted only while someone waits for one.
#[derive(Debug, Default)]
pub(super) struct Flushes {
    waiting: AtomicUsize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    count: u64,
    waiting: Vec<Waker>,
    /// The connection's own task, if others wait for a flush.
    connection: Option<Waker>,
}

impl Flushes {
    /// Records that everything written so far has been flushed.
    pub(super) fn completed(&self) {
        if self.is_awaited() {
            let waiting = {
                let mut state = self.state();
                state.count += 1;
                std::mem::take(&mut state.waiting)
            };
            waiting.into_iter().for_each(Waker::wake);
        }
    }

    /// Whether a flush is awaited.
    pub(super) fn is_awaited(&self) -> bool {
        self.waiting.load(Ordering::Acquire) > 0
    }

    /// Sets the task that runs the connection.
    pub(super) fn set_connection(&self, task: Waker) {
        self.state().connection = Some(task);
    }

    /// Waits for this many flushes from now on.
    pub(super) fn wait(self: &Arc<Self>, count: u64) -> Waiting {
        self.waiting.fetch_add(1, Ordering::AcqRel);
        let state = self.state();
        let waiting = Waiting { flushes: self.clone(), until: state.count + count };
        // The task may have nothing more to do.
        if let Some(connection) = &state.connection {
            connection.wake_by_ref();
        }
        waiting
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits for flushes.
#[derive(Debug)]
pub(super) struct Waiting {
    flushes: Arc<Flushes>,
    until: u64,
}

impl Waiting {
    pub(super) fn poll(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.flushes.state();
        if state.count >= self.until {
            return Poll::Ready(());
        }
        if !state.waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
            state.waiting.push(cx.waker().clone());
        }
        Poll::Pending
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.flushes.waiting.fetch_sub(1, Ordering::AcqRel);
    }
}

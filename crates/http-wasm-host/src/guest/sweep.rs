//! Gives the memory of instances back that nobody needs any more.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Wake, Waker};
use std::time::Duration;

use super::Inner;
use crate::engine::Timer;
use crate::host::Host;
use crate::stats::DropReason;

/// Shorter pauses would keep the thread busy for nothing.
const SHORTEST: Duration = Duration::from_millis(5);

/// Looks through a guest's pool once each quarter of its `idle_ttl`, on the housekeeping thread.
pub(super) struct Sweep<H: Host> {
    inner: Weak<Inner<H>>,
    timer: Mutex<Next>,
}

#[derive(Default)]
struct Next {
    timer: Option<Timer>,
    stopped: bool,
}

impl<H: Host> Sweep<H> {
    pub(super) fn start(inner: &Arc<Inner<H>>) -> Arc<Self> {
        let sweep = Arc::new(Self { inner: Arc::downgrade(inner), timer: Mutex::default() });
        sweep.schedule(inner);
        sweep
    }

    /// The timer holds this, and this the timer: so it must be told to stop.
    pub(super) fn stop(&self) {
        let mut next = self.timer.lock().unwrap_or_else(PoisonError::into_inner);
        next.stopped = true;
        let _outside_the_lock = next.timer.take();
        drop(next);
    }

    fn schedule(self: &Arc<Self>, inner: &Inner<H>) {
        let pause = (inner.pool.settings().idle_ttl / 4).max(SHORTEST);
        let mut next = self.timer.lock().unwrap_or_else(PoisonError::into_inner);
        if !next.stopped {
            next.timer = inner.engine().wake_after(pause, Waker::from(self.clone()));
        }
    }
}

impl<H: Host> Wake for Sweep<H> {
    fn wake(self: Arc<Self>) {
        let Some(inner) = self.inner.upgrade() else { return };
        for instance in inner.pool.expire() {
            inner.dropped(DropReason::Idle);
            drop(instance);
        }
        self.schedule(&inner);
    }
}

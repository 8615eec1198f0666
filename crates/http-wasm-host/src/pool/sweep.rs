//! Drops instances that are no longer needed, to free their memory.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Wake, Waker};
use std::time::Duration;

use crate::host::Host;
use crate::pool::Pool;
use crate::runtime::Timer;
use crate::stats::DropReason;

/// Shorter intervals would keep the thread busy for nothing.
const SHORTEST: Duration = Duration::from_millis(5);

/// Checks a guest's pool once per quarter of its `idle_ttl`, on the housekeeping thread.
pub(crate) struct Sweep<H: Host> {
    pool: Weak<Pool<H>>,
    timer: Mutex<Next>,
}

#[derive(Default)]
struct Next {
    timer: Option<Timer>,
    stopped: bool,
}

impl<H: Host> Sweep<H> {
    pub(crate) fn start(pool: &Arc<Pool<H>>) -> Arc<Self> {
        let sweep = Arc::new(Self { pool: Arc::downgrade(pool), timer: Mutex::default() });
        sweep.schedule(pool);
        sweep
    }

    /// The timer owns this, and this owns the timer, so it must be stopped explicitly.
    pub(crate) fn stop(&self) {
        let mut next = self.timer.lock().unwrap_or_else(PoisonError::into_inner);
        next.stopped = true;
        let _outside_the_lock = next.timer.take();
        drop(next);
    }

    fn schedule(self: &Arc<Self>, pool: &Pool<H>) {
        let pause = (pool.settings().idle_ttl / 4).max(SHORTEST);
        let mut next = self.timer.lock().unwrap_or_else(PoisonError::into_inner);
        if !next.stopped {
            next.timer = pool.shared().engine.background().wake_after(pause, Waker::from(self.clone()));
        }
    }
}

impl<H: Host> Wake for Sweep<H> {
    fn wake(self: Arc<Self>) {
        let Some(pool) = self.pool.upgrade() else { return };
        for instance in pool.expire() {
            pool.shared().dropped(DropReason::Idle);
            drop(instance);
        }
        self.schedule(&pool);
    }
}

//! Drops instances that are no longer needed, to free their memory, and creates missing ones.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};
use std::task::{Wake, Waker};
use std::thread::available_parallelism;
use std::time::Duration;

use crate::host::Host;
use crate::pool::Pool;
use crate::pool::factory::Factory;
use crate::runtime::Timer;
use crate::stats::DropReason;

/// With shorter intervals, the thread would be busy without need.
const SHORTEST: Duration = Duration::from_millis(5);

/// With this many idle instances, lost ones aren't replaced before they are needed. If all calls that compute are
/// stopped, and as many that wait, there is still one more.
static ENOUGH_IDLE: LazyLock<usize> =
    LazyLock::new(|| (2 * available_parallelism().map_or(1, usize::from) + 1).clamp(5, 17));

/// Checks a guest's pool once per quarter of its `idle_ttl`, on the housekeeping thread.
pub(crate) struct Sweep<H: Host> {
    pool: Weak<Pool<H>>,
    factory: Arc<Factory<H>>,
    refills: AtomicBool,
    /// The number of instances that are lost, or soon will be, and that may be worth replacing.
    lost: AtomicUsize,
    timer: Mutex<Next>,
}

#[derive(Default)]
struct Next {
    timer: Option<Timer>,
    stopped: bool,
}

impl<H: Host> Sweep<H> {
    pub(crate) fn start(pool: &Arc<Pool<H>>, factory: Arc<Factory<H>>) -> Arc<Self> {
        let pool_again = Arc::downgrade(pool);
        // Set until the first instances have been created.
        let refills = AtomicBool::new(true);
        let lost = AtomicUsize::new(0);
        let sweep = Arc::new(Self { pool: pool_again, factory, refills, lost, timer: Mutex::default() });
        sweep.schedule(pool);
        let loss = Waker::from(Arc::new(Loss(Arc::downgrade(&sweep))));
        pool.shared().calls.compute.on_overrun(loss.clone());
        pool.on_loss(loss);
        sweep
    }

    /// The guest's initial instances exist: from now on, missing ones are replaced.
    pub(crate) fn warmed_up(&self) {
        self.refills.store(false, Ordering::Relaxed);
    }

    /// The timer and this own each other, so the timer must be stopped explicitly.
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
        if pool.is_short() {
            self.refill(&pool);
        }
        self.schedule(&pool);
    }
}

impl<H: Host> Sweep<H> {
    fn refill(self: &Arc<Self>, pool: &Pool<H>) {
        if !self.refills.swap(true, Ordering::Relaxed) {
            let refill = Refill(self.clone());
            pool.shared().engine.background().spawn(Box::pin(refill.run()));
        }
    }

    /// Whether to create another instance.
    fn is_missing(&self, pool: &Pool<H>) -> bool {
        let one_less = |lost: usize| lost.checked_sub(1);
        let was_lost = self.lost.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_ok();
        if pool.is_short() {
            return true;
        }
        let has_room = pool.idle() < pool.settings().max_idle.unwrap_or(usize::MAX).min(*ENOUGH_IDLE);
        if !has_room {
            self.lost.store(0, Ordering::Relaxed);
        }
        was_lost && has_room
    }
}

/// Woken when an instance is lost, and before that when its call computes for so long that it will probably be stopped.
/// Replaces it before a request needs it, if its start-up is slow.
struct Loss<H: Host>(Weak<Sweep<H>>);

impl<H: Host> Wake for Loss<H> {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let Some(sweep) = self.0.upgrade().filter(|sweep| sweep.factory.is_slow()) else { return };
        if let Some(pool) = sweep.pool.upgrade() {
            sweep.lost.fetch_add(1, Ordering::Relaxed);
            sweep.refill(&pool);
        }
    }
}

/// Creates the missing instances, one after the other. Only one of these runs at a time.
struct Refill<H: Host>(Arc<Sweep<H>>);

impl<H: Host> Refill<H> {
    async fn run(self) {
        let Sweep { pool, factory, .. } = &*self.0;
        // The pool goes away with the guest, which may be dropped while an instance is created.
        while pool.upgrade().is_some_and(|pool| self.0.is_missing(&pool)) {
            // The observer has been notified of the failure; the next sweep tries again.
            let Ok(made) = factory.create(false).await else { return };
            if let Some(pool) = pool.upgrade() {
                pool.add(made).recycle();
            }
        }
    }
}

impl<H: Host> Drop for Refill<H> {
    fn drop(&mut self) {
        self.0.refills.store(false, Ordering::Relaxed);
    }
}

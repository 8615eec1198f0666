//! The pool of idle instances, and the guard for an instance in use.

pub(crate) mod abandoned;
mod backoff;
pub(crate) mod factory;
pub(crate) mod outcome;
pub(crate) mod pinned;
pub(crate) mod progress;
pub(crate) mod start_queue;
pub(crate) mod streaming;
pub(crate) mod sweep;

use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::Waker;
use std::thread::available_parallelism;

use crossbeam_utils::atomic::AtomicCell;

use self::start_queue::{Recycle, StartQueue};
use crate::host::Host;
use crate::limits::PoolSettings;
use crate::rule::Rule;
use crate::run::instance::Instance;
use crate::run::shared::Shared;
use crate::stats::DropReason;

/// Idle instances, last in, first out: the warmest is used first, and the surplus of a burst stays at the bottom.
///
/// Each thread has a shard that it checks first, so that threads neither wait for each other nor share a cache line.
pub(crate) struct Pool<H: Host> {
    shards: Box<[Arc<Shard<H>>]>,
    settings: PoolSettings,
    shared: Arc<Shared>,
    start_queue: Arc<StartQueue<PooledInstance<H>>>,
    on_loss: Arc<OnceLock<Waker>>,
}

/// One thread's part of a pool. Instances in use hold this and not the pool, since the pool is closed with the last
/// handle of its guest.
#[repr(align(128))]
struct Shard<H: Host> {
    /// The instance that was returned last. Most requests find one here and need no lock.
    hot: AtomicCell<Option<BoxedMember<H>>>,
    idle: Mutex<Idle<H>>,
    closed: AtomicBool,
    cap: Option<Arc<Cap>>,
    start_queue: Arc<StartQueue<PooledInstance<H>>>,
    on_loss: Arc<OnceLock<Waker>>,
}

/// Counts idle instances, if `max_idle` is set.
struct Cap {
    max: usize,
    idle: AtomicUsize,
}

struct Idle<H: Host> {
    instances: Members<H>,
    /// The minimum number of idle instances in this quarter of `idle_ttl` (first) and in the previous ones. That many
    /// instances, at the bottom, weren't needed.
    unused: [usize; QUARTERS],
}

/// An instance of a pool.
struct Member<H: Host> {
    instance: Instance<H>,
    /// While it is in use, the shard that it is returned to.
    shard: Option<Arc<Shard<H>>>,
}

/// Boxed, because guards are moved around and must be small.
type BoxedMember<H> = Box<Member<H>>;
type Members<H> = Vec<BoxedMember<H>>;

const QUARTERS: usize = 4;

/// With more shards, searching all of them before an instance is created would be slow.
const MAX_SHARDS: usize = 16;

/// The number of shards of each pool.
static SHARDS: LazyLock<usize> =
    LazyLock::new(|| available_parallelism().map_or(1, usize::from).min(MAX_SHARDS));

impl<H: Host> Pool<H> {
    pub(crate) fn new(settings: PoolSettings, shared: Arc<Shared>) -> Self {
        let cap = settings.max_idle.map(|max| Arc::new(Cap { max, idle: AtomicUsize::new(0) }));
        let start_queue = Arc::new(StartQueue::new());
        let on_loss = Arc::default();
        let shard = |_| Arc::new(Shard::new(cap.clone(), start_queue.clone(), Arc::clone(&on_loss)));
        Self { shards: (0..*SHARDS).map(shard).collect(), settings, shared, start_queue, on_loss }
    }

    /// Wakes `waker` whenever an instance in use is dropped.
    pub(crate) fn on_loss(&self, waker: Waker) {
        let _ = self.on_loss.set(waker);
    }

    /// The queue in which requests wait for a permit to run a start-up, or for an instance that is returned meanwhile.
    pub(crate) fn start_queue(&self) -> &StartQueue<PooledInstance<H>> {
        &self.start_queue
    }

    /// What the instances share.
    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// An idle instance, if there is one.
    #[inline]
    pub(crate) fn take(&self) -> Option<PooledInstance<H>> {
        let own = self.own();
        let member = match own.take() {
            Some(member) => member,
            None => self.search()?,
        };
        Some(PooledInstance::new(member, own))
    }

    /// Searches the other threads' shards.
    #[cold]
    fn search(&self) -> Option<BoxedMember<H>> {
        let own = own_shard();
        (1..self.shards.len()).find_map(|i| self.shards[(own + i) % self.shards.len()].take())
    }

    /// Adds a new instance, for a request.
    pub(crate) fn add(&self, instance: Instance<H>) -> PooledInstance<H> {
        PooledInstance::new(Box::new(Member { instance, shard: None }), self.own())
    }

    fn own(&self) -> &Arc<Shard<H>> {
        &self.shards[own_shard()]
    }

    pub(crate) fn idle(&self) -> usize {
        self.shards.iter().map(|shard| shard.settle().instances.len()).sum()
    }

    pub(crate) fn settings(&self) -> &PoolSettings {
        &self.settings
    }

    /// Whether there are fewer instances than `min_warm`, including those in use.
    pub(crate) fn is_short(&self) -> bool {
        let wanted = self.settings.max_idle.unwrap_or(usize::MAX).min(self.settings.min_warm);
        self.shared.counters.live() < wanted as u64
    }

    /// Drops the idle instances, and from now on every instance that is returned.
    pub(crate) fn close(&self) {
        for shard in &self.shards {
            shard.closed.store(true, Ordering::Relaxed);
            drop(shard.drain());
        }
    }

    /// Removes the instances that haven't been needed for `idle_ttl`. Call it once per quarter of that time.
    fn expire(&self) -> Members<H> {
        let mut spare = self.idle().saturating_sub(self.settings.min_warm);
        let mut expired = Vec::new();
        for shard in &self.shards {
            let mut idle = shard.lock();
            // The pool may have been closed since they were counted.
            let unused = idle.end_quarter().min(spare).min(idle.instances.len());
            spare -= unused;
            expired.extend(idle.instances.drain(..unused));
            idle.forget(unused);
            if let Some(cap) = &shard.cap {
                cap.idle.fetch_sub(unused, Ordering::Relaxed);
            }
        }
        expired
    }
}

impl<H: Host> Shard<H> {
    fn new(
        cap: Option<Arc<Cap>>,
        start_queue: Arc<StartQueue<PooledInstance<H>>>,
        on_loss: Arc<OnceLock<Waker>>,
    ) -> Self {
        let idle = Mutex::new(Idle { instances: Vec::new(), unused: [0; QUARTERS] });
        Self { hot: AtomicCell::new(None), idle, closed: AtomicBool::new(false), cap, start_queue, on_loss }
    }

    /// Adds `member`, or returns it if the pool is full.
    #[inline]
    fn put(&self, member: BoxedMember<H>) -> Result<(), BoxedMember<H>> {
        if let Some(cap) = &self.cap
            && cap.idle.fetch_add(1, Ordering::Relaxed) >= cap.max
        {
            cap.idle.fetch_sub(1, Ordering::Relaxed);
            return Err(member);
        }
        if let Some(colder) = self.hot.swap(Some(member)) {
            self.lock().instances.push(colder);
        }
        // If this is missed, the shard and its contents are dropped with the last instance in use.
        if self.closed.load(Ordering::Relaxed) {
            drop(self.drain());
        }
        Ok(())
    }

    /// Adds `member`, or drops it if the pool is full.
    #[inline]
    fn put_or_drop(&self, member: BoxedMember<H>) {
        if let Err(surplus) = self.put(member) {
            surplus.instance.shared().dropped(DropReason::Idle);
        }
    }

    /// Drops an instance that was in use.
    #[cold]
    fn lose(&self, mut member: BoxedMember<H>) {
        let instance = &mut member.instance;
        if instance.shared().broken.is(Rule::TrappedDropped) {
            let _host = instance.end();
            return self.put_or_drop(member);
        }
        instance.shared().dropped(instance.pin.drop_reason);
        drop(member);
        if let Some(waker) = self.on_loss.get() {
            waker.wake_by_ref();
        }
    }

    /// The instance that was returned last.
    #[inline]
    fn take(&self) -> Option<BoxedMember<H>> {
        let member = self.hot.take().or_else(|| self.lock().pop())?;
        if let Some(cap) = &self.cap {
            cap.idle.fetch_sub(1, Ordering::Relaxed);
        }
        Some(member)
    }

    /// Locks the idle instances, after adding `hot` to them.
    fn settle(&self) -> MutexGuard<'_, Idle<H>> {
        let mut idle = self.lock();
        idle.instances.extend(self.hot.take());
        idle
    }

    fn drain(&self) -> Members<H> {
        // Dropped by the caller, outside the lock.
        std::mem::take(&mut self.settle().instances)
    }

    fn lock(&self) -> MutexGuard<'_, Idle<H>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<H: Host> Idle<H> {
    fn pop(&mut self) -> Option<BoxedMember<H>> {
        let popped = self.instances.pop();
        self.unused[0] = self.unused[0].min(self.instances.len());
        popped
    }

    /// Returns how many instances weren't needed in this quarter and the previous ones, and begins the next quarter.
    fn end_quarter(&mut self) -> usize {
        let unused = self.unused.into_iter().min().unwrap_or(0);
        self.unused.rotate_right(1);
        self.unused[0] = self.instances.len();
        unused
    }

    fn forget(&mut self, dropped: usize) {
        for unused in &mut self.unused {
            *unused = unused.saturating_sub(dropped);
        }
    }
}

/// This thread's shard.
fn own_shard() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local!(static OWN: usize = NEXT.fetch_add(1, Ordering::Relaxed) % *SHARDS);
    OWN.with(|own| *own)
}

/// An instance taken out of the pool. Only [`recycle`](Self::recycle), the explicit last step of an exchange that left
/// the instance clean, returns it. Otherwise, the instance is dropped with this.
pub(crate) struct PooledInstance<H: Host>(Option<BoxedMember<H>>);

impl<H: Host> PooledInstance<H> {
    /// Takes `member` into use. It is returned to `shard`.
    #[inline]
    fn new(mut member: BoxedMember<H>, shard: &Arc<Shard<H>>) -> Self {
        member.shard = Some(shard.clone());
        Self(Some(member))
    }

    #[inline]
    pub(crate) fn recycle(mut self) {
        if self.has_outgrown() {
            return self.drop_as(DropReason::Outgrown);
        }
        if self.shard().start_queue.has_waiters() {
            match self.shard().start_queue.clone().hand_over(self) {
                Some(unwanted) => self = unwanted,
                None => return,
            }
        }
        let Some((member, shard)) = self.detach() else { return };
        shard.put_or_drop(member);
        // A request that has just begun to wait may have searched the pool before the instance was there, so offer it
        // again. If no request waits any more, it returns to the pool.
        if shard.start_queue.has_waiters()
            && let Some(member) = shard.take()
        {
            Self::new(member, &shard).recycle();
        }
    }

    /// The instance, which is no longer in use, and the shard for it.
    #[inline]
    fn detach(&mut self) -> Option<(BoxedMember<H>, Arc<Shard<H>>)> {
        let mut member = self.0.take()?;
        let shard = member.shard.take()?;
        Some((member, shard))
    }

    #[inline]
    fn shard(&self) -> &Arc<Shard<H>> {
        let member = self.0.as_ref().expect(Self::PRESENT);
        member.shard.as_ref().expect("an instance in use has a shard")
    }

    /// Continues with another instance, if one is idle; see [`Rule::SameInstance`].
    #[cold]
    pub(crate) fn swap(&mut self) {
        let shard = self.shard().clone();
        if let Some(other) = shard.take() {
            let mut other = Self::new(other, &shard);
            self.swap_exchanges(&mut other);
            std::mem::swap(self, &mut other);
            other.recycle();
        }
    }

    /// Sets the reason that is counted if it is dropped from now on.
    pub(crate) fn drop_as(&mut self, reason: DropReason) {
        self.pin.drop_reason = reason;
    }

    const PRESENT: &str = "taken only by recycle, which consumes the guard";
}

impl<H: Host> Recycle for PooledInstance<H> {
    fn put_back(self) {
        self.recycle();
    }
}

impl<H: Host> Deref for PooledInstance<H> {
    type Target = Instance<H>;

    #[inline]
    fn deref(&self) -> &Instance<H> {
        &self.0.as_ref().expect(Self::PRESENT).instance
    }
}

impl<H: Host> DerefMut for PooledInstance<H> {
    #[inline]
    fn deref_mut(&mut self) -> &mut Instance<H> {
        &mut self.0.as_mut().expect(Self::PRESENT).instance
    }
}

impl<H: Host> Drop for PooledInstance<H> {
    #[inline]
    fn drop(&mut self) {
        if let Some((member, shard)) = self.detach() {
            shard.lose(member);
        }
    }
}

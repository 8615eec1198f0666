//! The pool of idle instances, and the guard that is pinned to a request.

use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::available_parallelism;
use std::time::Duration;

use crate::host::Host;
use crate::instance::Instance;
use crate::stats::DropReason;

/// How many instances a guest keeps ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PoolSettings {
    /// Instances made when the guest is loaded, in parallel, and kept however long nobody needs them. At least one is made
    /// in any case, so that a bad guest fails at load. Default 1.
    pub min_warm: usize,
    /// Idle instances kept; one more that comes back is dropped. Default `None`, no limit: what a burst has made is
    /// likely to be needed again within `idle_ttl`, and gone after it.
    pub max_idle: Option<usize>,
    /// How long an instance may lie idle before it is dropped and its memory goes back to the system; up to a quarter more. Default 1
    /// minute: longer than the pauses within a burst, shorter than anybody watches a graph.
    pub idle_ttl: Duration,
}

impl Default for PoolSettings {
    fn default() -> Self {
        Self { min_warm: 1, max_idle: None, idle_ttl: Duration::from_secs(60) }
    }
}

/// Idle instances, last in first out: the warmest is used first, and a burst's surplus stays at the bottom.
///
/// Each thread has a shard that it looks into first, so that threads don't wait for each other.
pub(crate) struct Pool<H: Host> {
    shards: Box<[Shard<H>]>,
    settings: PoolSettings,
    /// Idle instances, counted only where `max_idle` asks for it.
    idle: AtomicUsize,
    closed: AtomicBool,
}

/// On a cache line of its own.
#[repr(align(128))]
struct Shard<H: Host>(Mutex<Idle<H>>);

struct Idle<H: Host> {
    instances: Boxes<H>,
    /// The fewest that were idle at any time, in this quarter of `idle_ttl` (first) and those before: so many, at the bottom,
    /// nobody has needed.
    unused: [usize; QUARTERS],
}

/// In boxes, as guards are passed around that must be small.
type Boxes<H> = Vec<Box<Instance<H>>>;

const QUARTERS: usize = 4;

/// More would make looking through all of them, before a new instance is made, slow.
const MAX_SHARDS: usize = 16;

impl<H: Host> Pool<H> {
    pub(crate) fn new(settings: PoolSettings) -> Self {
        let shards = available_parallelism().map_or(1, usize::from).min(MAX_SHARDS);
        Self {
            shards: (0..shards).map(|_| Shard::new()).collect(),
            settings,
            idle: AtomicUsize::new(0),
            closed: AtomicBool::new(false),
        }
    }

    pub(crate) fn take(&self) -> Option<Box<Instance<H>>> {
        let home = home();
        let taken = (0..self.shards.len()).find_map(|i| self.shard(home + i).lock().pop())?;
        if self.settings.max_idle.is_some() {
            self.idle.fetch_sub(1, Ordering::Relaxed);
        }
        Some(taken)
    }

    /// Takes `instance` in, or gives it back when there is no place for it.
    pub(crate) fn put(&self, instance: Box<Instance<H>>) -> Result<(), Box<Instance<H>>> {
        if let Some(max) = self.settings.max_idle
            && self.idle.fetch_add(1, Ordering::Relaxed) >= max
        {
            self.idle.fetch_sub(1, Ordering::Relaxed);
            return Err(instance);
        }
        self.shard(home()).lock().instances.push(instance);
        if self.closed.load(Ordering::SeqCst) {
            drop(self.drain());
        }
        Ok(())
    }

    pub(crate) fn idle(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().instances.len()).sum()
    }

    pub(crate) fn settings(&self) -> &PoolSettings {
        &self.settings
    }

    /// Drops what is idle, and from now on whatever comes back.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        drop(self.drain());
    }

    /// Takes out what nobody has needed for `idle_ttl`. To be called once each quarter of it.
    pub(crate) fn expire(&self) -> Boxes<H> {
        let mut spare = self.idle().saturating_sub(self.settings.min_warm);
        let mut expired = Vec::new();
        for shard in &self.shards {
            let mut idle = shard.lock();
            let unused = idle.end_quarter().min(spare);
            spare -= unused;
            expired.extend(idle.instances.drain(..unused));
            idle.forget(unused);
        }
        if self.settings.max_idle.is_some() {
            self.idle.fetch_sub(expired.len(), Ordering::Relaxed);
        }
        expired
    }

    fn drain(&self) -> Boxes<H> {
        // Dropped by the caller, outside the locks.
        self.shards.iter().flat_map(|shard| std::mem::take(&mut shard.lock().instances)).collect()
    }

    fn shard(&self, index: usize) -> &Shard<H> {
        &self.shards[index % self.shards.len()]
    }
}

impl<H: Host> Shard<H> {
    fn new() -> Self {
        Self(Mutex::new(Idle { instances: Vec::new(), unused: [0; QUARTERS] }))
    }

    fn lock(&self) -> MutexGuard<'_, Idle<H>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<H: Host> Idle<H> {
    fn pop(&mut self) -> Option<Box<Instance<H>>> {
        let popped = self.instances.pop();
        self.unused[0] = self.unused[0].min(self.instances.len());
        popped
    }

    /// How many nobody has needed in this quarter and those before; the next one begins.
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
fn home() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local!(static HOME: usize = NEXT.fetch_add(1, Ordering::Relaxed) % MAX_SHARDS);
    HOME.with(|home| *home)
}

/// An instance out of the pool. It goes back only by [`recycle`](Self::recycle), the explicit last step of an
/// exchange that left it clean; dropped in any other way it is gone.
pub(crate) struct PooledInstance<H: Host>(Option<Box<Instance<H>>>);

impl<H: Host> PooledInstance<H> {
    pub(crate) fn new(instance: Box<Instance<H>>) -> Self {
        Self(Some(instance))
    }

    pub(crate) fn recycle(mut self) {
        if let Some(instance) = self.0.take_if(|instance| !instance.has_outgrown()) {
            instance.give_back();
            return;
        }
        self.doubt(DropReason::Outgrown);
    }

    /// Goes on with another instance; see [`crate::mutation`].
    #[cfg(feature = "mutations")]
    pub(crate) fn swap(&mut self) {
        let Some(instance) = &mut self.0 else { return };
        if let Some(mut other) = instance.home().pool.take() {
            instance.swap_exchanges(&mut other);
            std::mem::swap(instance, &mut other);
            other.give_back();
        }
    }

    /// What it counts as if it is dropped from now on.
    pub(crate) fn doubt(&mut self, reason: DropReason) {
        if let Some(instance) = &mut self.0 {
            instance.pin.doubt = reason;
        }
    }
}

impl<H: Host> Deref for PooledInstance<H> {
    type Target = Instance<H>;

    fn deref(&self) -> &Instance<H> {
        self.0.as_deref().expect("taken only by recycle, which consumes the guard")
    }
}

impl<H: Host> DerefMut for PooledInstance<H> {
    fn deref_mut(&mut self) -> &mut Instance<H> {
        self.0.as_deref_mut().expect("taken only by recycle, which consumes the guard")
    }
}

impl<H: Host> Drop for PooledInstance<H> {
    fn drop(&mut self) {
        #[cfg(feature = "mutations")]
        if let Some(instance) =
            self.0.take_if(|instance| instance.is_mutated(crate::mutation::Mutation::TrappedInstanceKept))
        {
            return instance.give_back();
        }
        if let Some(instance) = &self.0 {
            instance.home().dropped(instance.pin.doubt);
        }
    }
}

//! The pool of idle instances, and the guard that is pinned to a request.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::guest::Inner;
use crate::host::Host;
use crate::instance::Instance;
use crate::stats::DropReason;

/// Idle instances, last in first out: the warmest is used first, and a burst's surplus stays at the bottom.
pub(crate) struct Pool<H: Host>(Mutex<Idle<H>>);

type Idle<H> = Vec<Box<Instance<H>>>;

impl<H: Host> Pool<H> {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(Vec::new()))
    }

    pub(crate) fn take(&self) -> Option<Box<Instance<H>>> {
        self.lock().pop()
    }

    pub(crate) fn put(&self, instance: Box<Instance<H>>) {
        self.lock().push(instance);
    }

    pub(crate) fn idle(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, Idle<H>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An instance out of the pool. It goes back only by [`recycle`](Self::recycle), the explicit last step of an
/// exchange that left it clean; dropped in any other way it is gone.
pub(crate) struct PooledInstance<H: Host> {
    pub(crate) guest: Arc<Inner<H>>,
    instance: Option<Box<Instance<H>>>,
}

impl<H: Host> PooledInstance<H> {
    pub(crate) fn new(guest: Arc<Inner<H>>, instance: Box<Instance<H>>) -> Self {
        Self { guest, instance: Some(instance) }
    }

    pub(crate) fn recycle(mut self) {
        if let Some(instance) = self.instance.take_if(|instance| !instance.has_outgrown()) {
            return self.guest.pool.put(instance);
        }
        self.doubt(DropReason::Outgrown);
    }

    /// Goes on with another instance; see [`crate::mutation`].
    #[cfg(feature = "mutations")]
    pub(crate) fn swap(&mut self) {
        if let (Some(instance), Some(mut other)) = (&mut self.instance, self.guest.pool.take()) {
            instance.swap_exchanges(&mut other);
            std::mem::swap(instance, &mut other);
            self.guest.pool.put(other);
        }
    }

    /// What it counts as if it is dropped from now on.
    pub(crate) fn doubt(&mut self, reason: DropReason) {
        if let Some(instance) = &mut self.instance {
            instance.pin.doubt = reason;
        }
    }
}

impl<H: Host> Deref for PooledInstance<H> {
    type Target = Instance<H>;

    fn deref(&self) -> &Instance<H> {
        self.instance.as_deref().expect("taken only by recycle, which consumes the guard")
    }
}

impl<H: Host> DerefMut for PooledInstance<H> {
    fn deref_mut(&mut self) -> &mut Instance<H> {
        self.instance.as_deref_mut().expect("taken only by recycle, which consumes the guard")
    }
}

impl<H: Host> Drop for PooledInstance<H> {
    fn drop(&mut self) {
        #[cfg(feature = "mutations")]
        if let Some(instance) = self
            .instance
            .take_if(|instance| instance.is_mutated(crate::mutation::Mutation::TrappedInstanceKept))
        {
            self.guest.pool.put(instance);
        }
        if let Some(instance) = &self.instance {
            self.guest.counters.dropped(instance.pin.doubt);
        }
    }
}

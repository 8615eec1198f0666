//! Limits the memory of an engine's guests: of each instance, and of all together.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use wasmtime::ResourceLimiter;

use crate::limits::Limits;
use crate::stats::Counters;

/// The host memory per table element.
const ELEMENT_BYTES: usize = size_of::<usize>();

/// How often failures due to a lack of memory are logged at most.
const WARN_EVERY: Duration = Duration::from_secs(10);

/// The memory that all guests of an engine may hold together, in bytes.
#[derive(Debug)]
pub(crate) struct MemoryBudget {
    limit: usize,
    used: AtomicUsize,
    /// The number of requests that failed because it was used up.
    failed: AtomicU64,
    start: Instant,
    /// When a failure was last logged, in milliseconds after `start`. 0 if never.
    warned: AtomicU64,
}

impl MemoryBudget {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit,
            used: AtomicUsize::new(0),
            failed: AtomicU64::new(0),
            start: Instant::now(),
            warned: AtomicU64::new(0),
        }
    }

    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    pub(super) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// Whether there is room for `bytes` in addition to `used`. The last quarter is reserved for requests that aren't
    /// sheddable.
    fn fits(&self, used: usize, bytes: usize, sheddable: bool) -> bool {
        let reserved = if sheddable { self.limit / 4 } else { 0 };
        used.checked_add(bytes).is_some_and(|sum| sum <= self.limit - reserved)
    }

    /// Whether a sheddable request may have an instance of `bytes`. `idle` returns how many idle instances of that size
    /// its guest has, and is only called when memory is short.
    #[inline]
    pub(crate) fn has_room_for_sheddable(&self, bytes: usize, idle: impl FnOnce() -> usize) -> bool {
        let used = self.used();
        self.fits(used, bytes, true) || {
            let idle = idle();
            idle > 0 && self.fits(used.saturating_sub(idle.saturating_mul(bytes)), bytes, true)
        }
    }

    fn take(&self, bytes: usize, sheddable: bool) -> bool {
        let add = |used: usize| self.fits(used, bytes, sheddable).then_some(used.wrapping_add(bytes));
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add).is_ok()
    }

    /// Records that a request has failed because the budget is used up. As there may be very many, not every one is
    /// logged.
    pub(crate) fn fails(&self) {
        let failed = self.failed.fetch_add(1, Ordering::Relaxed) + 1;
        let now = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX).max(1);
        let last = self.warned.load(Ordering::Relaxed);
        let due = last == 0 || now.saturating_sub(last) >= WARN_EVERY.as_millis() as u64;
        if due && self.warned.compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            tracing::warn!(
                used_bytes = self.used(),
                limit_bytes = self.limit,
                failed_requests = failed,
                "the memory budget for guests is used up; rejecting requests"
            );
        }
    }

    fn release(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }
}

#[derive(Debug)]
struct Share {
    used: usize,
    limit: usize,
}

impl Share {
    fn has_room(&self, more: usize) -> bool {
        more <= self.limit.saturating_sub(self.used)
    }
}

/// One instance's share of the budget, released on drop.
pub(crate) struct Quota {
    budget: Arc<MemoryBudget>,
    counters: Arc<Counters>,
    /// Bytes of linear memory. A module may have up to a hundred memories; they share one limit.
    memory: Share,
    /// Elements of all tables.
    tables: Share,
    /// Bytes of memories and tables.
    held: usize,
    /// Whether the request is sheddable, and so can't use the reserved quarter.
    sheddable: bool,
    /// Whether a growth was refused because all guests together use too much.
    starved: bool,
    /// The last growth of a memory that was refused because of a limit on the instance.
    refused: Option<Growth>,
}

/// A growth of a memory that was refused.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Growth {
    /// The size that it would have reached, including the instance's other memories, in bytes.
    pub(crate) to: usize,
    /// The limit, in bytes.
    pub(crate) limit: usize,
    /// Whether the limit is the module's own.
    pub(crate) is_modules: bool,
}

impl Quota {
    pub(crate) fn new(
        budget: Arc<MemoryBudget>,
        counters: Arc<Counters>,
        limits: &Limits,
        sheddable: bool,
    ) -> Self {
        Self {
            budget,
            counters,
            memory: Share { used: 0, limit: limits.memory_bytes },
            tables: Share { used: 0, limit: limits.table_elements },
            held: 0,
            sheddable,
            starved: false,
            refused: None,
        }
    }

    /// Forgets earlier refusals, for another request.
    pub(crate) fn begin(&mut self, sheddable: bool) {
        self.sheddable = sheddable;
        self.starved = false;
        self.refused = None;
    }

    /// The budget, if it was the reason for a refusal since [`begin`](Self::begin).
    pub(crate) fn starved(&self) -> Option<&MemoryBudget> {
        self.starved.then_some(&*self.budget)
    }

    /// The last growth since [`begin`](Self::begin) that was refused because of a limit on this instance.
    pub(crate) fn refused(&self) -> Option<Growth> {
        self.refused
    }

    /// The size of all memories, in bytes.
    pub(crate) fn memory(&self) -> usize {
        self.memory.used
    }

    fn grant(&mut self, bytes: usize) -> bool {
        let granted = self.budget.take(bytes, self.sheddable);
        if granted {
            self.held += bytes;
            self.counters.hold(bytes);
        }
        self.starved |= !granted;
        granted
    }
}

/// A growth that is granted here but refused by the system stays charged until the instance is dropped. This is rare,
/// bounded by the instance's own limit, and wasmtime doesn't report which growth it was.
impl ResourceLimiter for Quota {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let more = desired.saturating_sub(current);
        let fits = self.memory.has_room(more);
        if let Some(limit) = maximum.filter(|maximum| desired > *maximum) {
            self.refused = Some(Growth { to: desired, limit, is_modules: true });
        } else if !fits {
            let to = self.memory.used.saturating_add(more);
            self.refused = Some(Growth { to, limit: self.memory.limit, is_modules: false });
        }
        let granted = within(desired, maximum) && fits && self.grant(more);
        self.memory.used += if granted { more } else { 0 };
        Ok(granted)
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let more = desired.saturating_sub(current);
        let bytes = more.saturating_mul(ELEMENT_BYTES);
        let granted = within(desired, maximum) && self.tables.has_room(more) && self.grant(bytes);
        self.tables.used += if granted { more } else { 0 };
        Ok(granted)
    }

    fn instances(&self) -> usize {
        1
    }
}

fn within(desired: usize, maximum: Option<usize>) -> bool {
    maximum.is_none_or(|maximum| desired <= maximum)
}

impl Drop for Quota {
    fn drop(&mut self) {
        self.counters.release(self.held);
        self.budget.release(self.held);
    }
}

//! Limits the memory of an engine's guests: of each instance, and of all together.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use wasmtime::ResourceLimiter;

use super::mappings::{PER_MEMORY, PER_STACK};
use crate::limits::Limits;
use crate::stats::Counters;

/// The host memory per table element.
const ELEMENT_BYTES: usize = size_of::<usize>();

/// How often failures due to a lack of memory are logged at most.
const WARN_EVERY: Duration = Duration::from_secs(10);

/// What all guests of an engine may hold together.
#[derive(Debug)]
pub(crate) struct MemoryBudget {
    bytes: Supply,
    mappings: Supply,
    /// The number of requests that failed because it was used up.
    failed: AtomicU64,
    start: Instant,
    /// When a failure was last logged, in milliseconds after `start`. 0 if never.
    warned: AtomicU64,
}

/// What can be used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scarce {
    Bytes,
    Mappings,
}

/// A part of the budget: how much there is, and how much of that is in use.
#[derive(Debug)]
struct Supply {
    limit: usize,
    used: AtomicUsize,
}

impl Supply {
    fn new(limit: usize) -> Self {
        Self { limit, used: AtomicUsize::new(0) }
    }

    fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// Whether there is room for `more` in addition to `used`. The last quarter is reserved for requests that aren't
    /// sheddable.
    fn fits(&self, used: usize, more: usize, sheddable: bool) -> bool {
        let reserved = if sheddable { self.limit / 4 } else { 0 };
        used.checked_add(more).is_some_and(|sum| sum <= self.limit - reserved)
    }

    fn take(&self, more: usize, sheddable: bool) -> bool {
        let add = |used: usize| self.fits(used, more, sheddable).then_some(used.wrapping_add(more));
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add).is_ok()
    }

    fn release(&self, held: usize) {
        self.used.fetch_sub(held, Ordering::Relaxed);
    }
}

impl MemoryBudget {
    /// `mappings` is `None` if the system doesn't limit them.
    pub(super) fn new(bytes: usize, mappings: Option<usize>) -> Self {
        Self {
            bytes: Supply::new(bytes),
            mappings: Supply::new(mappings.unwrap_or(usize::MAX)),
            failed: AtomicU64::new(0),
            start: Instant::now(),
            warned: AtomicU64::new(0),
        }
    }

    pub(super) fn used(&self) -> usize {
        self.bytes.used()
    }

    /// Describes what is used up.
    pub(crate) fn shortage(&self, scarce: Scarce) -> String {
        match scarce {
            Scarce::Bytes => {
                format!("the memory budget of {} bytes for all guests is used up", self.bytes.limit)
            }
            Scarce::Mappings => format!(
                "the instances of all guests have the maximum of {} memory mappings, a part of what the system allows \
                 a process (vm.max_map_count)",
                self.mappings.limit
            ),
        }
    }

    /// Whether a sheddable request may have an instance of `bytes`, or what is short. `idle` returns how many idle
    /// instances of that size its guest has, and is only called if something is.
    #[inline]
    pub(crate) fn has_room_for_sheddable(
        &self,
        bytes: usize,
        idle: impl FnOnce() -> usize,
    ) -> Result<(), Scarce> {
        let (used, mappings) = (self.used(), PER_MEMORY + PER_STACK);
        let scarce = if !self.bytes.fits(used, bytes, true) {
            Scarce::Bytes
        } else if !self.mappings.fits(self.mappings.used(), mappings, true) {
            Scarce::Mappings
        } else {
            return Ok(());
        };
        let idle = idle();
        let fits = idle > 0
            && match scarce {
                Scarce::Bytes => {
                    self.bytes.fits(used.saturating_sub(idle.saturating_mul(bytes)), bytes, true)
                }
                Scarce::Mappings => true,
            };
        if fits { Ok(()) } else { Err(scarce) }
    }

    /// Records that a request has failed because something is used up. As there may be very many, not every one is
    /// logged.
    pub(crate) fn fails(&self, scarce: Scarce) {
        let failed = self.failed.fetch_add(1, Ordering::Relaxed) + 1;
        let now = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX).max(1);
        let last = self.warned.load(Ordering::Relaxed);
        let due = last == 0 || now.saturating_sub(last) >= WARN_EVERY.as_millis() as u64;
        if due && self.warned.compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            tracing::warn!(
                used_bytes = self.used(),
                failed_requests = failed,
                "{}; rejecting requests",
                self.shortage(scarce)
            );
        }
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
    mappings: usize,
    /// Whether the request is sheddable, and so can't use the reserved quarter.
    sheddable: bool,
    /// Set if a growth was refused because all guests together use too much.
    starved: Option<Scarce>,
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
            mappings: 0,
            sheddable,
            starved: None,
            refused: None,
        }
    }

    /// Forgets earlier refusals, for another request.
    pub(crate) fn begin(&mut self, sheddable: bool) {
        self.sheddable = sheddable;
        self.starved = None;
        self.refused = None;
    }

    /// The budget, and what of it was used up, if that was the reason for a refusal since [`begin`](Self::begin).
    pub(crate) fn starved(&self) -> Option<(&MemoryBudget, Scarce)> {
        self.starved.map(|scarce| (&*self.budget, scarce))
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
        let granted = self.budget.bytes.take(bytes, self.sheddable);
        if granted {
            self.held += bytes;
            self.counters.hold(bytes);
        } else {
            self.starved = Some(Scarce::Bytes);
        }
        granted
    }

    /// Grants the mappings of another memory. With the first one come those of the stack.
    fn grant_mappings(&mut self) -> bool {
        let mappings = if self.mappings == 0 { PER_MEMORY + PER_STACK } else { PER_MEMORY };
        let granted = self.budget.mappings.take(mappings, self.sheddable);
        if granted {
            self.mappings += mappings;
        } else {
            self.starved = Some(Scarce::Mappings);
        }
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
        // An empty memory that grows is counted again.
        let is_new = current == 0;
        let granted =
            within(desired, maximum) && fits && (!is_new || self.grant_mappings()) && self.grant(more);
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
        self.budget.bytes.release(self.held);
        self.budget.mappings.release(self.mappings);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quota(budget: &Arc<MemoryBudget>, sheddable: bool) -> Quota {
        Quota::new(budget.clone(), Arc::default(), &Limits::default(), sheddable)
    }

    #[test]
    fn each_memory_needs_mappings_and_the_first_one_those_of_a_stack() {
        let budget = Arc::new(MemoryBudget::new(usize::MAX, Some(2 * PER_MEMORY + PER_STACK)));
        let mut first = quota(&budget, false);
        // An empty memory is counted, and once more when it grows; other growth adds nothing.
        for (from, to) in [(0, 0), (0, 65_536), (65_536, 131_072)] {
            let granted = first.memory_growing(from, to, None).unwrap();
            assert!(granted, "{from} to {to}");
        }
        let mut second = quota(&budget, false);
        assert!(!second.memory_growing(0, 65_536, None).unwrap());
        assert_eq!(second.starved().map(|(_, scarce)| scarce), Some(Scarce::Mappings));
        drop(first);
        assert!(second.memory_growing(0, 65_536, None).unwrap());
        drop(second);
        assert_eq!((budget.used(), budget.mappings.used()), (0, 0));
    }

    #[test]
    fn the_last_quarter_of_the_mappings_is_reserved_for_requests_that_are_not_sheddable() {
        let budget = Arc::new(MemoryBudget::new(usize::MAX, Some(4 * (PER_MEMORY + PER_STACK))));
        let new = |sheddable| {
            let mut quota = quota(&budget, sheddable);
            quota.memory_growing(0, 65_536, None).unwrap().then_some(quota)
        };
        let held = [new(true), new(true), new(true)];
        assert!(held.iter().all(Option::is_some) && new(true).is_none());
        assert_eq!(budget.has_room_for_sheddable(65_536, || 0), Err(Scarce::Mappings));
        assert_eq!(budget.has_room_for_sheddable(65_536, || 1), Ok(()));
        assert!(new(false).is_some());
    }
}

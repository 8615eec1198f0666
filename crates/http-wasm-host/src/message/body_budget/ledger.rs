//! Decides which requests get memory for bodies, and which must give it up.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::Waker;
use std::time::{Duration, Instant};

use crate::error::Reason;

/// A request counts as stalled if it has moved less than [`PROGRESS`] in this time. Only then, and only if memory is
/// short, does it lose what it holds.
pub(super) const STALLED: Duration = Duration::from_secs(2);

/// Bytes that count as progress. The resulting minimum rate of 8 KiB/s is as slow as a modem upload.
pub(super) const PROGRESS: usize = 16 * 1024;

/// Requests that hold at most this much may use the whole budget, others all but an eighth, so that a few large uploads
/// can't keep small ones out.
pub(super) const SMALL: usize = 64 * 1024;

/// How often rejected requests are logged.
const WARN_EVERY: Duration = Duration::from_secs(10);

/// Memory used by bodies, and its limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct BodyMemory {
    /// Bytes that are held or reserved now; not counted if there is no limit.
    pub held: usize,
    /// The limit in bytes; `usize::MAX` if there is none.
    pub limit: usize,
    /// Requests that were rejected so far because there was no room.
    pub refused: u64,
    /// Requests that were evicted so far in favour of others, because they made no progress or were younger.
    pub evicted: u64,
}

/// There is no room for a request's bytes, or the request has been evicted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the memory budget for bodies is used up")]
pub struct NoBodyMemory;

impl From<NoBodyMemory> for Reason {
    fn from(NoBodyMemory: NoBodyMemory) -> Self {
        Self::BodyMemory
    }
}

/// Bytes that can be taken away from their owner.
pub(crate) trait Evictable: fmt::Debug + Send + Sync {
    fn evict(&self);
}

/// The account of an engine.
#[derive(Debug)]
pub(super) struct Ledger {
    limit: usize,
    used: AtomicUsize,
    /// The part of it held by holders that can do without.
    lent: AtomicUsize,
    refused: AtomicU64,
    evicted: AtomicU64,
    start: Instant,
    /// When rejections were last logged; 0 if never.
    warned: AtomicU64,
    /// Locked when a request starts to hold bytes, ends, or finds no room, but not for every byte.
    holders: Mutex<Holders>,
}

#[derive(Debug, Default)]
struct Holders {
    next: u64,
    /// Oldest first.
    by_age: BTreeMap<u64, Arc<Holder>>,
}

/// The ledger's entry for a request.
#[derive(Debug)]
pub(super) struct Holder {
    age: u64,
    held: AtomicUsize,
    /// Bytes moved since the last progress, and the time of that progress.
    moved: AtomicUsize,
    progress: AtomicU64,
    evicted: AtomicBool,
    owned: Mutex<Owned>,
}

/// What happens to a request that loses its bytes.
#[derive(Debug, Default)]
struct Owned {
    waker: Option<Waker>,
    /// Bytes on their way out, which their owner may not touch for a long time.
    evictable: Vec<Weak<dyn Evictable>>,
}

impl Ledger {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit,
            used: AtomicUsize::new(0),
            lent: AtomicUsize::new(0),
            refused: AtomicU64::new(0),
            evicted: AtomicU64::new(0),
            start: Instant::now(),
            warned: AtomicU64::new(0),
            holders: Mutex::default(),
        }
    }

    pub(super) fn memory(&self) -> BodyMemory {
        BodyMemory {
            held: self.used.load(Relaxed),
            limit: self.limit,
            refused: self.refused.load(Relaxed),
            evicted: self.evicted.load(Relaxed),
        }
    }

    /// Milliseconds since a moment so long before the ledger was created that 0 is always long ago.
    pub(super) fn now(&self) -> u64 {
        u64::try_from((self.start.elapsed() + STALLED).as_millis()).unwrap_or(u64::MAX)
    }

    /// Registers another request as the youngest.
    pub(super) fn holder(&self) -> Arc<Holder> {
        let now = self.now();
        let mut holders = self.lock();
        let age = holders.next;
        holders.next += 1;
        let holder = Arc::new(Holder {
            age,
            held: AtomicUsize::new(0),
            moved: AtomicUsize::new(0),
            progress: AtomicU64::new(now),
            evicted: AtomicBool::new(false),
            owned: Mutex::default(),
        });
        holders.by_age.insert(age, holder.clone());
        holder
    }

    pub(super) fn leave(&self, holder: &Holder) {
        let holder = self.lock().by_age.remove(&holder.age);
        drop(holder);
    }

    pub(super) fn reserve(&self, holder: &Holder, bytes: usize) -> Result<(), NoBodyMemory> {
        if holder.is_evicted() {
            return Err(NoBodyMemory);
        }
        let limit = if holder.held() + bytes <= SMALL { self.limit } else { self.limit - self.limit / 8 };
        if !self.take(bytes, limit) && !self.make_room(holder, bytes, limit) {
            self.refused.fetch_add(1, Relaxed);
            self.warn();
            return Err(NoBodyMemory);
        }
        holder.held.fetch_add(bytes, SeqCst);
        Ok(())
    }

    pub(super) fn release(&self, holder: &Holder, bytes: usize) {
        holder.held.fetch_sub(bytes, SeqCst);
        self.used.fetch_sub(bytes, SeqCst);
    }

    /// Reserves room for a holder that can do without it.
    pub(super) fn reserve_optional(&self, bytes: usize) -> bool {
        let quarter = self.limit / 4;
        if !add_within(&self.lent, bytes, quarter) {
            return false;
        }
        let granted = self.take(bytes, self.limit - self.limit / 8);
        if !granted {
            self.lent.fetch_sub(bytes, SeqCst);
        }
        granted
    }

    pub(super) fn take_back(&self, bytes: usize) {
        self.lent.fetch_sub(bytes, SeqCst);
        self.used.fetch_sub(bytes, SeqCst);
    }

    fn take(&self, bytes: usize, limit: usize) -> bool {
        add_within(&self.used, bytes, limit)
    }

    /// Takes `bytes`, evicting requests that rank below this one as necessary.
    fn make_room(&self, holder: &Holder, bytes: usize, limit: usize) -> bool {
        let now = self.now();
        // Others may take what was freed, so this is repeated a few times.
        for _ in 0..3 {
            let holders = self.lock();
            let all = || holders.by_age.values().filter(|other| other.held() > 0);
            let leaving: usize = all().filter(|other| other.is_evicted()).map(|other| other.held()).sum();
            // Evicted requests free their memory when they next run. Until then, up to a quarter more than the budget
            // may be in use.
            if self.take(bytes, limit + leaving.min(self.limit / 4)) {
                return true;
            }
            let used = self.used.load(SeqCst).saturating_sub(leaving);
            let deficit = used.saturating_add(bytes).saturating_sub(limit);
            let others = || all().filter(|other| other.age != holder.age && !other.is_evicted());
            let mut stalled: Vec<_> = others().filter(|other| other.is_stalled(now)).collect();
            stalled.sort_by_key(|other| std::cmp::Reverse(other.held()));
            // Evicting small requests frees little.
            let younger = others()
                .rev()
                .filter(|other| other.age > holder.age && other.held() > SMALL && !other.is_stalled(now));
            let mut freed = 0;
            let mut evicted = Vec::new();
            for other in stalled.into_iter().chain(younger) {
                if freed >= deficit {
                    break;
                }
                freed += other.held();
                evicted.push(other.clone());
            }
            let is_oldest =
                others().take_while(|other| other.age < holder.age).all(|other| other.is_stalled(now));
            if freed < deficit && !is_oldest {
                return false;
            }
            evicted.iter().for_each(|other| other.evicted.store(true, SeqCst));
            drop(holders);
            self.evicted.fetch_add(evicted.len() as u64, Relaxed);
            evicted.iter().for_each(|other| other.release_evicted());
            if is_oldest {
                self.used.fetch_add(bytes, SeqCst);
                return true;
            }
        }
        false
    }

    fn warn(&self) {
        let (now, last) = (self.now(), self.warned.load(Relaxed));
        let due = last == 0 || now.saturating_sub(last) >= WARN_EVERY.as_millis() as u64;
        if due && self.warned.compare_exchange(last, now, Relaxed, Relaxed).is_ok() {
            let BodyMemory { held, limit, refused, evicted } = self.memory();
            tracing::warn!(
                held_bytes = held,
                limit_bytes = limit,
                refused_requests = refused,
                evicted_requests = evicted,
                "the memory budget for bodies is used up; rejecting requests"
            );
        }
    }

    fn lock(&self) -> MutexGuard<'_, Holders> {
        self.holders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn add_within(sum: &AtomicUsize, bytes: usize, limit: usize) -> bool {
    let add = |sum: usize| sum.checked_add(bytes).filter(|sum| *sum <= limit);
    sum.fetch_update(SeqCst, Relaxed, add).is_ok()
}

impl Holder {
    pub(super) fn held(&self) -> usize {
        self.held.load(SeqCst)
    }

    pub(super) fn is_evicted(&self) -> bool {
        self.evicted.load(SeqCst)
    }

    fn is_stalled(&self, now: u64) -> bool {
        now.saturating_sub(self.progress.load(Relaxed)) >= STALLED.as_millis() as u64
    }

    pub(super) fn moved(&self, bytes: usize, now: impl FnOnce() -> u64) {
        if self.moved.fetch_add(bytes, Relaxed) + bytes >= PROGRESS {
            self.moved.store(0, Relaxed);
            self.progress.store(now(), Relaxed);
        }
    }

    /// Treats it as having moved nothing for a long time.
    #[cfg(test)]
    pub(super) fn stall(&self) {
        self.progress.store(0, Relaxed);
    }

    pub(super) fn wake_on_eviction(&self, waker: &Waker) {
        match &mut self.lock().waker {
            Some(old) => old.clone_from(waker),
            none => *none = Some(waker.clone()),
        }
    }

    /// Bytes that are freed when the request loses its memory, whatever its owner does.
    pub(super) fn on_eviction(&self, bytes: Weak<dyn Evictable>) {
        let mut owned = self.lock();
        owned.evictable.retain(|bytes| bytes.strong_count() > 0);
        owned.evictable.push(bytes);
    }

    fn release_evicted(&self) {
        let Owned { waker, evictable } = std::mem::take(&mut *self.lock());
        evictable.iter().filter_map(Weak::upgrade).for_each(|bytes| bytes.evict());
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Owned> {
        self.owned.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

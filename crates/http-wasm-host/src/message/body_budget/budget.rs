//! What may be held, and what is.

use std::fmt;
use std::sync::{Arc, Weak};
use std::task::Context;

use super::ledger::{BodyMemory, Evictable, Ledger, NoBodyMemory, Seat};

/// What an engine's exchanges may hold of bodies together, and do hold.
///
/// A body is held from when it is read until it is delivered to the next handler or the client, or dropped: because a guest has
/// read it and it must be sent again, because trailers are waited for, or because a guest has written it. Every request that
/// holds bytes has an age. At the limit, requests that make no progress lose theirs first, then the youngest; the oldest one that
/// makes progress gets what it asks for, up to its own limits, so that there is always one that can finish.
#[derive(Clone, Debug, Default)]
pub struct BodyBudget(Option<Arc<Ledger>>);

impl BodyBudget {
    pub(crate) fn new(limit: usize) -> Self {
        Self((limit < usize::MAX).then(|| Arc::new(Ledger::new(limit))))
    }

    /// What is held now.
    pub fn memory(&self) -> BodyMemory {
        self.0
            .as_ref()
            .map_or(BodyMemory { limit: usize::MAX, ..BodyMemory::default() }, |ledger| ledger.memory())
    }

    /// Room for bytes that whoever holds them can do without: it is taken from no one, and never more than a quarter of the budget.
    /// `None` when there is none.
    pub fn try_hold(&self, bytes: usize) -> Option<HeldBytes> {
        let granted = self.0.as_ref().is_none_or(|ledger| ledger.lend(bytes));
        granted.then(|| HeldBytes { ledger: self.0.clone(), bytes })
    }

    /// An account for one more request; `None` where nothing is counted.
    pub(crate) fn open(&self) -> Option<BodyAccount> {
        let ledger = self.0.as_ref()?;
        Some(BodyAccount(Arc::new(Open { ledger: ledger.clone(), seat: ledger.seat() })))
    }

    /// Whether there is a limit.
    #[inline]
    pub(crate) fn is_limited(&self) -> bool {
        self.0.is_some()
    }
}

/// Room that was [held](BodyBudget::try_hold); it is given back on drop.
pub struct HeldBytes {
    ledger: Option<Arc<Ledger>>,
    bytes: usize,
}

impl HeldBytes {
    /// Makes it so much larger, if there is room.
    pub fn grow(&mut self, bytes: usize) -> bool {
        let granted = self.ledger.as_ref().is_none_or(|ledger| ledger.lend(bytes));
        self.bytes += if granted { bytes } else { 0 };
        granted
    }
}

impl Drop for HeldBytes {
    fn drop(&mut self) {
        if let Some(ledger) = &self.ledger {
            ledger.take_back(self.bytes);
        }
    }
}

impl fmt::Debug for HeldBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HeldBytes").field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

/// One request's account with a [`BodyBudget`], shared by all guests on its way.
#[derive(Clone)]
pub struct BodyAccount(Arc<Open>);

struct Open {
    ledger: Arc<Ledger>,
    seat: Arc<Seat>,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.ledger.leave(&self.seat);
    }
}

impl BodyAccount {
    pub(crate) fn reserve(&self, bytes: usize) -> Result<Reservation, NoBodyMemory> {
        self.0.ledger.reserve(&self.0.seat, bytes)?;
        Ok(Reservation { account: Some(self.clone()), bytes })
    }

    /// Whether what it held was given to others.
    pub(crate) fn check(&self) -> Result<(), NoBodyMemory> {
        if self.0.seat.is_evicted() { Err(NoBodyMemory) } else { Ok(()) }
    }

    /// Bytes that it has.
    pub(crate) fn held(&self) -> usize {
        self.0.seat.held()
    }

    /// Bytes came in, or went out.
    pub(crate) fn moved(&self, bytes: usize) {
        self.0.seat.moved(bytes, || self.0.ledger.now());
    }

    /// Bytes on their way out, which are taken away when the request loses what it holds, whatever their owner does.
    pub(crate) fn on_eviction(&self, bytes: Weak<dyn Evictable>) {
        self.0.seat.on_eviction(bytes);
    }

    /// As if it had moved nothing for long.
    #[cfg(test)]
    pub(super) fn stall(&self) {
        self.0.seat.stall();
    }

    /// The request waits for bytes; it is woken when it loses what it holds.
    pub(crate) fn wait(&self, cx: &Context<'_>) -> Result<(), NoBodyMemory> {
        self.0.seat.wake_on_eviction(cx.waker());
        self.check()
    }
}

impl fmt::Debug for BodyAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BodyAccount").field("held", &self.held()).finish_non_exhaustive()
    }
}

/// Bytes of an account, given back on drop. Where nothing is counted it has none.
#[derive(Debug, Default)]
pub(crate) struct Reservation {
    account: Option<BodyAccount>,
    bytes: usize,
}

impl Reservation {
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn account(&self) -> Option<&BodyAccount> {
        self.account.as_ref()
    }

    /// A part of it, at most `bytes`.
    pub(crate) fn split(&mut self, bytes: usize) -> Self {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        Self { account: self.account.clone().filter(|_| bytes > 0), bytes }
    }

    /// Adds another one of the same account.
    pub(crate) fn merge(&mut self, mut other: Self) {
        if self.bytes == 0 {
            std::mem::swap(self, &mut other);
        } else if self.is_of(&other) {
            self.bytes += std::mem::take(&mut other.bytes);
        }
    }

    /// Gives back at most `bytes` of it.
    pub(crate) fn release(&mut self, bytes: usize) {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        if let Some(account) = self.account.as_ref().filter(|_| bytes > 0) {
            account.0.ledger.release(&account.0.seat, bytes);
        }
    }

    fn is_of(&self, other: &Self) -> bool {
        match (&self.account, &other.account) {
            (Some(own), Some(other)) => Arc::ptr_eq(&own.0, &other.0),
            _ => false,
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.release(self.bytes);
    }
}

//! The budget, and how much of it is used.

use std::fmt;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};

use super::ledger::{BodyMemory, Evictable, Holder, Ledger, NoBodyMemory};

/// The memory that an engine's exchanges may use for bodies, and how much of it they use.
///
/// Bytes of a body are held, until they are delivered to the next handler or the client or dropped, if a guest has read
/// them and they must be sent on, if trailers must arrive first, or if a guest has written them. Every request that
/// holds bytes has an age. At the limit, requests that make no progress lose their bytes first, then the youngest. The
/// oldest request that makes progress gets what it asks for, up to its own limits, so that there is always one request
/// that can finish.
///
/// [`EngineBuilder::body_memory_budget`](crate::EngineBuilder::body_memory_budget) sets the limit, and
/// [`Engine::body_budget`](crate::Engine::body_budget) returns the budget. A server that holds bodies itself can
/// reserve memory for them here:
///
/// ```
/// use http_wasm_host::Engine;
///
/// let engine = Engine::builder().body_memory_budget(64 << 20).build()?;
/// let cached = engine.body_budget().try_hold(1 << 20).expect("nothing else is held");
/// assert_eq!(engine.body_budget().memory().held, 1 << 20);
/// drop(cached);
/// assert_eq!(engine.body_budget().memory().held, 0);
/// # Ok::<(), http_wasm_host::LoadError>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct BodyBudget(Option<Arc<Ledger>>);

impl BodyBudget {
    pub(crate) fn new(limit: usize) -> Self {
        Self((limit < usize::MAX).then(|| Arc::new(Ledger::new(limit))))
    }

    /// Returns the memory in use now.
    pub fn memory(&self) -> BodyMemory {
        self.0
            .as_ref()
            .map_or(BodyMemory { limit: usize::MAX, ..BodyMemory::default() }, |ledger| ledger.memory())
    }

    /// Reserves memory for bytes that the caller can do without. This evicts no request, and never uses more than a
    /// quarter of the budget. Returns `None` if there is no room.
    pub fn try_hold(&self, bytes: usize) -> Option<HeldBytes> {
        let granted = self.0.as_ref().is_none_or(|ledger| ledger.reserve_optional(bytes));
        granted.then(|| HeldBytes { ledger: self.0.clone(), bytes })
    }

    /// Opens an account for another request. Returns `None` if nothing is counted.
    pub fn open(&self) -> Option<BodyAccount> {
        let ledger = self.0.as_ref()?;
        Some(BodyAccount(Arc::new(Open { ledger: ledger.clone(), holder: ledger.holder() })))
    }

    /// Whether there is a limit.
    #[inline]
    pub(crate) fn is_limited(&self) -> bool {
        self.0.is_some()
    }
}

/// Memory that was [reserved](BodyBudget::try_hold). It is released on drop.
pub struct HeldBytes {
    ledger: Option<Arc<Ledger>>,
    bytes: usize,
}

impl HeldBytes {
    /// Increases the reservation by `bytes`. Returns `false` if there is no room.
    pub fn grow(&mut self, bytes: usize) -> bool {
        let granted = self.ledger.as_ref().is_none_or(|ledger| ledger.reserve_optional(bytes));
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

/// One request's account in a [`BodyBudget`], shared by all guests that the request passes through.
///
/// A host keeps it with the message from one guest to the next, for instance in its extensions; see
/// [`LocalHost::body_account`](crate::LocalHost::body_account). The request's share of the budget is released when the
/// last copy is dropped.
#[derive(Clone)]
pub struct BodyAccount(Arc<Open>);

struct Open {
    ledger: Arc<Ledger>,
    holder: Arc<Holder>,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.ledger.leave(&self.holder);
    }
}

impl BodyAccount {
    pub(crate) fn reserve(&self, bytes: usize) -> Result<Reservation, NoBodyMemory> {
        self.0.ledger.reserve(&self.0.holder, bytes)?;
        Ok(Reservation { account: Some(self.clone()), bytes })
    }

    /// Whether the request has been evicted in favour of others.
    pub(crate) fn check(&self) -> Result<(), NoBodyMemory> {
        if self.0.holder.is_evicted() { Err(NoBodyMemory) } else { Ok(()) }
    }

    /// Reserves memory for bytes that a host itself holds for the request, before guests have read them or after guests
    /// have written them.
    ///
    /// # Errors
    /// If there is no room, or the request has been evicted.
    pub fn hold(&self, bytes: usize) -> Result<Reservation, NoBodyMemory> {
        self.reserve(bytes)
    }

    /// The number of bytes that the request holds.
    pub(crate) fn held(&self) -> usize {
        self.0.holder.held()
    }

    /// Records that bytes have arrived or been sent. Requests for which this isn't done often enough are evicted first.
    pub fn moved(&self, bytes: usize) {
        self.0.holder.moved(bytes, || self.0.ledger.now());
    }

    /// Wakes the task once when the request is evicted. A guest of the request that waits replaces it by its own task.
    pub fn wake_on_eviction(&self, waker: &Waker) {
        self.0.holder.wake_on_eviction(waker);
        if self.check().is_err() {
            waker.wake_by_ref();
        }
    }

    /// Bytes on their way out, which are taken away when the request loses what it holds, whatever their owner does.
    pub(crate) fn on_eviction(&self, bytes: Weak<dyn Evictable>) {
        self.0.holder.on_eviction(bytes);
    }

    /// Treats it as having moved nothing for a long time.
    #[cfg(test)]
    pub(super) fn stall(&self) {
        self.0.holder.stall();
    }

    /// Pending, as the request waits for something. It may be evicted meanwhile: then its task is woken, and this
    /// fails.
    pub(crate) fn wait<T>(account: Option<&Self>, cx: &Context<'_>) -> Poll<Result<T, NoBodyMemory>> {
        let Some(account) = account else { return Poll::Pending };
        account.0.holder.wake_on_eviction(cx.waker());
        match account.check() {
            Ok(()) => Poll::Pending,
            Err(lost) => Poll::Ready(Err(lost)),
        }
    }
}

impl fmt::Debug for BodyAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BodyAccount").field("held", &self.held()).finish_non_exhaustive()
    }
}

/// Memory of a [`BodyAccount`], released on drop. Empty if nothing is counted.
#[derive(Debug, Default)]
pub struct Reservation {
    account: Option<BodyAccount>,
    bytes: usize,
}

impl Reservation {
    /// The number of bytes.
    #[inline]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn account(&self) -> Option<&BodyAccount> {
        self.account.as_ref()
    }

    /// Changes the reservation to this number of bytes.
    ///
    /// # Errors
    /// If there is no room for more bytes, or if the request has been evicted and `bytes` isn't 0. Bytes that aren't
    /// needed any more are released in any case.
    pub fn resize(&mut self, bytes: usize) -> Result<(), NoBodyMemory> {
        let Some(account) = &self.account else { return Ok(()) };
        match bytes.checked_sub(self.bytes) {
            Some(more) if bytes > 0 => {
                let more = account.reserve(more)?;
                self.merge(more);
                Ok(())
            }
            _ => {
                self.release(self.bytes - bytes);
                if bytes == 0 { Ok(()) } else { self.account.as_ref().map_or(Ok(()), BodyAccount::check) }
            }
        }
    }

    /// Splits off at most `bytes`.
    pub(crate) fn split(&mut self, bytes: usize) -> Self {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        Self { account: self.account.clone().filter(|_| bytes > 0), bytes }
    }

    /// Merges another reservation of the same account into this one.
    pub(crate) fn merge(&mut self, mut other: Self) {
        if self.bytes == 0 {
            std::mem::swap(self, &mut other);
        } else if self.is_of(&other) {
            self.bytes += std::mem::take(&mut other.bytes);
        }
    }

    /// Releases at most `bytes` of it.
    pub(crate) fn release(&mut self, bytes: usize) {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        if let Some(account) = self.account.as_ref().filter(|_| bytes > 0) {
            account.0.ledger.release(&account.0.holder, bytes);
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
    #[inline]
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.release(self.bytes);
        }
    }
}

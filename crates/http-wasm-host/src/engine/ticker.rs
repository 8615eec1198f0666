//! The clock of an engine's guests: a thread that advances the epochs while a guest needs them.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::Thread;
use std::time::Duration;

/// How often to check whether a guest has computed for too long. This is short enough that requests wait only a few
/// milliseconds for looping guests, and long enough that the checks cost almost nothing.
pub(super) const TICK: Duration = Duration::from_millis(2);

/// How many ticks must be left when a call starts, in addition to its own. The thread may be descheduled before it
/// enters the guest.
const MARGIN: u64 = 500;

/// The ticker's thread. It stops when this is dropped.
#[derive(Debug)]
pub(super) struct Ticker(Arc<Ticks>);

/// The current tick, and how long ticks are needed.
#[derive(Debug)]
pub(crate) struct Ticks {
    now: AtomicU64,
    /// The last tick that is needed so far.
    until: AtomicU64,
    parked: AtomicBool,
    closed: AtomicBool,
    thread: OnceLock<Thread>,
}

impl Ticker {
    /// Starts a thread that calls `tick` for each tick, until it returns `false`.
    pub(super) fn start(mut tick: impl FnMut() -> bool + Send + 'static) -> std::io::Result<Self> {
        let ticks = Arc::new(Ticks {
            now: AtomicU64::new(0),
            until: AtomicU64::new(MARGIN),
            parked: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            thread: OnceLock::new(),
        });
        let shared = ticks.clone();
        let thread = std::thread::Builder::new().name("http-wasm-ticker".into()).spawn(move || {
            while shared.wait_until_needed() {
                std::thread::sleep(TICK);
                if !tick() {
                    return;
                }
                shared.now.fetch_add(1, Ordering::Relaxed);
            }
        })?;
        let _ = ticks.thread.set(thread.thread().clone());
        Ok(Self(ticks))
    }

    pub(super) fn ticks(&self) -> &Arc<Ticks> {
        &self.0
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.0.closed.store(true, Ordering::SeqCst);
        self.0.wake();
    }
}

impl Ticks {
    /// Keeps the clock running for this many more ticks. Call it once the store's deadline is set, so that the clock
    /// reaches it.
    #[inline]
    pub(crate) fn keep(&self, ticks: u64) {
        let needed = self.now.load(Ordering::Relaxed).saturating_add(ticks).saturating_add(MARGIN);
        if self.until.load(Ordering::Relaxed) < needed {
            self.extend(needed);
        }
    }

    /// Requesting more ticks than needed halves the number of these calls.
    #[cold]
    fn extend(&self, needed: u64) {
        // The thread accesses these in the opposite order: either it sees the new end, or this sees that it is parked.
        self.until.fetch_max(needed.saturating_add(MARGIN), Ordering::SeqCst);
        if self.parked.load(Ordering::SeqCst) {
            self.wake();
        }
    }

    fn wake(&self) {
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }

    /// Waits until the clock is needed. Returns `false` if it never will be again.
    fn wait_until_needed(&self) -> bool {
        let now = self.now.load(Ordering::Relaxed);
        if now < self.until.load(Ordering::Relaxed) {
            return !self.closed.load(Ordering::Relaxed);
        }
        self.parked.store(true, Ordering::SeqCst);
        while now >= self.until.load(Ordering::SeqCst) && !self.closed.load(Ordering::SeqCst) {
            std::thread::park();
        }
        self.parked.store(false, Ordering::SeqCst);
        !self.closed.load(Ordering::SeqCst)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    /// Waits until a condition holds.
    fn until(what: &str, holds: impl Fn() -> bool) {
        let limit = Instant::now() + Duration::from_secs(30);
        while !holds() {
            assert!(Instant::now() < limit, "not within 30 s: {what}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn the_ticker_parks_when_unused_and_resumes_when_needed() {
        let counted = Arc::new(AtomicU64::new(0));
        let count = counted.clone();
        let ticker = Ticker::start(move || {
            count.fetch_add(1, Ordering::Relaxed);
            true
        });
        let ticks = ticker.as_ref().unwrap().ticks();
        for _ in 0..2 {
            until("it stops", || ticks.parked.load(Ordering::SeqCst));
            let before = counted.load(Ordering::Relaxed);
            std::thread::sleep(TICK * 10);
            assert_eq!(counted.load(Ordering::Relaxed), before);
            ticks.keep(3);
            until("it goes on", || counted.load(Ordering::Relaxed) >= before + 3);
        }
        let ticks = ticks.clone();
        drop(ticker);
        until("its thread ends", || Arc::strong_count(&ticks) == 1);
    }
}

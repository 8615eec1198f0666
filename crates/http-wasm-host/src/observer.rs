//! Observing what guests do.

use std::time::Duration;

use crate::abi::Phase;
use crate::error::Error;
use crate::stats::DropReason;

/// Observes guests and their instances, for metrics and traces. A guest without an observer has no overhead.
///
/// One observer can observe all guests of a process: each method gets the guest's [name](crate::GuestBuilder::name).
/// The methods run on the request path, so they should count and return. For gauges (live and idle instances, memory),
/// read [`Guest::stats`](crate::Guest::stats) when they are needed.
///
/// ```
/// use std::sync::Arc;
/// use std::sync::atomic::{AtomicU64, Ordering};
///
/// use http_wasm_host::{Call, Engine, Guest, InMemoryHost, Observer};
///
/// /// Counts calls that failed.
/// #[derive(Default)]
/// struct Failures(AtomicU64);
///
/// impl Observer for Failures {
///     fn called(&self, guest: &str, call: &Call<'_>) {
///         if let Some(error) = call.error {
///             eprintln!("{guest} in {}: {}", call.phase, error.kind().name());
///             self.0.fetch_add(1, Ordering::Relaxed);
///         }
///     }
/// }
///
/// let failures = Arc::new(Failures::default());
/// let guest: Guest<InMemoryHost> = Guest::<InMemoryHost>::builder(&Engine::new()?)
///     .name("auth")
///     .observer(failures.clone())
///     .load(br#"(module
///         (memory (export "memory") 1)
///         (func (export "handle_request") (result i64) unreachable)
///         (func (export "handle_response") (param i32 i32)))"#)?;
///
/// let outcome = futures_executor::block_on(guest.handle_request(InMemoryHost::new("GET", "/")));
/// assert!(outcome.is_err());
/// assert_eq!(failures.0.load(Ordering::Relaxed), 1);
/// # Ok::<(), http_wasm_host::LoadError>(())
/// ```
pub trait Observer: Send + Sync + 'static {
    /// A request got an instance that was idle in the pool or was returned while it waited (`hit`), or one has to be
    /// created for it.
    fn checked_out(&self, guest: &str, hit: bool) {
        let _ = (guest, hit);
    }

    /// One of the guest's two functions has returned or failed.
    fn called(&self, guest: &str, call: &Call<'_>) {
        let _ = (guest, call);
    }

    /// An instance was created and started, or failed to start. `took` includes its start-up.
    fn created(&self, guest: &str, took: Duration, error: Option<&Error>) {
        let _ = (guest, took, error);
    }

    /// An instance was dropped while the guest is still loaded.
    fn dropped(&self, guest: &str, reason: DropReason) {
        let _ = (guest, reason);
    }
}

/// One call of `handle_request` or `handle_response`.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Call<'a> {
    /// Which of the two functions was called.
    pub phase: Phase,
    /// How long the call took, including the time that the guest waited.
    pub took: Duration,
    /// Why the call failed, if it did.
    pub error: Option<&'a Error>,
    /// How many bytes of the message's body the guest read that the next handler, or the client, gets again.
    pub replayed_bytes: usize,
}

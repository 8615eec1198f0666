//! What a guest does, told to whoever counts it.

use std::time::Duration;

use crate::abi::Phase;
use crate::error::Error;
use crate::stats::DropReason;

/// Is told what happens to one guest's instances, for metrics and traces. A guest without one pays nothing for it.
///
/// The methods run on the request's path: they should count and return. Gauges (live and idle instances, memory) are in
/// [`Guest::stats`](crate::Guest::stats), to be read when somebody asks.
pub trait Observer: Send + Sync + 'static {
    /// A request took an instance that was idle in the pool or came back while it waited (`hit`), or one has to be made for it.
    fn checked_out(&self, hit: bool) {
        let _ = hit;
    }

    /// One of the guest's two functions has returned or failed.
    fn called(&self, call: &Call<'_>) {
        let _ = call;
    }

    /// An instance was made, start-up included, or failed to be.
    fn created(&self, took: Duration, error: Option<&Error>) {
        let _ = (took, error);
    }

    /// An instance was dropped, other than with the guest itself.
    fn dropped(&self, reason: DropReason) {
        let _ = reason;
    }
}

/// One call of `handle_request` or `handle_response`.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Call<'a> {
    /// Which of the two.
    pub phase: Phase,
    /// How long it took, with what the guest waited for.
    pub took: Duration,
    /// Why it failed.
    pub error: Option<&'a Error>,
    /// Bytes of the message's body that the guest read and the next handler, or the client, gets again.
    pub replayed_bytes: usize,
}

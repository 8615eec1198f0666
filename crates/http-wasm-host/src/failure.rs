//! What happens to a request whose guest fails.

/// What happens to a request, or to the next handler's response to it, if the guest fails.
///
/// Everything that the guest causes is a failure: a trap, a call that the ABI forbids, an exit, a deadline, a limit. So
/// is the lack of an instance. A body that is too long to be kept, or that ends prematurely, isn't one: such an
/// exchange fails under either policy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum OnFailure {
    /// The exchange fails. Use it for a guest that protects the next handler.
    #[default]
    Closed,
    /// The exchange continues as if there were no guest: the original request, or the next handler's response, is sent
    /// byte for byte. Use it for a guest that only adds something, such as a log line or a header.
    ///
    /// What the guest reads is kept for this, up to [`Limits::replay_bytes`](crate::Limits), and both heads are copied.
    /// Once the guest has read more than can be kept, the original message is no longer complete, and a failure ends
    /// the exchange.
    Open,
}

crate::choices! { OnFailure { Closed = "closed", Open = "open" } }

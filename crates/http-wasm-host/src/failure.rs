//! What becomes of a request whose guest fails.

/// What becomes of a request, or of the next handler's response to it, when the guest fails on it.
///
/// A failure is all that is the guest's doing: a trap, a call that the ABI forbids, an exit, a deadline, a limit; and that no
/// instance can be made. A body that is too long for a guest that must have it kept, or that breaks off, is none:
/// such an exchange fails whatever is chosen here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum OnFailure {
    /// The exchange fails. For a guest that protects what is behind it.
    #[default]
    Closed,
    /// The exchange goes on as if there were no guest: the request, or the next handler's response, goes out as it came,
    /// byte for byte. For a guest that only adds something, as a log or a header.
    ///
    /// What the guest reads is kept for that, up to [`Limits::replay_bytes`](crate::Limits), and both heads are copied. Once more than
    /// that has been read and not kept, the message can't go out as it came, and the exchange fails.
    Open,
}

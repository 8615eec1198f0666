//! Why bytes of a body are kept, and the memory for them.

use crate::message::body_budget::{BodyAccount, NoBodyMemory, Reservation};

/// How much a request reserves at once if it already holds this much, unless it needs more.
const RESERVED_AT_ONCE: usize = 64 * 1024;

/// Why bytes that a guest reads are kept.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Retention {
    /// They are forwarded to the next handler or the client.
    Replay,
    /// They are forwarded only if the guest fails.
    Undo,
    Nothing,
}

/// Takes `bytes` out of what was reserved ahead, and reserves more if necessary.
pub(super) fn reserve(
    ahead: &mut Reservation,
    account: &BodyAccount,
    bytes: usize,
) -> Result<Reservation, NoBodyMemory> {
    let short = bytes.saturating_sub(ahead.bytes());
    if short > 0 {
        let at_once = short.max(account.held().min(RESERVED_AT_ONCE));
        ahead.merge(account.reserve(at_once)?);
    }
    Ok(ahead.split(bytes))
}

//! Why bytes of a body are kept, and the memory for them.

use crate::message::body_budget::{BodyAccount, NoBodyMemory, Reservation};

/// Reserved at once, unless more is needed, by a request that already holds this much.
const RESERVED_AT_ONCE: usize = 64 * 1024;

/// Why bytes that a guest reads are kept.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Retention {
    /// The next handler, or the client, gets them again.
    Replay,
    /// They are forwarded if the guest fails.
    Undo,
    Nothing,
}

/// How many bytes are reserved ahead. More are reserved if necessary.
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

//! Bodies on their way out.

use super::{Chunks, Discard, Trailers};

/// A body that a guest has read or written, on its way out.
#[derive(Debug, Default)]
pub struct Outgoing {
    /// What goes out first.
    pub first: Chunks,
    /// What becomes of the unread rest of the message's current body.
    pub rest: Rest,
    /// What the guest did to the trailers, to be applied to those that the rest brings, or to none.
    pub trailers: Trailers,
}

/// The unread rest of a body behind what a guest has read or written of it.
#[derive(Debug, Default)]
pub enum Rest {
    /// It is dropped, and its trailers with it.
    #[default]
    Dropped,
    /// It follows, with its trailers.
    Follows,
    /// It is read and discarded for its trailers, which follow.
    Discarded(Discard),
}

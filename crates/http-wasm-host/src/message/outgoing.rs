//! Bodies on their way out.

use super::{Chunks, Discard, Trailers};

/// A body that a guest has read or written, on its way out.
#[derive(Debug, Default)]
pub struct Outgoing {
    /// What goes out first.
    pub first: Chunks,
    /// What happens to the unread rest of the message's current body.
    pub rest: Rest,
    /// The guest's changes to the trailers, to be applied to those that arrive with the rest, if any.
    pub trailers: Trailers,
}

/// The unread rest of a body, after what a guest has read or written.
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

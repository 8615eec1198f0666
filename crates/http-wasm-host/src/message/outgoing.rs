//! Outgoing bodies.

use bytes::Bytes;

use super::{Chunks, Discard, Recode, Streamed, Trailers};

/// The body to send in place of one that a guest has read or written.
///
/// A host sends `first`, then does with the unread rest of the current body what `rest` says, and ends with the
/// trailers that [`Trailers::finish`] returns for those that arrived with the rest. See [`LocalHost`](crate::LocalHost)
/// for an example without trailers.
#[derive(Debug, Default)]
pub struct Outgoing {
    /// The bytes to send first.
    pub first: Chunks,
    /// What happens to the unread rest of the message's current body.
    pub rest: Rest,
    /// The guest's changes to the trailers, to be applied to those that arrive with the rest, if any.
    pub trailers: Trailers,
    /// Decodes the rest, if it follows; `first` is already decoded. Only used for guests whose [bodies are
    /// decoded](crate::Bodies::Decoded).
    pub decode: Option<Box<Recode>>,
    /// Encodes the whole body. Only used for such guests.
    pub encode: Option<Box<Recode>>,
}

impl Outgoing {
    /// All of the body, if it is one piece without a reservation, as most bodies are.
    #[inline]
    pub(crate) fn into_whole(self) -> Result<Bytes, Self> {
        match self {
            Self { first, rest: Rest::Dropped, trailers, decode: None, encode: None }
                if trailers.is_unknown() =>
            {
                first.into_whole().map_err(|first| Self { first, ..Self::default() })
            }
            other => Err(other),
        }
    }
}

/// The unread rest of a body, after what a guest has read or written.
#[derive(Debug, Default)]
pub enum Rest {
    /// It is dropped, together with its trailers.
    #[default]
    Dropped,
    /// It follows, together with its trailers.
    Follows,
    /// It is read and discarded with [`Discard::poll_trailers`] to get its trailers, which follow.
    Discarded(Box<Discard>),
    /// It is dropped, and what follows is written by a guest while it is sent, trailers included. Only a host that can
    /// [split](crate::LocalHost::split) gets it.
    Streamed(Box<Streamed>),
}

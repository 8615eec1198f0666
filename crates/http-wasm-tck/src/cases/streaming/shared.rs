//! What the cases for requests and for responses share.

use std::time::Duration;

use crate::case::{Case, Plan, Section, Streams};

/// A case for a host that streams these messages.
pub(super) fn case(id: &str, streams: Streams, says: impl Into<String>, plan: Plan) -> Case {
    Case::of(format!("stream/{id}"), Section::Streaming, says, plan).streaming(streams, false)
}

/// The number of bytes that client and backend send slowly, the size of their pieces, and the pause between them. This
/// takes about two seconds.
pub(super) const SLOW: usize = 40;
pub(super) const PIECE: usize = 4;
pub(super) const PAUSE_MS: u64 = 200;

/// Well below that time, and well above the time between two bytes that are sent together.
pub(super) const WHILE: Duration = Duration::from_millis(700);

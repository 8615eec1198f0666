//! Messages that are sent while the guest is writing them. The rules are in `docs/streaming.md`.

mod decoded;
mod requests;
mod responses;

use std::time::Duration;

use crate::case::{Case, Plan, Section, Streams};

pub(super) fn cases() -> Vec<Case> {
    let mut cases = responses::cases();
    requests::cases(&mut cases);
    decoded::cases(&mut cases);
    cases
}

/// A case for a host that streams these messages.
fn case(id: &str, streams: Streams, says: impl Into<String>, plan: Plan) -> Case {
    Case::of(format!("stream/{id}"), Section::Streaming, says, plan).streaming(streams, false)
}

/// The number of bytes that client and backend send slowly, the size of their pieces, and the pause between them. This
/// takes about two seconds.
const SLOW: usize = 40;
const PIECE: usize = 4;
const PAUSE_MS: u64 = 200;

/// Well below that time, and well above the time between two bytes that are sent together.
const WHILE: Duration = Duration::from_millis(700);

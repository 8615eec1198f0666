//! Exchanges and scripts that the cases for requests share.

use super::shared::{PAUSE_MS, PIECE, SLOW};
use crate::case::{Case, Check, Exchange, Plan, Streams};
use crate::payload::Payload;
use crate::script::{REQUEST, Script, script};
use crate::wire::Framing;

pub(super) fn case(id: &str, says: impl Into<String>, plan: Plan) -> Case {
    super::shared::case(&format!("request/{id}"), Streams::Request, says, plan)
}

pub(super) fn one(id: &str, says: impl Into<String>, exchange: Exchange) -> Case {
    case(id, says, Plan::InTurn(vec![exchange]))
}

/// A request with a body of this many bytes.
pub(super) fn post(len: usize) -> Exchange {
    Exchange::post(Payload::Pattern(len), Framing::Chunked).target("/stream")
}

/// Takes about two seconds.
pub(super) fn slow() -> Exchange {
    post(SLOW).slowly(PIECE, PAUSE_MS)
}

/// A request that doesn't end before the case's timeout.
pub(super) fn endless() -> Exchange {
    post(SLOW).slowly(PIECE, 3_600_000)
}

/// Copies a body as it comes.
pub(super) fn copy(step: u32, body: &Payload) -> Script {
    script().copy_as_it_comes(REQUEST, step, Some(REQUEST), body)
}

/// Writes something after the first piece of a [slow] request, and waits for the next one.
pub(super) fn begun() -> Script {
    let piece = |from| script().read_pattern(REQUEST, from, PIECE, &[false]);
    piece(0).write(REQUEST, "begun").then(piece(PIECE))
}

pub(super) fn value(text: &str) -> Vec<Vec<u8>> {
    vec![text.as_bytes().to_vec()]
}

/// The guest's failure becomes an error for the client, and the request is aborted.
pub(super) fn fails(exchange: Exchange) -> Exchange {
    exchange.check(Check::StatusWithin(500, 599)).check(Check::BackendAborted)
}

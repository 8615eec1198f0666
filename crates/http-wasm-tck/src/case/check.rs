//! The expected results of an exchange at the client, at the backend and in the log.

use std::time::Duration;

use crate::payload::Payload;
use crate::wire::Framing;

/// The values of a field.
pub(super) type Values = Vec<Vec<u8>>;

/// When a guest runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// While an instance is created.
    Start,
    /// In `handle_request`.
    Request,
    /// In `handle_response`.
    Response,
}

/// One expected result of an exchange.
#[derive(Clone, Debug)]
pub enum Check {
    /// The client gets this status.
    Status(u16),
    /// The guest traps: the client gets 500 without details, and the backend nothing if the trap came before it.
    Traps(Phase),
    /// The client gets a status in this range.
    StatusWithin(u16, u16),
    /// The connection ends without a response.
    Dropped,
    /// The response is aborted; if nothing of it was sent, it may be replaced with an error.
    Aborted,
    /// The client gets this header with exactly these values; with none, it doesn't get the header.
    Header(&'static str, Values),
    /// The client gets this body.
    Body(Payload),
    /// The client gets this `content-length`, or none.
    Length(Option<usize>),
    /// The client gets these values of a trailer.
    Trailer(&'static str, Values),
    /// The client gets a body that is this one once its content coding, gzip or none, is removed.
    Decodes(Payload),
    /// Time passes between the first byte of the client's body and its end.
    Streams(Duration),
    /// Neither client nor backend gets this header with this text in its value.
    Nowhere(&'static str, &'static str),
    /// The backend gets no request.
    NotReached,
    /// The backend gets this method.
    Method(&'static str),
    /// The backend gets this target.
    Target(String),
    /// The backend gets this header with exactly these values; with none, it doesn't get the header.
    BackendHeader(&'static str, Values),
    /// The backend gets this body.
    BackendBody(Payload),
    /// The backend gets this framing; `None` if there is neither length nor chunks.
    BackendFraming(Framing),
    /// Time passes between the first byte of the backend's body and its end.
    BackendStreams(Duration),
    /// The backend gets a request that is aborted.
    BackendAborted,
    /// The backend gets these values of a trailer.
    BackendTrailer(&'static str, Values),
    /// The log has a line with this text.
    Logged(&'static str),
    /// One of these results.
    AnyOf(Vec<Check>),
}

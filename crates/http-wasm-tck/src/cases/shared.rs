//! Helpers for several themes: the kinds of fields, and common cases, messages and checks.

use crate::backend::Reply;
use crate::case::{Case, Check, Exchange, Phase, Section};
use crate::guest::{FREE, Function};
use crate::script::{Arg, REQUEST, REQUEST_TRAILERS, RESPONSE, RESPONSE_TRAILERS, Script, script};
use crate::wire::Framing;

pub(super) const BUFFER_REQUEST: u32 = 1;
pub(super) const BUFFER_RESPONSE: u32 = 2;

/// The kinds of fields, with their names in case IDs.
pub(super) const KINDS: [(u32, &str); 4] = [
    (REQUEST, "request-headers"),
    (RESPONSE, "response-headers"),
    (REQUEST_TRAILERS, "request-trailers"),
    (RESPONSE_TRAILERS, "response-trailers"),
];

pub(super) fn fields_case(id: String, says: String, exchange: Exchange) -> Case {
    Case::new(id, Section::Fields, says, exchange)
}

pub(super) fn phases_case(id: String, says: String, exchange: Exchange) -> Case {
    Case::new(format!("phases/{id}"), Section::Phases, says, exchange)
}

/// The exchange of most cases about phases.
pub(super) fn phases_exchange() -> Exchange {
    Exchange::post("request body", Framing::Length)
        .target("/phase?q=1")
        .header("x-b", "2")
        .header("x-a", "1")
        .reply(Reply::default().header("x-r", "3"))
}

/// `handle_request` traps.
pub(super) fn traps() -> Check {
    Check::Traps(Phase::Request)
}

/// The recipient of the message gets a field of this kind with exactly these values.
pub(super) fn arrives(kind: u32, name: &'static str, values: &[&[u8]]) -> Check {
    let values = values.iter().map(|value| value.to_vec()).collect();
    match kind {
        REQUEST => Check::BackendHeader(name, values),
        RESPONSE => Check::Header(name, values),
        REQUEST_TRAILERS => Check::BackendTrailer(name, values),
        _ => Check::Trailer(name, values),
    }
}

/// There are no fields of this kind, and therefore none called `name`.
pub(super) fn reads_none(kind: u32, name: &str) -> Script {
    script().call(Function::GetHeaderNames, read_args(kind)).gives(0).values(kind, name, &[])
}

/// Arguments of functions that write up to 64 bytes of this kind.
pub(super) fn read_args(kind: u32) -> [Arg; 3] {
    [kind.into(), FREE.into(), 64.into()]
}

/// Describes what makes a name, value or method invalid.
pub(super) fn described(what: &str) -> String {
    match what {
        "empty" => "no byte in it".to_owned(),
        "space" | "colon" | "tab" | "bracket" => format!("a {what} in it"),
        "8-bit" => "an 8-bit byte in it".to_owned(),
        other => format!("{} in it", other.to_ascii_uppercase().replace('-', " ")),
    }
}

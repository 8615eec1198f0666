//! Notes that explain why a host call has less effect than the guest's author may expect, or why it trapped.

use std::borrow::Cow;

use crate::abi::{BodyKind, Features, HeaderKind, Phase};
use crate::exchange::{can_be_name, has_no_effect};
use crate::trace::{Argument, CallResult, TracedCall};

/// The note on a call.
pub(super) fn note(call: &TracedCall<'_>) -> Option<Cow<'static, str>> {
    let result = match call.result {
        CallResult::Returned(result) => result,
        CallResult::Trapped(_) => return likely_cause(call),
        CallResult::Waits => return None,
    };
    let name = match call.argument("name") {
        Some(Argument::Bytes(name)) => name,
        _ => &[],
    };
    let note = match call.function.name {
        "enable_features" => return enabled(call),
        "set_header_value" | "add_header_value" if has_no_effect(name) && !empties_body(call) => {
            "no effect: the host frames messages and manages connections itself"
        }
        "remove_header" if has_no_effect(name) => {
            "no effect: the host frames messages and manages connections itself"
        }
        "remove_header" | "get_header_values" if ends_with_nul(name) => {
            return Some(format!("finds nothing: {}", counts_nul("name")).into());
        }
        "remove_header" | "get_header_values" if !can_be_name(name) => {
            "finds nothing: no header can have this name"
        }
        "remove_header" if !call.found => "no effect: there is no header of this name",
        "log" if matches!(call.argument("level"), Some(Argument::Level(level)) if !(-1..=2).contains(&level)) => {
            "not logged: the level is none of debug (-1), info (0), warn (1) and error (2)"
        }
        "log" if matches!(call.argument("level"), Some(Argument::Level(-1))) => {
            "logged only if the host logs debug messages, which it doesn't by default"
        }
        "set_uri" if is_absolute(call.argument("uri")) => {
            "only its path and query are used: scheme and authority can't be changed, nor the next handler chosen"
        }
        "set_method" => return method(call),
        "get_status_code" if call.phase == Some(Phase::Request) => OWN_RESPONSE,
        "read_body" => return body(call, result),
        _ => return values(call, result, name),
    };
    Some(note.into())
}

const OWN_RESPONSE: &str =
    "the next handler hasn't been called yet: this is what the guest itself has set so far";

/// The mistake that a call has probably trapped for.
fn likely_cause(call: &TracedCall<'_>) -> Option<Cow<'static, str>> {
    call.arguments().find_map(|(name, argument)| match argument {
        Argument::Bytes(bytes) if ends_with_nul(bytes) && !matches!(name, "body" | "message") => {
            Some(counts_nul(name).into())
        }
        Argument::OutOfBounds { offset, .. } | Argument::Buffer { offset, .. }
            if offset.cast_signed() < 0 && offset as usize >= call.memory.len() =>
        {
            Some("the address is negative: a local variable that is too large for the stack?".into())
        }
        _ => None,
    })
}

fn ends_with_nul(text: &[u8]) -> bool {
    text.ends_with(b"\0")
}

fn counts_nul(argument: &str) -> String {
    format!("the length of the {argument} counts the NUL at its end; pass the length without it")
}

/// Whether this argument is a URI with a scheme.
fn is_absolute(uri: Option<Argument<'_>>) -> bool {
    let Some(Argument::Bytes(uri)) = uri else { return false };
    let scheme = uri.iter().take_while(|byte| byte.is_ascii_alphanumeric()).count();
    scheme > 0 && uri[scheme..].starts_with(b"://")
}

/// The note on setting a method that is a common one except for its case.
fn method(call: &TracedCall<'_>) -> Option<Cow<'static, str>> {
    const COMMON: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
    let Some(Argument::Bytes(method)) = call.argument("method") else { return None };
    let common = COMMON.iter().find(|its| its.as_bytes().eq_ignore_ascii_case(method))?;
    let differs = common.as_bytes() != method;
    differs.then(|| format!("methods are case-sensitive: this isn't {common}").into())
}

/// Whether the call sets `content-length: 0`, the only framing header with an effect.
fn empties_body(call: &TracedCall<'_>) -> bool {
    let is = |argument, text: &[u8]| match call.argument(argument) {
        Some(Argument::Bytes(bytes)) => bytes.eq_ignore_ascii_case(text),
        _ => false,
    };
    is("name", b"content-length") && is("value", b"0")
}

fn enabled(call: &TracedCall<'_>) -> Option<Cow<'static, str>> {
    if call.phase == Some(Phase::Response) {
        return Some("no effect: it is too late; enable features in handle_request or at start-up".into());
    }
    match call.argument("features") {
        Some(Argument::Features(_, unknown)) if unknown != 0 => {
            Some(format!("unknown bits are ignored; enabled: {}", names(call.features)).into())
        }
        _ => None,
    }
}

fn names(features: Features) -> String {
    Argument::Features(features, 0).to_string()
}

/// The note on reading a body.
fn body(call: &TracedCall<'_>, eof_len: u64) -> Option<Cow<'static, str>> {
    let Some(Argument::BodyKind(kind)) = call.argument("kind") else { return None };
    let note = match (call.phase?, kind) {
        (Phase::Request, BodyKind::Response) => OWN_RESPONSE,
        (Phase::Response, BodyKind::Request) => "the unread rest has gone to the next handler",
        // The message is passed on without the bytes that were consumed.
        (Phase::Request, BodyKind::Request)
            if !call.features.contains(Features::BUFFER_REQUEST) && eof_len as u32 > 0 =>
        {
            "consumed: without buffer_request the next handler gets only the rest, or what the guest writes"
        }
        _ => return None,
    };
    Some(note.into())
}

/// The note on a look-up of values.
fn values(call: &TracedCall<'_>, result: u64, name: &[u8]) -> Option<Cow<'static, str>> {
    let len = result as u32;
    let limit = match call.argument("buf") {
        Some(Argument::Buffer { limit, .. }) => limit,
        _ => return None,
    };
    // With a limit of 0, the guest only asks for the length.
    if len > limit && limit > 0 {
        let text = format!(
            "nothing was written: {len} bytes don't fit into a buf_limit of {limit}; call again with more room"
        );
        return Some(text.into());
    }
    let Some(Argument::HeaderKind(kind)) = call.argument("kind") else { return None };
    let note = match (kind, call.phase?) {
        (HeaderKind::Response, Phase::Request) => OWN_RESPONSE,
        (HeaderKind::ResponseTrailers, Phase::Request) => OWN_RESPONSE,
        (HeaderKind::RequestTrailers, Phase::Request)
            if len == 0 && !call.features.contains(Features::BUFFER_REQUEST) =>
        {
            "none have arrived: without buffer_request trailers can be read only after the end of the body"
        }
        (HeaderKind::ResponseTrailers, Phase::Response)
            if len == 0 && !call.features.contains(Features::BUFFER_RESPONSE) =>
        {
            "none have arrived: without buffer_response trailers can't be read"
        }
        _ if len == 0 && !name.is_empty() => "there is no header of this name",
        _ => return None,
    };
    Some(note.into())
}

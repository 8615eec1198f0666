//! Invariants of the messages and errors that an exchange produces.

use http_wasm_host::{Error, ErrorKind};

use crate::message::{Field, Request, is_framing};
use crate::subject::Seen;
use crate::trace::Trace;

/// The name of all guests in fuzz targets.
pub(crate) const GUEST: &str = "fuzzed";

pub(crate) fn is_token(text: &[u8]) -> bool {
    let legal = |&byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.iter().all(legal)
}

pub(crate) fn is_value(value: &[u8]) -> bool {
    value.iter().all(|&byte| byte == b'\t' || (byte >= b' ' && byte != 0x7f))
}

/// Path and query in origin form (RFC 9112, section 3.2.1), or "*".
pub(crate) fn is_target(target: &[u8]) -> bool {
    let legal = |&byte: &u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/?%".contains(&byte);
    target == b"*" || target.first() == Some(&b'/') && target.iter().all(legal)
}

fn fields(fields: &[Field]) {
    for (name, value) in fields {
        let shown = name.escape_ascii();
        assert!(is_token(name), "\"{shown}\" is not a field name");
        assert!(!name.iter().any(u8::is_ascii_uppercase), "\"{shown}\" is not lower case");
        assert!(is_value(value), "the value of {shown} is invalid: \"{}\"", value.escape_ascii());
    }
}

/// Checks a request for the next handler.
pub(crate) fn request(seen: &Seen, received: &Request) {
    assert!(is_token(&seen.method), "method \"{}\"", seen.method.escape_ascii());
    let target = &seen.uri;
    assert!(target == received.uri.as_bytes() || is_target(target), "target \"{}\"", target.escape_ascii());
    assert_eq!(seen.values(b"host").count(), 1, "a request always has a host");
    fields(&seen.fields);
    fields(&seen.trailers);
    framing(seen);
}

/// Checks a response for the client.
pub(crate) fn response(seen: &Seen, client_sent_head: bool) {
    assert!((100..=999).contains(&seen.status), "status {}", seen.status);
    fields(&seen.fields);
    fields(&seen.trailers);
    let bodyless = matches!(seen.status, 101 | 204 | 304);
    assert!(!bodyless || seen.body.is_empty(), "a body with status {}", seen.status);
    assert!(!matches!(seen.status, 101 | 204) || seen.values(b"content-length").next().is_none());
    // The content-length of these is that of the body that isn't sent.
    if seen.status != 304 && !(client_sent_head && seen.body.is_empty()) {
        framing(seen);
    }
}

/// Checks that the framing fields match the body.
fn framing(seen: &Seen) {
    let lengths: Vec<_> = seen.values(b"content-length").collect();
    let codings: Vec<_> = seen.values(b"transfer-encoding").collect();
    assert!(lengths.len() <= 1 && codings.len() <= 1, "{:?}", seen.fields);
    assert!(lengths.is_empty() || codings.is_empty(), "both framings at once: {:?}", seen.fields);
    assert!(codings.iter().all(|coding| coding == b"chunked"), "{codings:?}");
    if !seen.broke {
        let len = seen.body.len().to_string();
        assert!(lengths.iter().all(|given| *given == len.as_bytes()), "{len} bytes, {:?}", seen.fields);
        assert!(seen.exact.is_none_or(|exact| exact == seen.body.len() as u64), "{:?} {len}", seen.exact);
    }
    if !seen.trailers.is_empty() {
        assert!(lengths.is_empty() && seen.exact.is_none(), "no room for trailers: {:?}", seen.fields);
    }
}

/// Checks the error of a failed guest.
pub(crate) fn error(error: &Error) {
    match error.kind() {
        ErrorKind::Trap | ErrorKind::BodyTooLarge(_) | ErrorKind::Body(_) => {}
        ErrorKind::HostCall | ErrorKind::Limit => assert!(error.function().is_some(), "{error}"),
        kind => panic!("{kind:?}: {error}"),
    }
    assert_eq!(error.guest(), GUEST);
    assert!(error.phase().is_some(), "{error}");
    assert!(is_line(&error.to_string()), "{error:?}");
}

/// Whether the text is a single line that no log or terminal can misinterpret.
pub(crate) fn is_line(text: &str) -> bool {
    !text.is_empty() && !text.contains(char::is_control)
}

/// Checks that two hosts produced the same result.
pub(crate) fn same(one: &Trace, other: &Trace) {
    // How much of a body is held when the guest asks for trailers depends on the pieces in which it arrives.
    let too_large = |trace: &Trace| {
        trace.error.as_ref().is_some_and(|error| matches!(error.kind(), ErrorKind::BodyTooLarge(_)))
    };
    if too_large(one) || too_large(other) {
        return;
    }
    // The message isn't compared: it contains the size of the memory, which an earlier exchange may have grown.
    let kind =
        |trace: &Trace| trace.error.as_ref().map(|error| (error.kind(), error.function(), error.phase()));
    assert_eq!(kind(one), kind(other));
    let pairs = [(&one.request, &other.request), (&one.response, &other.response)];
    for (one, other) in pairs {
        let (Some(one), Some(other)) = (one, other) else {
            assert!(one.is_none() && other.is_none());
            continue;
        };
        assert_eq!(one.method.escape_ascii().to_string(), other.method.escape_ascii().to_string());
        assert_eq!(one.uri.escape_ascii().to_string(), other.uri.escape_ascii().to_string());
        assert_eq!(one.status, other.status);
        assert_eq!(by_name(&one.fields), by_name(&other.fields));
        assert_eq!(one.body, other.body);
        assert_eq!(by_name(&one.trailers), by_name(&other.trailers));
    }
}

/// The order of names is lost when one is removed, and framing depends on when a host learns a length or that no
/// trailers follow. The rest is comparable.
fn by_name(fields: &[Field]) -> Vec<(String, String)> {
    let comparable = fields.iter().filter(|(name, _)| !is_framing(name) && name != b"trailer");
    let shown = |text: &[u8]| text.escape_ascii().to_string();
    let mut fields: Vec<_> = comparable.map(|(name, value)| (shown(name), shown(value))).collect();
    fields.sort_by(|one, other| one.0.cmp(&other.0));
    fields
}

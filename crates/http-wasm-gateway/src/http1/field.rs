//! Field lines of heads and of trailers.

use bytes::Bytes;
use http::{HeaderName, HeaderValue};

/// Parses a field from a line of `all`. Characters that aren't allowed in a line aren't allowed in a name or value
/// either.
pub(crate) fn field(line: &[u8], all: &Bytes) -> Result<(HeaderName, HeaderValue), &'static str> {
    // Most names are shorter than what memchr is made for.
    let colon = line.iter().position(|&byte| byte == b':').ok_or("a line without a colon")?;
    let name = HeaderName::from_bytes(&line[..colon]).map_err(|_| "an invalid field name")?;
    let value = HeaderValue::from_maybe_shared(all.slice_ref(trimmed(&line[colon + 1..])));
    Ok((name, value.map_err(|_| "a control character in a field value")?))
}

/// Removes the whitespace that may surround a value.
pub(crate) fn trimmed(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

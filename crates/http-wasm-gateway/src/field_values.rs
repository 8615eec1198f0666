//! Values of header fields in HTTP/2.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};

/// Whether a value begins or ends with whitespace, which makes an HTTP/2 message malformed (RFC 9113 section 8.2.1). h2
/// accepts it. In HTTP/1.1, whitespace around a value isn't part of it, so a route that compares values wouldn't match
/// what the upstream then reads.
pub(crate) fn any_padded(headers: &HeaderMap) -> bool {
    headers.values().any(is_padded)
}

/// Whether this value begins or ends with whitespace.
pub(crate) fn is_padded(value: &HeaderValue) -> bool {
    let space = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    space(value.as_bytes().first()) || space(value.as_bytes().last())
}

/// Joins cookies that are split over several fields into one value, as HTTP/1.1 requires (RFC 9113 section 8.2.3).
pub(crate) fn joined_cookies<'a>(crumbs: impl Iterator<Item = &'a HeaderValue>) -> HeaderValue {
    let crumbs: Vec<&[u8]> = crumbs.map(HeaderValue::as_bytes).collect();
    let joined = HeaderValue::from_maybe_shared(Bytes::from(crumbs.join(b"; ".as_slice())));
    joined.expect("valid values joined by valid bytes are a valid value")
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue};

    use super::any_padded;

    #[test]
    fn only_leading_and_trailing_white_space_counts_as_padding() {
        for (value, padded) in [
            ("", false),
            ("a", false),
            ("a b", false),
            ("a\tb", false),
            (" ", true),
            (" a", true),
            ("\ta", true),
            ("a ", true),
            ("a\t", true),
        ] {
            let mut headers = HeaderMap::new();
            headers.append("x", HeaderValue::from_static("first"));
            headers.append("x", HeaderValue::from_static(value));
            assert_eq!(any_padded(&headers), padded, "{value:?}");
        }
    }
}

//! Values of header fields as HTTP/2 transports them.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};

/// Whether a value begins or ends with white space, which makes a message of HTTP/2 malformed (RFC 9113 section 8.2.1).
/// h2 accepts it. HTTP/1.1 has it around each value and doesn't count it in, so a route that compares values would not
/// match what the upstream then reads.
pub(crate) fn any_padded(headers: &HeaderMap) -> bool {
    headers.values().any(is_padded)
}

/// Whether this value does.
pub(crate) fn is_padded(value: &HeaderValue) -> bool {
    let space = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    space(value.as_bytes().first()) || space(value.as_bytes().last())
}

/// Cookies that are split over fields as the value of one, which is what HTTP/1.1 has (RFC 9113 section 8.2.3).
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

//! What is valid on the wire: checks of what guests pass in, the form of a URI, and which responses have no body.
//!
//! Source: RFC 9110 (tokens, field values), RFC 3986 (characters of path and query), RFC 9112 (request targets).

use std::borrow::Cow;

/// Returns whether responses with this status have no body, whatever their method and their headers: 1xx, 204 and 304
/// (RFC 9110 section 6.4.1). A 101 switches protocols, and what follows isn't a body.
#[inline]
pub fn is_bodyless(status: u16) -> bool {
    matches!(status, 100..=199 | 204 | 304)
}

/// Whether `text` is a token, as methods and header names are.
#[inline]
pub(crate) fn is_token(text: &[u8]) -> bool {
    // All bytes are checked, in no particular order, without a branch for each.
    !text.is_empty() && are_all(&TOKEN, text)
}

/// Bytes of tokens.
static TOKEN: Bytes = alphanumeric_and(b"!#$%&'*+-.^_`|~");

/// Bytes of paths and queries, except the percent sign.
static PATH_OR_QUERY: Bytes = alphanumeric_and(b"-._~!$&'()*+,;=:@/?");

/// A set of bytes.
type Bytes = [bool; 256];

const fn alphanumeric_and(others: &[u8]) -> Bytes {
    let mut set = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        set[byte] = (byte as u8).is_ascii_alphanumeric();
        byte += 1;
    }
    let mut at = 0;
    while at < others.len() {
        set[others[at] as usize] = true;
        at += 1;
    }
    set
}

#[inline]
fn are_all(set: &Bytes, text: &[u8]) -> bool {
    text.iter().fold(true, |all, &byte| all & set[usize::from(byte)])
}

/// Whether `value` may be a header value: no control characters except the tab.
#[inline]
pub(crate) fn is_field_value(value: &[u8]) -> bool {
    value.iter().fold(true, |legal, &byte| legal & (byte == b'\t' || !byte.is_ascii_control()))
}

/// Whether `authority` is a valid `host` header: a host and an optional port, nothing else.
pub(crate) fn is_authority(authority: &[u8]) -> bool {
    // The port starts after the last colon, unless that is inside an IPv6 address.
    let port = authority.iter().rposition(|&byte| byte == b':' || byte == b']');
    let port = port.filter(|&at| authority[at] == b':').map_or(&[][..], |at| &authority[at + 1..]);
    !authority.contains(&b'@')
        && port.iter().all(u8::is_ascii_digit)
        && http::uri::Authority::try_from(authority).is_ok()
}

/// Why a URI is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NotAUri;

/// The origin form (path and query) of the URI that a guest sets.
///
/// A guest's encoding can't be checked, so characters that aren't allowed in a path or query are percent-encoded rather
/// than refused. Control characters are refused, because they are never intended. `asterisk` is whether "*" is a valid
/// target, as for OPTIONS.
pub(crate) fn origin_form(uri: &[u8], asterisk: bool) -> Result<Cow<'_, [u8]>, NotAUri> {
    if uri.first() == Some(&b'/') && are_all(&PATH_OR_QUERY, uri) {
        return Ok(Cow::Borrowed(uri));
    }
    if uri.iter().any(u8::is_ascii_control) {
        return Err(NotAUri);
    }
    let target = match uri.first() {
        None => return Ok(Cow::Borrowed(b"/")),
        Some(b'*') if uri.len() == 1 && asterisk => return Ok(Cow::Borrowed(uri)),
        Some(b'/' | b'?') => uri,
        Some(_) => without_scheme_and_authority(uri).ok_or(NotAUri)?,
    };
    let encoded = encode(target);
    Ok(match encoded.first() {
        Some(b'/') => encoded,
        _ => Cow::Owned([b"/", &encoded[..]].concat()),
    })
}

fn without_scheme_and_authority(uri: &[u8]) -> Option<&[u8]> {
    let colon = uri.iter().position(|&byte| byte == b':')?;
    let (scheme, rest) = uri.split_at(colon);
    let legal = |&byte: &u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
    if !scheme.first()?.is_ascii_alphabetic() || !scheme.iter().all(legal) {
        return None;
    }
    let rest = rest.strip_prefix(b"://")?;
    let path = rest.iter().position(|byte| b"/?#".contains(byte)).unwrap_or(rest.len());
    Some(&rest[path..])
}

fn encode(target: &[u8]) -> Cow<'_, [u8]> {
    let mut encoded: Option<Vec<u8>> = None;
    for (at, &byte) in target.iter().enumerate() {
        let stays = match byte {
            b'%' => target.get(at + 1..at + 3).is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit)),
            _ => PATH_OR_QUERY[usize::from(byte)],
        };
        match (&mut encoded, stays) {
            (None, true) => {}
            (Some(out), true) => out.push(byte),
            (out, false) => {
                let out = out.get_or_insert_with(|| target[..at].to_vec());
                out.extend_from_slice(&[b'%', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
            }
        }
    }
    encoded.map_or(Cow::Borrowed(target), Cow::Owned)
}

const HEX: &[u8; 16] = b"0123456789ABCDEF";

/// A number of bytes in the largest unit of which it is a multiple.
pub(crate) fn size(bytes: usize) -> String {
    let units = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    match units.into_iter().find(|(unit, _)| bytes >= *unit && bytes.is_multiple_of(*unit)) {
        Some((unit, name)) => format!("{} {name}", bytes / unit),
        None if bytes == 1 => "1 byte".to_owned(),
        None => format!("{bytes} bytes"),
    }
}

/// Text for a log line: control characters, which could forge further lines, are escaped.
pub(crate) fn printable(bytes: &[u8], limit: usize) -> Cow<'_, str> {
    let cut = &bytes[..bytes.len().min(limit)];
    let text = String::from_utf8_lossy(cut);
    let bad = |c: char| c.is_control() && c != '\t';
    if cut.len() == bytes.len() && !text.contains(bad) {
        return text;
    }
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if bad(c) { out.extend(c.escape_default()) } else { out.push(c) }
    }
    if cut.len() < bytes.len() {
        out.push_str("… (cut)");
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(uri: &[u8]) -> Result<String, NotAUri> {
        origin_form(uri, false).map(|uri| String::from_utf8(uri.into_owned()).unwrap())
    }

    #[test]
    fn a_uri_is_reduced_to_path_and_query() {
        for (given, expected) in [
            ("", "/"),
            ("/a?b=c", "/a?b=c"),
            ("?b", "/?b"),
            ("/a?", "/a?"),
            ("//foo", "//foo"),
            ("http://example.com/a?b", "/a?b"),
            ("https://example.com", "/"),
            ("h2+x://example.com?b", "/?b"),
            ("http://[::1]:80/x", "/x"),
        ] {
            assert_eq!(form(given.as_bytes()).unwrap(), expected, "{given}");
        }
    }

    #[test]
    fn characters_not_allowed_in_a_uri_are_percent_encoded() {
        for (given, expected) in [
            (&b"/a b#c"[..], "/a%20b%23c"),
            (b"/\xff\xc3\xa4", "/%FF%C3%A4"),
            (b"/%41%zz%", "/%41%25zz%25"),
            (b"/?a[]=\"<>\\^`{|}", "/?a%5B%5D=%22%3C%3E%5C%5E%60%7B%7C%7D"),
            (b"/a?b?c=/d", "/a?b?c=/d"),
        ] {
            assert_eq!(form(given).unwrap(), expected);
        }
    }

    #[test]
    fn invalid_uris_and_control_characters_are_refused() {
        for uri in ["foo", "*", "1http://x/", "mailto:x", ":", "/a\rb", "/a\nb", "/\0", "/\x7f"] {
            assert_eq!(form(uri.as_bytes()), Err(NotAUri), "{uri:?}");
        }
        assert!(origin_form(b"*", true).is_ok());
    }

    #[test]
    fn tokens_and_values_are_those_of_rfc_9110() {
        assert!(is_token(b"X-Custom_1!"));
        for bad in [&b""[..], b"a b", b"a:b", b"a\n", b"\xff", b"a(b)"] {
            assert!(!is_token(bad), "{bad:?}");
        }
        assert!(is_field_value(b"a\tb \xff"));
        for bad in [&b"a\rb"[..], b"a\nb", b"a\0b", b"\x7f"] {
            assert!(!is_field_value(bad), "{bad:?}");
        }
        assert!(is_authority(b"example.com:8080") && is_authority(b"[::1]:1"));
        assert!(
            !is_authority(b"u@example.com")
                && !is_authority(b"a b")
                && !is_authority(b"a:b")
                && !is_authority(b"")
        );
    }

    #[test]
    fn a_size_is_shown_in_the_largest_unit_that_keeps_it_exact() {
        let shown = [0, 1, 1000, 65_536, 256 << 20, 3 << 30, (256 << 20) + 65_536].map(size);
        let expected = ["0 bytes", "1 byte", "1000 bytes", "64 KiB", "256 MiB", "3 GiB", "262208 KiB"];
        assert_eq!(shown, expected);
    }

    #[test]
    fn printable_text_escapes_line_breaks_and_is_truncated_at_the_limit() {
        assert_eq!(printable(b"ok\tfine", 100), "ok\tfine");
        assert_eq!(printable(b"a\r\nb\x1b[0m", 100), "a\\r\\nb\\u{1b}[0m");
        assert_eq!(printable(b"abcdef", 3), "abc… (cut)");
    }
}

//! The normal form in which paths are compared.

use std::borrow::Cow;

/// How a path is split into segments.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Split {
    /// Backslashes separate segments like slashes.
    pub(crate) backslash: bool,
    /// In each segment, everything from `;` is removed.
    pub(crate) drop_params: bool,
    /// Empty segments are removed.
    pub(crate) merge: bool,
    /// `.` and `..` are resolved.
    pub(crate) resolve: bool,
}

impl Split {
    /// As the path was sent.
    pub(crate) const AS_SENT: Self =
        Self { backslash: false, drop_params: false, merge: true, resolve: true };
}

/// A path with unambiguous parts resolved: unnecessary percent-encoding, `.` and `..`, and repeated slashes. Encoded
/// slashes and percent signs stay encoded. `None` for a path that leads above the root.
///
/// Routes are selected by this form; otherwise `/%61dmin` would bypass the guests of `/admin`. The original path is
/// forwarded to guests and upstreams.
pub(crate) fn normal(path: &str) -> Option<Cow<'_, str>> {
    if !is_unusual(path) {
        return Some(Cow::Borrowed(path));
    }
    join(&decode(path.as_bytes()), Split::AS_SENT).map(Cow::Owned)
}

/// Whether a path may have more than one reading. Most paths don't.
pub(crate) fn is_unusual(path: &str) -> bool {
    let mut before = 0;
    path.bytes().any(|byte| {
        let unusual = matches!((before, byte), (_, b'%' | b'\\' | b';') | (b'/', b'/' | b'.'));
        before = byte;
        unusual
    })
}

/// The path that results from splitting a decoded text like this. `None` if it leads above the root.
pub(crate) fn join(text: &[u8], how: Split) -> Option<String> {
    let separates = |byte: &u8| *byte == b'/' || how.backslash && *byte == b'\\';
    let mut segments: Vec<&[u8]> = Vec::new();
    let mut ends_in_directory = false;
    let mut all = text.split(separates).skip(usize::from(text.first().is_some_and(separates))).peekable();
    while let Some(segment) = all.next() {
        let is_last = all.peek().is_none();
        let segment = match segment.iter().position(|&byte| byte == b';') {
            Some(end) if how.drop_params => &segment[..end],
            _ => segment,
        };
        match segment {
            b"" if is_last || how.merge => ends_in_directory = is_last,
            b"." if how.resolve => ends_in_directory = is_last,
            b".." if how.resolve => {
                segments.pop()?;
                ends_in_directory = is_last;
            }
            segment => segments.push(segment),
        }
    }
    let mut path = Vec::with_capacity(text.len());
    for segment in &segments {
        path.push(b'/');
        path.extend_from_slice(segment);
    }
    if ends_in_directory || segments.is_empty() {
        path.push(b'/');
    }
    Some(
        String::from_utf8(path)
            .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()),
    )
}

/// Decodes percent-encoding, except for slashes and percent signs. Their digits are converted to upper case, so that
/// `%2f` and `%2F` are equal.
pub(crate) fn decode(text: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(text.len());
    for unit in units(text) {
        match unit {
            Unit::Encoded(byte @ (b'/' | b'%')) => decoded.extend(if byte == b'/' { b"%2F" } else { b"%25" }),
            Unit::Plain(byte) | Unit::Encoded(byte) => decoded.push(byte),
        }
    }
    decoded
}

/// Decodes all percent-encoding once.
pub(crate) fn decode_all(text: &[u8]) -> Vec<u8> {
    let plain = |unit| match unit {
        Unit::Plain(byte) | Unit::Encoded(byte) => byte,
    };
    units(text).map(plain).collect()
}

/// A byte of a text, and whether it was percent-encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    Plain(u8),
    Encoded(u8),
}

/// The bytes of a percent-encoded text. A percent sign without two digits is literal.
pub(crate) fn units(text: &[u8]) -> impl Iterator<Item = Unit> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let (&first, behind) = rest.split_first()?;
        rest = behind;
        if let (b'%', [high, low, behind @ ..]) = (first, behind)
            && let Some((high, low)) = hex(*high).zip(hex(*low))
        {
            rest = behind;
            return Some(Unit::Encoded(high << 4 | low));
        }
        Some(Unit::Plain(first))
    })
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::normal;

    #[test]
    fn a_path_has_one_normal_form() {
        for (path, expected) in [
            ("/", "/"),
            ("/a/b", "/a/b"),
            ("/a/b/", "/a/b/"),
            ("/%61dmin", "/admin"),
            ("//a///b", "/a/b"),
            ("/a/./b", "/a/b"),
            ("/a/../b", "/b"),
            ("/a/%2e%2E/b", "/b"),
            ("/a/..", "/"),
            ("/a/b/..", "/a/"),
            ("/a/.", "/a/"),
            ("/a//", "/a/"),
            ("//", "/"),
            ("/a%2fb", "/a%2Fb"),
            ("/a%2Fb", "/a%2Fb"),
            ("/%2561", "/%2561"),
            ("/%", "/%"),
            ("/%zz", "/%zz"),
            ("/%4", "/%4"),
            ("/a;b\\c", "/a;b\\c"),
            ("/.well-known/x", "/.well-known/x"),
            ("/%C3%A4", "/ä"),
            ("*", "*"),
        ] {
            assert_eq!(normal(path).as_deref(), Some(expected), "{path}");
        }
    }

    #[test]
    fn a_path_above_the_root_has_no_normal_form() {
        for path in ["/..", "/../a", "/a/../..", "/a/../../b", "/%2e%2e/a", "//../a", "/./.."] {
            assert_eq!(normal(path), None, "{path}");
        }
    }

    #[test]
    fn normalisation_is_idempotent() {
        for path in ["/%61dmin", "/a/%2e%2e/b", "/a%2fb", "/%25%32%46", "//%2f//"] {
            let once = normal(path).expect("it stays below the root").into_owned();
            assert_eq!(normal(&once).as_deref(), Some(&*once), "{path}");
        }
    }
}

//! The form of paths in which they are compared.

use std::borrow::Cow;

/// A path without what servers read in different ways: percent-encoding of what needs none is resolved, so are `.` and
/// `..`, and slashes in a row are one. An encoded slash or percent sign stays encoded.
///
/// Routes are chosen by this form, or `/%61dmin` would pass by the guests of `/admin`. What goes on to guests and upstreams is the
/// path as it came.
pub(crate) fn normal(path: &str) -> Cow<'_, str> {
    let unusual = path.contains('%') || path.contains("//") || path.contains("/.");
    if !unusual {
        return Cow::Borrowed(path);
    }
    let decoded = decode(path.as_bytes());
    let mut segments: Vec<&[u8]> = Vec::new();
    let mut ends_in_directory = false;
    for segment in decoded.split(|&byte| byte == b'/') {
        ends_in_directory = matches!(segment, b"" | b"." | b"..");
        match segment {
            b"" | b"." => {}
            b".." => drop(segments.pop()),
            segment => segments.push(segment),
        }
    }
    let mut normal = Vec::with_capacity(decoded.len());
    for segment in &segments {
        normal.push(b'/');
        normal.extend_from_slice(segment);
    }
    if ends_in_directory || segments.is_empty() {
        normal.push(b'/');
    }
    Cow::Owned(String::from_utf8_lossy(&normal).into_owned())
}

fn decode(path: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(path.len());
    let mut rest = path;
    while let Some((&first, behind)) = rest.split_first() {
        rest = behind;
        let byte = match (first, behind) {
            (b'%', [high, low, ..]) => hex(*high).zip(hex(*low)).map(|(high, low)| high << 4 | low),
            _ => None,
        };
        match byte {
            Some(byte) if !matches!(byte, b'/' | b'%') => {
                decoded.push(byte);
                rest = &behind[2..];
            }
            // Kept as it is, its digits in capitals, for `%2f` and `%2F` are the same.
            Some(_) => {
                decoded.push(b'%');
                decoded.extend(behind[..2].to_ascii_uppercase());
                rest = &behind[2..];
            }
            None => decoded.push(first),
        }
    }
    decoded
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
            ("/../../b", "/b"),
            ("/a/..", "/"),
            ("/a/b/..", "/a/"),
            ("/a/.", "/a/"),
            ("/a%2fb", "/a%2Fb"),
            ("/a%2Fb", "/a%2Fb"),
            ("/%2561", "/%2561"),
            ("/%", "/%"),
            ("/%zz", "/%zz"),
            ("/.well-known/x", "/.well-known/x"),
            ("/%C3%A4", "/ä"),
        ] {
            assert_eq!(normal(path), expected, "{path}");
        }
    }

    #[test]
    fn the_normal_form_of_a_normal_form_is_itself() {
        for path in ["/%61dmin", "/a/%2e%2e/b", "/a%2fb", "/%25%32%46", "//%2f//"] {
            let once = normal(path).into_owned();
            assert_eq!(normal(&once), once, "{path}");
        }
    }
}

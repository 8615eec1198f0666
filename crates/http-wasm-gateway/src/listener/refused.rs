//! Rejected requests, as far as their first line describes them.

use http::{Method, Request, Uri, Version};

use crate::body::{BoxBody, empty};

/// The request that a first line describes, if its head couldn't be parsed.
pub(super) fn unparsed(line: &[u8]) -> Request<BoxBody> {
    let line = line.split(|&byte| byte == b'\r' || byte == b'\n').next().unwrap_or_default();
    let mut words = line.split(|&byte| byte == b' ');
    let method = words.next().and_then(|method| Method::from_bytes(method).ok());
    let (target, version) = (words.next().unwrap_or_default(), words.next_back());
    let mut request = Request::new(empty());
    *request.method_mut() = method.unwrap_or_default();
    *request.uri_mut() = Uri::try_from(escaped(target)).unwrap_or_default();
    *request.version_mut() = if version == Some(b"HTTP/1.0") { Version::HTTP_10 } else { Version::HTTP_11 };
    request
}

/// A target in which every character that isn't allowed in a URI is escaped.
fn escaped(target: &[u8]) -> String {
    let mut text = String::with_capacity(target.len());
    for &byte in target {
        if byte.is_ascii_graphic() && !br#""<>\^`{|}"#.contains(&byte) {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::unparsed;

    #[test]
    fn method_and_target_of_a_refused_request_come_from_its_first_line() {
        for (line, method, target) in [
            ("GET /?\"x\" HTTP/1.1\r\nHost: h", "GET", "/?%22x%22"),
            ("PUT /a/b", "PUT", "/a/b"),
            ("PO(T /a HTTP/1.1", "GET", "/a"),
            ("\u{16}\u{3}\u{1}", "GET", "/"),
            ("", "GET", "/"),
        ] {
            let request = unparsed(line.as_bytes());
            assert_eq!(
                (request.method().as_str(), &*request.uri().to_string()),
                (method, target),
                "{line:?}"
            );
        }
    }
}

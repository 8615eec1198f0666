//! Information from proxies about the client: `X-Forwarded-For` and `Forwarded` (RFC 7239).

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderName, HeaderValue, header};

pub(super) const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
pub(super) const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// The entries of `X-Forwarded-For`. `None` for entries that aren't addresses.
pub(super) fn addresses(headers: &HeaderMap) -> impl DoubleEndedIterator<Item = Option<SocketAddr>> {
    list(headers, X_FORWARDED_FOR).map(|element| address(str::from_utf8(element).ok()?))
}

/// Whether `X-Forwarded-Proto` says that the client used TLS, with this many proxies in between. Most proxies replace
/// the field, some append to it.
pub(super) fn proto(headers: &HeaderMap, behind: usize) -> Option<bool> {
    let schemes: Vec<_> = list(headers, X_FORWARDED_PROTO).collect();
    scheme(schemes.iter().rev().nth(behind.min(schemes.len().saturating_sub(1)))?)
}

/// The address in a field that contains a single address.
pub(super) fn only_address(headers: &HeaderMap, name: &HeaderName) -> Option<SocketAddr> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(only), None) => address(only.to_str().ok()?),
        _ => None,
    }
}

fn list(headers: &HeaderMap, name: HeaderName) -> impl DoubleEndedIterator<Item = &[u8]> {
    headers.get_all(name).iter().flat_map(|value| value.as_bytes().split(|&byte| byte == b','))
}

/// Parses an address from a proxy: with or without brackets, with or without a port, which is 0 if missing.
fn address(text: &str) -> Option<SocketAddr> {
    let text = text.trim();
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let addr = bare.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, 0)).or_else(|_| text.parse()).ok()?;
    Some(canonical(addr))
}

/// Converts an IPv4-mapped IPv6 address to the IPv4 address.
pub(super) fn canonical(addr: SocketAddr) -> SocketAddr {
    match addr.ip().to_canonical() {
        IpAddr::V4(ip) if addr.is_ipv6() => SocketAddr::new(ip.into(), addr.port()),
        _ => addr,
    }
}

/// What one proxy reports about a request in `Forwarded`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Element<'a> {
    /// The element as written.
    text: &'a str,
    /// The client from which the proxy received the request. `None` for a name that isn't an address.
    pub(super) client: Option<SocketAddr>,
    /// Whether it was received over TLS.
    pub(super) tls: Option<bool>,
}

impl Element<'_> {
    pub(super) fn to_value(&self) -> Option<HeaderValue> {
        HeaderValue::from_str(self.text).ok()
    }
}

/// The elements of `Forwarded`. `None` if any of it is malformed, since it is then unclear which parts belong together.
pub(super) fn elements(headers: &HeaderMap) -> Option<Vec<Element<'_>>> {
    let mut elements = Vec::new();
    for value in headers.get_all(header::FORWARDED) {
        for text in split(value.to_str().ok()?, b',')? {
            if !text.is_empty() {
                elements.push(element(text)?);
            }
        }
    }
    Some(elements)
}

fn element(text: &str) -> Option<Element<'_>> {
    let mut element = Element { text, client: None, tls: None };
    let (mut has_client, mut has_scheme) = (false, false);
    for pair in split(text, b';')? {
        if pair.is_empty() {
            continue;
        }
        let (name, value) = pair.split_once('=')?;
        let value = unquoted(value);
        if name.eq_ignore_ascii_case("for") {
            if std::mem::replace(&mut has_client, true) {
                return None;
            }
            element.client = address(value);
        } else if name.eq_ignore_ascii_case("proto") {
            if std::mem::replace(&mut has_scheme, true) {
                return None;
            }
            element.tls = scheme(value.as_bytes());
        }
    }
    Some(element)
}

/// Whether a scheme means TLS; none if it is unknown.
fn scheme(text: &[u8]) -> Option<bool> {
    let text = text.trim_ascii();
    match () {
        () if text.eq_ignore_ascii_case(b"https") => Some(true),
        () if text.eq_ignore_ascii_case(b"http") => Some(false),
        () => None,
    }
}

/// Without the quotes. No address or scheme needs an escape in them, so a string with an escape is neither.
fn unquoted(text: &str) -> &str {
    text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text)
}

/// The trimmed parts between separators outside of quotes; none if a quote isn't closed.
fn split(text: &str, separator: u8) -> Option<Vec<&str>> {
    let (mut parts, mut start) = (Vec::new(), 0);
    let (mut quoted, mut escaped) = (false, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            _ if byte == separator && !quoted => {
                parts.push(text[start..at].trim());
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(text[start..].trim());
    (!quoted).then_some(parts)
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, header};

    use super::{address, elements};

    #[test]
    fn an_address_is_parsed_in_each_form_that_proxies_write() {
        for (text, expected) in [
            ("2.2.2.2", "2.2.2.2:0"),
            (" 2.2.2.2:5 ", "2.2.2.2:5"),
            ("[2001:db8::1]:5", "[2001:db8::1]:5"),
            ("[2001:db8::1]", "[2001:db8::1]:0"),
            ("2001:db8::1", "[2001:db8::1]:0"),
            ("::ffff:2.2.2.2", "2.2.2.2:0"),
            ("[::ffff:2.2.2.2]:5", "2.2.2.2:5"),
        ] {
            assert_eq!(address(text).map(|addr| addr.to_string()).as_deref(), Some(expected), "{text}");
        }
        for text in ["", "unknown", "_hidden", "2.2.2", "2.2.2.2:x", "2.2.2.2.2", "[2.2.2.2", "02.2.2.2"] {
            assert_eq!(address(text), None, "{text}");
        }
    }

    /// Address and scheme of each element.
    fn read(values: &[&'static str]) -> Option<Vec<(String, Option<bool>)>> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::FORWARDED, value.parse().unwrap());
        }
        let all = elements(&headers)?.into_iter();
        Some(
            all.map(|one| (one.client.map_or_else(|| "-".into(), |addr| addr.to_string()), one.tls))
                .collect(),
        )
    }

    #[test]
    fn forwarded_is_parsed_as_a_list_with_quoted_values() {
        let text = [
            "For=\"[2001:db8::1]:5\";Proto=HTTPS;by=x, for=2.2.2.2;host=\"a,b;c\\\"\"",
            "proto=http ; for=unknown,",
        ];
        let expected = [
            ("[2001:db8::1]:5".to_owned(), Some(true)),
            ("2.2.2.2:0".to_owned(), None),
            ("-".to_owned(), Some(false)),
        ];
        assert_eq!(read(&text).unwrap(), expected);
        for wrong in ["for=\"2.2.2.2", "for", "for=1.1.1.1;for=2.2.2.2", "proto=http;proto=https", "\""] {
            assert_eq!(read(&[wrong]), None, "{wrong}");
        }
    }
}

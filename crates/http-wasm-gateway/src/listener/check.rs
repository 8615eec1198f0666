//! Rejects requests with an ambiguous host, and requests that are too large.

use http::uri::{Authority, Scheme};
use http::{Method, Request, StatusCode, Version, header};
use http_body::Body;

use super::trusted_proxies::TrustedProxies;
use crate::config::ClientLimits;
use crate::field_values::any_padded;
use crate::http1::decimal;
use crate::known_fields::KnownFields;

/// Why a request is rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    /// The reason, for the log.
    pub(super) reason: &'static str,
}

/// The rejection for lack of file descriptors.
pub(super) const OVERLOADED: Refusal =
    Refusal { status: StatusCode::SERVICE_UNAVAILABLE, reason: "too few file descriptors" };

/// Checks a parsed request, which has these known fields.
pub(super) fn request<B: Body>(
    request: &Request<B>,
    known: KnownFields,
    limits: &ClientLimits,
) -> Result<(), Refusal> {
    let refusal = |status, reason| Err(Refusal { status, reason });
    if request.headers().len() > limits.max_headers.get() as usize {
        return refusal(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "too many header fields");
    }
    if request.version() == Version::HTTP_2 && list_size(request) > limits.max_header_size.0 {
        return refusal(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "the header fields are too large");
    }
    if request.version() == Version::HTTP_2 && any_padded(request.headers()) {
        return refusal(StatusCode::BAD_REQUEST, "a field value has white space around it");
    }
    host(request).or_else(|reason| refusal(StatusCode::BAD_REQUEST, reason))?;
    if known.has(KnownFields::CONTENT_LENGTH) {
        length(request).or_else(|reason| refusal(StatusCode::BAD_REQUEST, reason))?;
    }
    match limits.max_request_body {
        Some(max) if request.body().size_hint().lower() > max.0 => {
            refusal(StatusCode::PAYLOAD_TOO_LARGE, "the body is too large")
        }
        _ => Ok(()),
    }
}

/// The size of a head as defined by HTTP/2 (RFC 9113 section 6.5.2). In HTTP/1.1, its bytes are limited.
fn list_size<B>(request: &Request<B>) -> u64 {
    let fields = request.headers().iter();
    let fields: usize = fields.map(|(name, value)| name.as_str().len() + value.len() + 32).sum();
    let uri = request.uri();
    let target = uri.path_and_query().map_or(0, |target| target.as_str().len());
    let host = uri.authority().map_or(0, |host| host.as_str().len());
    (fields + target + host) as u64
}

/// Checks the names of a request's fields.
pub(super) fn fields<B>(request: &Request<B>, trusted_proxies: &TrustedProxies) -> Result<(), Refusal> {
    match trusted_proxies.refuses(request.headers()) {
        true => {
            Err(Refusal { status: StatusCode::BAD_REQUEST, reason: "a field has an underscore in its name" })
        }
        false => Ok(()),
    }
}

/// Routes, guests and upstreams may take the host from different places, so there must be exactly one (RFC 9112 section
/// 3.2, RFC 9113 section 8.3.1).
fn host<B>(request: &Request<B>) -> Result<(), &'static str> {
    let target = request.uri().authority();
    // h2 accepts an empty scheme.
    if request.uri().scheme_str() == Some("") {
        return Err("the scheme is empty");
    }
    if target.is_some_and(|target| !is_host(target)) {
        return Err("invalid host in the request target");
    }
    if request.uri().path() == "*" && request.method() != Method::OPTIONS {
        return Err("the target * is only valid for OPTIONS");
    }
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let (first, more) = (hosts.next(), hosts.next().is_some());
    let host = match first {
        Some(host) if target.is_none() && !more && is_plain(host.as_bytes()) => return Ok(()),
        Some(host) => Some(Authority::try_from(host.as_bytes()).map_err(|_| "invalid Host")?),
        None => None,
    };
    if more {
        return Err("more than one Host");
    }
    match (target, host) {
        (_, Some(host)) if !is_host(&host) => Err("invalid Host"),
        (Some(target), Some(host)) if !same(target, &host, request.uri().scheme()) => {
            Err("Host differs from the request target's")
        }
        (_, None) if request.version() == Version::HTTP_11 => Err("missing Host"),
        (None, None) if request.version() > Version::HTTP_11 => Err("missing host"),
        _ => Ok(()),
    }
}

/// In HTTP/2, h2 accepts a repeated or empty length. In HTTP/1.1, such requests don't get here.
fn length<B>(request: &Request<B>) -> Result<(), &'static str> {
    let mut lengths = request.headers().get_all(header::CONTENT_LENGTH).iter();
    match (lengths.next(), lengths.next()) {
        (None, _) => Ok(()),
        (Some(_), Some(_)) => Err("more than one Content-Length"),
        (Some(length), None) if decimal(length.as_bytes()).is_some() => Ok(()),
        (Some(_), None) => Err("invalid Content-Length"),
    }
}

/// Whether this is a name or an IPv4 address with an optional port. Nearly all hosts are, and these are unambiguous.
fn is_plain(host: &[u8]) -> bool {
    let end = host.iter().position(|&byte| byte == b':').unwrap_or(host.len());
    let (name, port) = host.split_at(end);
    let port = port.get(1..).unwrap_or_default();
    !name.is_empty()
        && name.iter().all(|&byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'))
        && port.len() <= 5
        && port.iter().all(u8::is_ascii_digit)
        && port.iter().fold(0, |number, digit| number * 10 + u32::from(digit - b'0')) <= u32::from(u16::MAX)
}

/// Whether this is a host with an optional port, and nothing else. A comma would be valid, but also results from
/// joining two fields.
fn is_host(authority: &Authority) -> bool {
    let host = authority.host();
    let rest = authority.as_str().strip_prefix(host);
    !host.is_empty()
        && !host.contains(',')
        && rest.is_some_and(|rest| match rest.strip_prefix(':') {
            Some(port) => port.is_empty() || authority.port_u16().is_some(),
            None => rest.is_empty(),
        })
}

fn same(a: &Authority, b: &Authority, scheme: Option<&Scheme>) -> bool {
    let port = |authority: &Authority| {
        authority.port_u16().or(match scheme.map(Scheme::as_str) {
            Some("http") => Some(80),
            Some("https") => Some(443),
            _ => None,
        })
    };
    a.host().eq_ignore_ascii_case(b.host()) && port(a) == port(b)
}

#[cfg(test)]
mod tests {
    use http::{Request, StatusCode, Version};
    use http_body_util::{Empty, Full};

    use super::request;
    use crate::config::{ClientLimits, Size};
    use crate::known_fields::KnownFields;

    fn verdict(method: &str, uri: &str, hosts: &[&str], version: Version) -> Result<(), &'static str> {
        let mut builder = Request::builder().method(method).uri(uri).version(version);
        for host in hosts {
            builder = builder.header("host", *host);
        }
        let built = builder.body(Empty::<bytes::Bytes>::new()).unwrap();
        request(&built, KnownFields::of(built.headers()), &ClientLimits::default()).map_err(|refusal| {
            assert_eq!(refusal.status, StatusCode::BAD_REQUEST);
            refusal.reason
        })
    }

    #[test]
    fn a_request_has_exactly_one_host_in_target_or_header() {
        let (http10, http11, http2) = (Version::HTTP_10, Version::HTTP_11, Version::HTTP_2);
        for (method, uri, hosts, version) in [
            ("GET", "/", &["h"][..], http11),
            ("GET", "/", &["[::1]:80"], http11),
            ("GET", "/", &["h:"], http11),
            ("GET", "http://H/", &["h"], http11),
            ("GET", "http://h/", &["h:80"], http11),
            ("GET", "/", &[], http10),
            ("OPTIONS", "*", &["h"], http11),
            ("CONNECT", "h:443", &["h:443"], http11),
            ("GET", "https://h/", &[], http2),
            ("GET", "https://h:443/", &["h"], http2),
            ("GET", "/", &["h"], http2),
        ] {
            assert_eq!(verdict(method, uri, hosts, version), Ok(()), "{method} {uri} {hosts:?}");
        }
        for (method, uri, hosts, version, reason) in [
            ("GET", "/", &[][..], http11, "missing Host"),
            ("GET", "http://h/", &[], http11, "missing Host"),
            ("GET", "/", &[], http2, "missing host"),
            ("GET", "/", &["a", "a"], http11, "more than one Host"),
            ("GET", "/", &["a", "b"], http2, "more than one Host"),
            ("GET", "/", &[""], http11, "invalid Host"),
            ("GET", "/", &["a b"], http11, "invalid Host"),
            ("GET", "/", &["a/b"], http11, "invalid Host"),
            ("GET", "/", &["a,b"], http11, "invalid Host"),
            ("GET", "/", &["u@h"], http11, "invalid Host"),
            ("GET", "/", &["h:x"], http11, "invalid Host"),
            ("GET", "/", &["h:99999"], http11, "invalid Host"),
            ("GET", "http://u@h/", &["h"], http11, "invalid host in the request target"),
            ("GET", "http://a/", &["b"], http11, "Host differs from the request target's"),
            ("GET", "https://a/", &["a:80"], http2, "Host differs from the request target's"),
            ("GET", "*", &["h"], http11, "the target * is only valid for OPTIONS"),
        ] {
            assert_eq!(verdict(method, uri, hosts, version), Err(reason), "{method} {uri} {hosts:?}");
        }
    }

    #[test]
    fn white_space_around_values_is_refused_only_in_http_2() {
        for (version, allowed) in [(Version::HTTP_11, true), (Version::HTTP_2, false)] {
            let request = Request::get("http://h/").version(version).header("host", "h").header("x", "a ");
            let built = request.body(Empty::<bytes::Bytes>::new()).unwrap();
            let verdict = super::request(&built, KnownFields::of(built.headers()), &ClientLimits::default());
            assert_eq!(
                verdict.map_err(|refusal| refusal.status),
                match allowed {
                    true => Ok(()),
                    false => Err(StatusCode::BAD_REQUEST),
                }
            );
        }
    }

    #[test]
    fn too_many_fields_and_a_declared_length_over_the_limit_are_refused() {
        let limits = ClientLimits { max_request_body: Some(Size(3)), ..ClientLimits::default() };
        let body = Full::<bytes::Bytes>::from("1234");
        let mut built = Request::get("http://h/").header("host", "h").body(body).unwrap();
        let refused = request(&built, KnownFields::of(built.headers()), &limits).unwrap_err();
        assert_eq!(refused.status, StatusCode::PAYLOAD_TOO_LARGE);
        for _ in 0..limits.max_headers.get() {
            built.headers_mut().append("a", "b".parse().unwrap());
        }
        let refused = request(&built, KnownFields::of(built.headers()), &limits).unwrap_err();
        assert_eq!(refused.status, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
    }
}

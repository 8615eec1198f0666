//! Header fields that a proxy removes or adds.

use bytes::{BufMut as _, BytesMut};
use http::HeaderMap;
use http::header::{self, HeaderName, HeaderValue};

use crate::listener::Client;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Fields that concern one connection, whether `Connection` names them or not. `Trailer` is not among them: hyper sends
/// those trailers only that it names.
static HOP_BY_HOP: [HeaderName; 8] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    HeaderName::from_static("proxy-connection"),
    header::TE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// Removes what `Connection` names, as RFC 9110 section 7.6.1 demands, and leaves in `Connection` what concerns the
/// connection itself.
pub(crate) fn remove_nominated(headers: &mut HeaderMap) {
    let nominated: Vec<HeaderName> = list(headers, header::CONNECTION)
        .filter(|option| names_private_field(option))
        .filter_map(|name| HeaderName::from_bytes(name.as_bytes()).ok())
        .collect();
    if nominated.is_empty() {
        return;
    }
    let kept: Vec<&str> = list(headers, header::CONNECTION)
        .filter(|option| !nominated.iter().any(|name| option.eq_ignore_ascii_case(name.as_str())))
        .collect();
    let kept = HeaderValue::from_str(&kept.join(", ")).ok().filter(|kept| !kept.is_empty());
    for name in nominated {
        headers.remove(name);
    }
    headers.remove(header::CONNECTION);
    if let Some(kept) = kept {
        headers.insert(header::CONNECTION, kept);
    }
}

/// Whether an option of `Connection` names a field that has to go with it. Routing and framing are never a connection's private
/// matter, and what concerns the connection itself is seen to elsewhere.
fn names_private_field(option: &str) -> bool {
    let others = ["close", "host", "content-length"].into_iter();
    !others.chain(HOP_BY_HOP.iter().map(HeaderName::as_str)).any(|name| name.eq_ignore_ascii_case(option))
}

/// Removes all that concerns one connection alone.
pub(super) fn remove_hop_by_hop(headers: &mut HeaderMap) {
    remove_nominated(headers);
    // Looking at those that are there costs far less than looking for each that may be.
    while let Some(name) = headers.keys().find(|name| HOP_BY_HOP.contains(name)).cloned() {
        headers.remove(name);
    }
}

/// Whether `Connection` has this option.
pub(super) fn has_connection_option(headers: &HeaderMap, wanted: &str) -> bool {
    list(headers, header::CONNECTION).any(|option| option.eq_ignore_ascii_case(wanted))
}

/// HTTP/2 may split cookies over several fields, HTTP/1.1 may not (RFC 9113 section 8.2.3).
pub(super) fn join_cookies(headers: &mut HeaderMap) {
    if headers.get_all(header::COOKIE).iter().nth(1).is_some() {
        let joined = joined(headers, header::COOKIE, b"; ");
        headers.insert(header::COOKIE, joined);
    }
}

/// Says who asked for what. It replaces what the client claims; what proxies in front may say, the listener has believed already.
pub(super) fn add_forwarded(headers: &mut HeaderMap, client: Client) {
    if let Ok(peer) = HeaderValue::try_from(client.addr.ip().to_canonical().to_string()) {
        headers.insert(X_FORWARDED_FOR, peer);
    }
    match headers.get(header::HOST).cloned() {
        Some(host) => headers.insert(X_FORWARDED_HOST, host),
        None => headers.remove(X_FORWARDED_HOST),
    };
    let scheme = if client.tls { "https" } else { "http" };
    headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static(scheme));
}

/// The elements of a comma-separated field.
fn list(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &str> {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .filter(|element| !element.is_empty())
}

fn joined(headers: &HeaderMap, name: HeaderName, separator: &[u8]) -> HeaderValue {
    let mut all = BytesMut::new();
    for value in headers.get_all(name) {
        if !all.is_empty() {
            all.put_slice(separator);
        }
        all.put_slice(value.as_bytes());
    }
    HeaderValue::from_maybe_shared(all.freeze())
        .expect("legal values joined by legal bytes are a legal value")
}

#[cfg(test)]
mod tests {
    use super::{add_forwarded, join_cookies, remove_hop_by_hop, remove_nominated};
    use crate::listener::Client;
    use http::{HeaderMap, HeaderName, HeaderValue};

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pair = |&(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value));
        let mut headers = HeaderMap::new();
        for (name, value) in pairs.iter().map(pair) {
            headers.append(name, value);
        }
        headers
    }

    #[test]
    fn what_connection_names_is_removed_and_what_concerns_the_connection_stays() {
        let mut received = headers(&[
            ("host", "h"),
            ("connection", "X-Private, upgrade"),
            ("connection", "host, close"),
            ("x-private", "1"),
            ("upgrade", "websocket"),
        ]);
        remove_nominated(&mut received);
        let kept =
            headers(&[("host", "h"), ("connection", "upgrade, host, close"), ("upgrade", "websocket")]);
        assert_eq!(received, kept);
    }

    #[test]
    fn hop_by_hop_fields_go_and_the_trailer_field_stays() {
        let mut received = headers(&[
            ("connection", "keep-alive, x-private"),
            ("keep-alive", "timeout=5"),
            ("te", "trailers"),
            ("transfer-encoding", "chunked"),
            ("trailer", "x-sum"),
            ("x-private", "1"),
        ]);
        remove_hop_by_hop(&mut received);
        assert_eq!(received, headers(&[("trailer", "x-sum")]));
    }

    #[test]
    fn cookies_become_one_field() {
        let mut received = headers(&[("cookie", "a=1"), ("cookie", "b=2")]);
        join_cookies(&mut received);
        assert_eq!(received, headers(&[("cookie", "a=1; b=2")]));
    }

    #[test]
    fn claims_about_client_host_and_scheme_are_replaced() {
        let mut received = headers(&[
            ("host", "h"),
            ("x-forwarded-for", "1.1.1.1"),
            ("x-forwarded-for", "2.2.2.2"),
            ("x-forwarded-host", "evil"),
            ("x-forwarded-proto", "https"),
        ]);
        add_forwarded(&mut received, Client { addr: ([3, 3, 3, 3], 1).into(), tls: false });
        let sent = headers(&[
            ("host", "h"),
            ("x-forwarded-for", "3.3.3.3"),
            ("x-forwarded-host", "h"),
            ("x-forwarded-proto", "http"),
        ]);
        assert_eq!(received, sent);
    }
}

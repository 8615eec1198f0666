//! Header fields that a proxy removes or adds.

use bytes::{BufMut as _, BytesMut};
use http::HeaderMap;
use http::header::{self, HeaderName, HeaderValue};

use crate::listener::Client;
use crate::names::{Claim, are_same, folds_to, is_hop_by_hop, is_twin_of_ours, remove_all};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Removes what `Connection` names, as RFC 9110 section 7.6.1 demands, and leaves in `Connection` what concerns the
/// connection itself.
pub(crate) fn remove_nominated(headers: &mut HeaderMap) {
    let nominated: Vec<String> = list(headers, header::CONNECTION)
        .filter(|option| names_private_field(option))
        .map(str::to_ascii_lowercase)
        .collect();
    if nominated.is_empty() {
        return;
    }
    let kept: Vec<&str> =
        list(headers, header::CONNECTION).filter(|option| !names_private_field(option)).collect();
    let kept = HeaderValue::from_str(&kept.join(", ")).ok().filter(|kept| !kept.is_empty());
    remove_all(headers, |name| nominated.iter().any(|nominated| are_same(name.as_str(), nominated)));
    headers.remove(header::CONNECTION);
    if let Some(kept) = kept {
        headers.insert(header::CONNECTION, kept);
    }
}

/// Whether an option of `Connection` names a field that has to go with it. Routing, framing and who the client is are never a connection's
/// private matter, and what concerns the connection itself is seen to elsewhere.
fn names_private_field(option: &str) -> bool {
    let others = ["close", "host", "content-length"];
    !is_hop_by_hop(option)
        && Claim::of(option).is_none()
        && !others.iter().any(|other| folds_to(option.as_bytes(), other))
}

/// Removes all that concerns one connection alone, and what could pass for a field that is set here.
pub(super) fn remove_hop_by_hop(headers: &mut HeaderMap) {
    remove_nominated(headers);
    remove_all(headers, |name| is_hop_by_hop(name.as_str()) || is_twin_of_ours(name.as_str()));
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

/// Says who asked for what. What the client claims about it the listener has dropped; the host that a trusted proxy names stays.
pub(super) fn add_forwarded(headers: &mut HeaderMap, client: Client) {
    if let Ok(peer) = HeaderValue::try_from(client.addr.ip().to_string()) {
        headers.insert(X_FORWARDED_FOR, peer);
    }
    if !headers.contains_key(X_FORWARDED_HOST)
        && let Some(host) = headers.get(header::HOST).cloned()
    {
        headers.insert(X_FORWARDED_HOST, host);
    }
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
    fn a_field_is_named_by_connection_in_whichever_way_it_is_spelled_and_who_the_client_is_stays() {
        let mut received = headers(&[
            ("connection", "X_Private, X-Other, x-real-ip, x_forwarded_for"),
            ("x-private", "1"),
            ("x_other", "1"),
            ("x-real-ip", "1.1.1.1"),
        ]);
        remove_nominated(&mut received);
        let kept = headers(&[("connection", "x-real-ip, x_forwarded_for"), ("x-real-ip", "1.1.1.1")]);
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
            ("content-length", "1"),
            ("content_length", "2"),
            ("transfer_encoding", "chunked"),
            ("keep_alive", "1"),
            ("proxy_authorization", "1"),
            ("x-forwarded_for", "1.1.1.1"),
            ("grpc_metadata", "1"),
        ]);
        remove_hop_by_hop(&mut received);
        let kept = [("trailer", "x-sum"), ("content-length", "1"), ("grpc_metadata", "1")];
        assert_eq!(received, headers(&kept));
    }

    #[test]
    fn cookies_become_one_field() {
        let mut received = headers(&[("cookie", "a=1"), ("cookie", "b=2")]);
        join_cookies(&mut received);
        assert_eq!(received, headers(&[("cookie", "a=1; b=2")]));
    }

    #[test]
    fn the_upstream_is_told_of_client_host_and_scheme() {
        let mut received = headers(&[
            ("host", "h"),
            ("x-forwarded-for", "1.1.1.1"),
            ("x-forwarded-for", "2.2.2.2"),
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

    #[test]
    fn a_host_that_a_trusted_proxy_names_stays() {
        let mut received = headers(&[("host", "h"), ("x-forwarded-host", "first")]);
        add_forwarded(&mut received, Client { addr: ([3, 3, 3, 3], 1).into(), tls: false });
        assert_eq!(received["x-forwarded-host"], "first");
    }
}

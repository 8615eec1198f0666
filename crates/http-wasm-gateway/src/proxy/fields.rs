//! Header fields that a proxy removes or adds.

use http::HeaderMap;
use http::header::{self, HeaderName, HeaderValue};

use crate::connection_options::remove_nominated;
use crate::exchange::Client;
use crate::field_values::joined_cookies;
use crate::known_fields::KnownFields;
use crate::names::{is_hop_by_hop, is_variant_of_own_field, remove_all};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Removes all connection-level fields, and fields that could be mistaken for those that the proxy sets, from a
/// head with these known fields.
pub(super) fn remove_hop_by_hop(headers: &mut HeaderMap, known: KnownFields) {
    if known.has(KnownFields::CONNECTION) {
        remove_nominated(headers);
    }
    for (field, name) in [
        (KnownFields::CONNECTION, header::CONNECTION),
        (KnownFields::TE, header::TE),
        (KnownFields::TRANSFER_ENCODING, header::TRANSFER_ENCODING),
        (KnownFields::UPGRADE, header::UPGRADE),
    ] {
        if known.has(field) {
            headers.remove(name);
        }
    }
    if known.has(KnownFields::OTHER_HOP_BY_HOP) {
        remove_all(headers, |name| is_hop_by_hop(name.as_str()) || is_variant_of_own_field(name.as_str()));
    }
}

/// HTTP/2 may split cookies into several fields, HTTP/1.1 may not (RFC 9113 section 8.2.3).
pub(super) fn join_cookies(headers: &mut HeaderMap) {
    let crumbs = headers.get_all(header::COOKIE);
    if crumbs.iter().nth(1).is_some() {
        let joined = joined_cookies(crumbs.iter().skip_while(|crumb| crumb.is_empty()));
        headers.insert(header::COOKIE, joined);
    }
}

/// Adds the fields about the client; `address` is its address as a field value, if the listener has made one. The
/// listener has already dropped those that the client itself sent. The host from a trusted proxy is kept.
pub(super) fn add_forwarded(headers: &mut HeaderMap, client: Client, address: Option<HeaderValue>) {
    if let Some(address) = address.or_else(|| client.address_value()) {
        headers.insert(X_FORWARDED_FOR, address);
    }
    if !headers.contains_key(X_FORWARDED_HOST)
        && let Some(host) = headers.get(header::HOST).cloned()
    {
        headers.insert(X_FORWARDED_HOST, host);
    }
    let scheme = if client.tls { "https" } else { "http" };
    headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static(scheme));
}

#[cfg(test)]
mod tests {
    use super::{add_forwarded, join_cookies, remove_hop_by_hop};
    use crate::exchange::Client;
    use crate::known_fields::KnownFields;
    use crate::testing::headers;

    #[test]
    fn hop_by_hop_fields_are_removed_and_the_trailer_field_is_kept() {
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
        let known = KnownFields::of(&received);
        remove_hop_by_hop(&mut received, known);
        let kept = [("trailer", "x-sum"), ("content-length", "1"), ("grpc_metadata", "1")];
        assert_eq!(received, headers(&kept));
    }

    #[test]
    fn cookie_fields_are_joined_into_one() {
        let mut received = headers(&[("cookie", "a=1"), ("cookie", "b=2")]);
        join_cookies(&mut received);
        assert_eq!(received, headers(&[("cookie", "a=1; b=2")]));
    }

    #[test]
    fn the_upstream_gets_forwarded_fields_for_client_host_and_scheme() {
        let mut received = headers(&[
            ("host", "h"),
            ("x-forwarded-for", "1.1.1.1"),
            ("x-forwarded-for", "2.2.2.2"),
            ("x-forwarded-proto", "https"),
        ]);
        add_forwarded(&mut received, Client { addr: ([3, 3, 3, 3], 1).into(), tls: false }, None);
        let sent = headers(&[
            ("host", "h"),
            ("x-forwarded-for", "3.3.3.3"),
            ("x-forwarded-host", "h"),
            ("x-forwarded-proto", "http"),
        ]);
        assert_eq!(received, sent);
    }

    #[test]
    fn a_forwarded_host_from_a_trusted_proxy_is_kept() {
        let mut received = headers(&[("host", "h"), ("x-forwarded-host", "first")]);
        add_forwarded(&mut received, Client { addr: ([3, 3, 3, 3], 1).into(), tls: false }, None);
        assert_eq!(received["x-forwarded-host"], "first");
    }
}

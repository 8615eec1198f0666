//! Determines which fields may be trailers.
//!
//! A field at the end of a message must not declare what had to be known at its start, and a recipient may merge
//! trailers into the head (RFC 9110 section 6.5.1). Fields that framing, routing, authentication or the interpretation
//! of content depend on are therefore never passed on as trailers. Neither are fields in which proxies identify the
//! client: these were checked in the head, and could be forged here.

use http::{HeaderMap, HeaderName, HeaderValue, header};
use http_body::Frame;

use crate::names::{Claim, is_hop_by_hop, remove_all};

/// Forbidden in addition to connection-level fields and claims about the client. `_` in a name counts as `-`, as it
/// does for programs that receive fields as variables.
const FORBIDDEN: &[&str] = &[
    "accept-ranges",
    "age",
    "authentication-info",
    "authorization",
    "cache-control",
    "cdn-loop",
    "content-encoding",
    "content-length",
    "content-location",
    "content-range",
    "content-type",
    "cookie",
    "cookie2",
    "date",
    "expect",
    "expires",
    "front-end-https",
    "host",
    "http2-settings",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "location",
    "max-forwards",
    "origin",
    "pragma",
    "proxy",
    "proxy-authentication-info",
    "range",
    "referer",
    "retry-after",
    "set-cookie",
    "set-cookie2",
    "strict-transport-security",
    "trailer",
    "vary",
    "via",
    "warning",
    "www-authenticate",
    "x-http-method-override",
    "x-original-uri",
    "x-request-id",
    "traceparent",
    "tracestate",
];

/// Prefixes of families of such fields.
const FORBIDDEN_PREFIXES: &[&str] = &["access-control-", "sec-"];

/// Whether a field of this name may be a trailer. Names are in lower case, as in a `HeaderMap`.
pub(crate) fn may_be_trailer(name: &str) -> bool {
    let folded;
    let name = if name.contains('_') {
        folded = name.replace('_', "-");
        &folded
    } else {
        name
    };
    Claim::of(name).is_none()
        && !is_hop_by_hop(name)
        && !FORBIDDEN.contains(&name)
        && !FORBIDDEN_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// Removes forbidden trailers from a frame. Returns `None` if none are left.
pub(crate) fn filter<D>(frame: Frame<D>) -> Option<Frame<D>> {
    filter_with(frame, |_| false)
}

/// Like [`filter`], but also removes trailers for which `is_unwanted` returns true.
pub(crate) fn filter_with<D>(frame: Frame<D>, is_unwanted: impl Fn(&HeaderName) -> bool) -> Option<Frame<D>> {
    if !frame.is_trailers() {
        return Some(frame);
    }
    let mut trailers = frame.into_trailers().unwrap_or_default();
    remove_all(&mut trailers, |name| !may_be_trailer(name.as_str()) || is_unwanted(name));
    (!trailers.is_empty()).then(|| Frame::trailers(trailers))
}

/// Keeps only the names of fields that may be trailers in `Trailer`.
pub(crate) fn retain_announced(headers: &mut HeaderMap) {
    let values = headers.get_all(header::TRAILER).iter();
    let names = values.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    let names = names.map(str::trim).filter(|name| !name.is_empty());
    let (mut all, mut kept) = (0, Vec::new());
    for name in names {
        all += 1;
        if HeaderName::from_bytes(name.as_bytes()).is_ok_and(|name| may_be_trailer(name.as_str())) {
            kept.push(name);
        }
    }
    if kept.len() == all && all > 0 {
        return;
    }
    match HeaderValue::from_str(&kept.join(", ")) {
        Ok(kept) if !kept.is_empty() => drop(headers.insert(header::TRAILER, kept)),
        _ => drop(headers.remove(header::TRAILER)),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::{HeaderMap, HeaderValue};
    use http_body::Frame;

    use super::{FORBIDDEN, filter_with, may_be_trailer, retain_announced};

    /// Forbidden by other rules than the list.
    const OTHERS: &[&str] = &[
        "x-forwarded",
        "x-forwarded-for",
        "x-forwarded-anything",
        "sec-fetch-site",
        "cf-connecting-ip",
        "client-cert",
        "client-cert-chain",
        "forwarded",
        "true-client-ip",
        "x-client-ip",
        "x-cluster-client-ip",
        "x-original-url",
        "x-real-ip",
        "x-rewrite-url",
        "te",
        "upgrade",
        "connection",
        "keep-alive",
        "proxy-connection",
        "transfer-encoding",
        "proxy-authenticate",
        "proxy-authorization",
    ];

    #[test]
    fn fields_required_in_the_head_are_dropped_from_trailers_in_any_spelling() {
        for name in FORBIDDEN.iter().copied().chain(OTHERS.iter().copied()) {
            assert!(!may_be_trailer(name) && !may_be_trailer(&name.replace('-', "_")), "{name}");
        }
        for name in
            ["x-sum", "etag", "grpc-status", "grpc-message", "server-timing", "content-digest", "my_metadata"]
        {
            assert!(may_be_trailer(name), "{name}");
        }
    }

    #[test]
    fn other_trailers_are_kept_with_all_their_values() {
        let mut trailers = HeaderMap::new();
        for name in ["a", "host", "a", "content_length", "x-forwarded-for", "x-user", "b"] {
            trailers.append(name, HeaderValue::from_static("1"));
        }
        let frame = filter_with(Frame::<Bytes>::trailers(trailers), |name| name == "x-user");
        let trailers = frame.expect("others are left").into_trailers().expect("they are trailers");
        let mut names: Vec<_> = trailers.iter().map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        assert_eq!(names, ["a", "a", "b"]);
    }

    #[test]
    fn only_allowed_trailers_are_announced() {
        for (announced, kept) in [
            (&["X-Sum, etag"][..], &["X-Sum, etag"][..]),
            (&["x-sum", "etag"], &["x-sum", "etag"]),
            (&["x-sum, Host", "etag, te"], &["x-sum, etag"]),
            (&["x-sum, a b"], &["x-sum"]),
            (&["Host"], &[]),
            (&[" , "], &[]),
        ] {
            let mut headers = HeaderMap::new();
            for value in announced {
                headers.append("trailer", HeaderValue::from_static(value));
            }
            retain_announced(&mut headers);
            assert_eq!(headers.get_all("trailer").iter().collect::<Vec<_>>(), kept, "{announced:?}");
        }
    }
}

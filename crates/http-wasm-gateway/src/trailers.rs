//! Which fields may be trailers.
//!
//! A field at the end of a message must not say what had to be known at its beginning, and a recipient may merge trailers into the
//! head (RFC 9110 section 6.5.1). So fields on which framing, routing, authentication or the reading of content depend never pass as
//! trailers, nor those by which proxies tell who the client is: these were checked in the head and would be claimed anew here.

use http::{HeaderMap, HeaderValue, header};
use http_body::Frame;

/// `_` in a name counts as `-`, as it does for programs that get fields as variables.
const FORBIDDEN: &[&str] = &[
    "accept-ranges",
    "age",
    "authentication-info",
    "authorization",
    "cache-control",
    "cdn-loop",
    "cf-connecting-ip",
    "client-cert",
    "client-cert-chain",
    "connection",
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
    "forwarded",
    "front-end-https",
    "host",
    "http2-settings",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "keep-alive",
    "location",
    "max-forwards",
    "origin",
    "pragma",
    "proxy",
    "proxy-authenticate",
    "proxy-authentication-info",
    "proxy-authorization",
    "proxy-connection",
    "range",
    "referer",
    "retry-after",
    "set-cookie",
    "set-cookie2",
    "strict-transport-security",
    "te",
    "trailer",
    "transfer-encoding",
    "true-client-ip",
    "upgrade",
    "vary",
    "via",
    "warning",
    "www-authenticate",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-http-method-override",
    "x-original-uri",
    "x-original-url",
    "x-real-ip",
    "x-request-id",
    "x-rewrite-url",
    "traceparent",
    "tracestate",
];

/// Prefixes of families of such fields.
const FORBIDDEN_PREFIXES: &[&str] = &["x-forwarded-", "access-control-", "sec-"];

/// Whether a field of this name may be a trailer. Names are lower-case, as those of a `HeaderMap`.
pub(crate) fn may_be_trailer(name: &str) -> bool {
    let folded;
    let name = if name.contains('_') {
        folded = name.replace('_', "-");
        &folded
    } else {
        name
    };
    !FORBIDDEN.contains(&name)
        && name != "x-forwarded"
        && !FORBIDDEN_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// A frame of a body without trailers that may be none; nothing if it had no others.
pub(crate) fn filter<D>(frame: Frame<D>) -> Option<Frame<D>> {
    if !frame.is_trailers() {
        return Some(frame);
    }
    let mut trailers = frame.into_trailers().unwrap_or_default();
    retain(&mut trailers);
    (!trailers.is_empty()).then(|| Frame::trailers(trailers))
}

fn retain(trailers: &mut HeaderMap) {
    while let Some(name) = trailers.keys().find(|name| !may_be_trailer(name.as_str())).cloned() {
        trailers.remove(name);
    }
}

/// Leaves in `Trailer` the names of those that may be trailers.
pub(crate) fn retain_announced(headers: &mut HeaderMap) {
    let values = headers.get_all(header::TRAILER).iter();
    let names = values.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    let names = names.map(str::trim).filter(|name| !name.is_empty());
    let (mut all, mut kept) = (0, Vec::new());
    for name in names {
        all += 1;
        if header::HeaderName::from_bytes(name.as_bytes()).is_ok_and(|name| may_be_trailer(name.as_str())) {
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
    use http::{HeaderMap, HeaderValue};

    use super::{FORBIDDEN, may_be_trailer, retain, retain_announced};

    #[test]
    fn fields_that_had_to_be_known_before_are_no_trailers_however_they_are_spelled() {
        for name in
            FORBIDDEN.iter().copied().chain(["x-forwarded-for", "x-forwarded-anything", "sec-fetch-site"])
        {
            assert!(!may_be_trailer(name) && !may_be_trailer(&name.replace('-', "_")), "{name}");
        }
        for name in
            ["x-sum", "etag", "grpc-status", "grpc-message", "server-timing", "content-digest", "my_metadata"]
        {
            assert!(may_be_trailer(name), "{name}");
        }
    }

    #[test]
    fn the_others_stay_with_all_their_values() {
        let mut trailers = HeaderMap::new();
        for name in ["a", "host", "a", "content_length", "x-forwarded-for", "b"] {
            trailers.append(name, HeaderValue::from_static("1"));
        }
        retain(&mut trailers);
        let mut names: Vec<_> = trailers.iter().map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        assert_eq!(names, ["a", "a", "b"]);
    }

    #[test]
    fn only_they_are_announced() {
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

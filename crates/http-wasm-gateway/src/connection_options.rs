//! The `Connection` header field, and the fields that it nominates.

use http::HeaderMap;
use http::header::{self, HeaderValue};

use crate::names::{Claim, are_variants, folds_to, is_hop_by_hop, remove_all};

/// Removes the fields listed in `Connection`, as RFC 9110 section 7.6.1 requires, and keeps in `Connection` only what
/// concerns the connection itself.
pub(crate) fn remove_nominated(headers: &mut HeaderMap) {
    if headers.get_all(header::CONNECTION).iter().all(is_usual) {
        return;
    }
    let nominated: Vec<String> =
        options(headers).filter(|option| names_private_field(option)).map(str::to_ascii_lowercase).collect();
    if nominated.is_empty() {
        return;
    }
    let kept: Vec<&str> = options(headers).filter(|option| !names_private_field(option)).collect();
    let kept = HeaderValue::from_str(&kept.join(", ")).ok().filter(|kept| !kept.is_empty());
    remove_all(headers, |name| nominated.iter().any(|nominated| are_variants(name.as_str(), nominated)));
    headers.remove(header::CONNECTION);
    if let Some(kept) = kept {
        headers.insert(header::CONNECTION, kept);
    }
}

/// Whether a value of `Connection` is one that most messages have, and that lists no field.
fn is_usual(value: &HeaderValue) -> bool {
    ["keep-alive", "close", "upgrade"]
        .iter()
        .any(|usual| value.as_bytes().eq_ignore_ascii_case(usual.as_bytes()))
}

/// Whether an option of `Connection` lists a field that must be removed. Routing, framing and the client's identity are
/// never private to a connection, and what concerns the connection itself is handled elsewhere.
fn names_private_field(option: &str) -> bool {
    let others = ["close", "host", "content-length"];
    !is_hop_by_hop(option)
        && Claim::of(option).is_none()
        && !others.iter().any(|other| folds_to(option.as_bytes(), other))
}

/// Whether `Connection` has this option.
pub(crate) fn has_connection_option(headers: &HeaderMap, wanted: &str) -> bool {
    options(headers).any(|option| option.eq_ignore_ascii_case(wanted))
}

/// The options, in their order.
fn options(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .filter(|element| !element.is_empty())
}

#[cfg(test)]
mod tests {
    use super::remove_nominated;
    use crate::testing::headers;

    #[test]
    fn fields_named_by_connection_are_removed_and_connection_options_are_kept() {
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
    fn connection_names_fields_in_any_spelling_but_cannot_remove_client_address_fields() {
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
}

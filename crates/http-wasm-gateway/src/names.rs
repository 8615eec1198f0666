//! Names of header fields that have a meaning for the gateway.
//!
//! CGI, and interfaces with its conventions (WSGI, PHP, FastCGI), map `X-User` and `X_User` to the same variable.
//! Wherever a field is set, replaced or removed, names are therefore compared with `_` treated as `-`, and its variants
//! are removed with it.

use http::{HeaderMap, HeaderName};

/// What a client, or a proxy in front, may claim about the client or about the original request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Claim {
    /// `X-Forwarded-For`: the client, and the proxies after it.
    ForwardedFor,
    /// `X-Forwarded-Proto`: the scheme.
    ForwardedProto,
    /// `Forwarded`: both.
    Forwarded,
    /// Only the client's address.
    Address,
    /// Anything else.
    Other,
}

impl Claim {
    /// The claim made by a field with this name, or a variant of it.
    pub(crate) fn of(name: &str) -> Option<Self> {
        // Few names have this start and length, so most need no comparison.
        let name = name.as_bytes();
        let (claim, known) = match (name.first()?.to_ascii_lowercase(), name.len()) {
            (b'f', 9) => (Self::Forwarded, "forwarded"),
            (b't', 14) => (Self::Address, "true-client-ip"),
            (b'c', 16) => (Self::Address, "cf-connecting-ip"),
            (b'c', 11) => (Self::Other, "client-cert"),
            (b'c', 17) => (Self::Other, "client-cert-chain"),
            (b'x', 9) => (Self::Address, "x-real-ip"),
            (b'x', 11) if !is_forwarded(name) => (Self::Address, "x-client-ip"),
            (b'x', 19) if !is_forwarded(name) => (Self::Address, "x-cluster-client-ip"),
            (b'x', 14) if !is_forwarded(name) => (Self::Other, "x-original-url"),
            (b'x', 13) if !is_forwarded(name) => (Self::Other, "x-rewrite-url"),
            (b'x', 15) if folds_to(name, "x-forwarded-for") => return Some(Self::ForwardedFor),
            (b'x', 17) if folds_to(name, "x-forwarded-proto") => return Some(Self::ForwardedProto),
            (b'x', 11..) => return is_forwarded(name).then_some(Self::Other),
            _ => return None,
        };
        folds_to(name, known).then_some(claim)
    }
}

/// Whether it is `X-Forwarded`, or starts with `X-Forwarded-`.
fn is_forwarded(name: &[u8]) -> bool {
    const PREFIX: &str = "x-forwarded";
    name.split_at_checked(PREFIX.len()).is_some_and(|(begin, rest)| {
        folds_to(begin, PREFIX) && matches!(rest.first(), None | Some(b'-' | b'_'))
    })
}

/// Whether a name equals `other`, which is in lower case and has no underscores, or is a variant of it.
pub(crate) fn folds_to(name: &[u8], other: &str) -> bool {
    name.len() == other.len() && name.iter().zip(other.bytes()).all(|(&byte, other)| fold(byte) == other)
}

/// Whether two names are equal, or variants of each other.
pub(crate) fn are_variants(one: &str, other: &str) -> bool {
    one.len() == other.len() && one.bytes().zip(other.bytes()).all(|(one, other)| fold(one) == fold(other))
}

fn fold(byte: u8) -> u8 {
    if byte == b'_' { b'-' } else { byte.to_ascii_lowercase() }
}

/// Whether a field is connection-level, whether or not `Connection` lists it. `Trailer` isn't among them: only the
/// trailers that it lists are sent.
pub(crate) fn is_hop_by_hop(name: &str) -> bool {
    let known: &[&str] = match name.len() {
        2 => &["te"],
        7 => &["upgrade"],
        10 => &["connection", "keep-alive"],
        16 => &["proxy-connection"],
        17 => &["transfer-encoding"],
        18 => &["proxy-authenticate"],
        19 => &["proxy-authorization"],
        _ => return false,
    };
    known.iter().any(|known| folds_to(name.as_bytes(), known))
}

/// Whether it is a variant of a field that a proxy sets itself.
pub(crate) fn is_variant_of_own_field(name: &str) -> bool {
    let ours = match name.len() {
        14 => "content-length",
        15 => "x-forwarded-for",
        16 => "x-forwarded-host",
        17 => "x-forwarded-proto",
        _ => return false,
    };
    name.contains('_') && folds_to(name.as_bytes(), ours)
}

/// Keeps the fields whose names match. Their order, which guests can see, stays the same.
pub(crate) fn retain(headers: &mut HeaderMap, keep: impl Fn(&HeaderName) -> bool) {
    let mut kept = None;
    for (name, value) in std::mem::take(headers) {
        // Further values of a field have no name here.
        if let Some(name) = name {
            kept = keep(&name).then_some(name);
        }
        if let Some(name) = &kept {
            headers.append(name, value);
        }
    }
}

/// Removes all fields whose names match. The order of the others changes.
pub(crate) fn remove_all(headers: &mut HeaderMap, is_unwanted: impl Fn(&HeaderName) -> bool) {
    // Checking the fields that are present costs far less than looking up each possible one.
    while let Some(name) = headers.keys().find(|name| is_unwanted(name)).cloned() {
        headers.remove(name);
    }
}

/// Removes the variants of a field whose name has no underscores.
pub(crate) fn remove_variants(headers: &mut HeaderMap, of: &HeaderName) {
    remove_all(headers, |name| name != of && folds_to(name.as_str().as_bytes(), of.as_str()));
}

#[cfg(test)]
mod tests {
    use super::{Claim, remove_variants, retain};
    use http::{HeaderMap, HeaderName, HeaderValue};

    #[test]
    fn client_identity_fields_are_recognised_in_any_spelling() {
        for (name, claim) in [
            ("x-forwarded-for", Claim::ForwardedFor),
            ("x-forwarded-proto", Claim::ForwardedProto),
            ("forwarded", Claim::Forwarded),
            ("x-real-ip", Claim::Address),
            ("x-client-ip", Claim::Address),
            ("x-cluster-client-ip", Claim::Address),
            ("true-client-ip", Claim::Address),
            ("cf-connecting-ip", Claim::Address),
            ("x-forwarded", Claim::Other),
            ("x-forwarded-host", Claim::Other),
            ("x-forwarded-by", Claim::Other),
            ("x-forwarded-port", Claim::Other),
            ("x-forwarded-prefix", Claim::Other),
            ("x-forwarded-client-cert", Claim::Other),
            ("x-original-url", Claim::Other),
            ("x-rewrite-url", Claim::Other),
            ("client-cert", Claim::Other),
            ("client-cert-chain", Claim::Other),
        ] {
            assert_eq!(Claim::of(name), Some(claim), "{name}");
            assert_eq!(Claim::of(&name.replace('-', "_")), Some(claim), "{name}");
            assert_eq!(Claim::of(&name.replacen('-', "_", 1)), Some(claim), "{name}");
            assert_eq!(Claim::of(&format!("{name}s")).is_some(), name.starts_with("x-forwarded-"), "{name}s");
        }
        for name in [
            "host",
            "forwarder",
            "x",
            "x-forward",
            "x-forwardeds",
            "x-user",
            "x-request-id",
            "content-type",
            "cache-control",
            "x-real-id",
            "x-requested-with",
            "transfer-encod",
        ] {
            assert_eq!(Claim::of(name), None, "{name}");
        }
    }

    #[test]
    fn retained_fields_keep_their_order_and_all_values() {
        let mut headers = HeaderMap::new();
        for (name, value) in [("a", "1"), ("b", "1"), ("a", "2"), ("c", "1"), ("b", "2"), ("d", "1")] {
            headers.append(name, HeaderValue::from_static(value));
        }
        retain(&mut headers, |name| name != "b");
        let left: Vec<_> =
            headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
        assert_eq!(left, [("a", "1"), ("a", "2"), ("c", "1"), ("d", "1")]);
    }

    #[test]
    fn all_spellings_of_a_field_are_removed_and_other_fields_kept() {
        let mut headers = HeaderMap::new();
        for name in ["x-request-id", "x_request_id", "x-request_id", "x_request-ids", "xxrequestxid"] {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static("1"));
        }
        remove_variants(&mut headers, &HeaderName::from_static("x-request-id"));
        let left: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        assert_eq!(left.len(), 3, "{left:?}");
        assert!(!headers.contains_key("x_request_id") && !headers.contains_key("x-request_id"), "{left:?}");
    }
}

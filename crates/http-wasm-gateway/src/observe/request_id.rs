//! The ID of a request in the logs of the gateway, the guests and the upstream.

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::config;
use crate::names::remove_variants;
use crate::random::random;

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The maximum length of an ID from a client.
const MAX_BYTES: usize = 128;

/// Where request IDs come from, and where they are sent.
#[derive(Debug)]
pub(super) struct RequestIds {
    trust: bool,
    respond: bool,
}

impl RequestIds {
    pub(super) fn new(config: &config::RequestId) -> Self {
        Self { trust: config.trust, respond: config.respond }
    }

    /// Returns the request ID and sets the request's header to it. This is the client's own if it is trusted and valid,
    /// otherwise a new one.
    pub(super) fn assign(&self, headers: &mut HeaderMap) -> HeaderValue {
        let mut given = headers.get_all(X_REQUEST_ID).iter();
        let id = match (given.next(), given.next()) {
            (Some(id), None) if self.trust && is_plain(id) => id.clone(),
            _ => generate(),
        };
        remove_variants(headers, &X_REQUEST_ID);
        headers.insert(X_REQUEST_ID, id.clone());
        id
    }

    /// Adds the ID to the response, if configured.
    pub(super) fn add_to_response(&self, id: &HeaderValue, headers: &mut HeaderMap) {
        if self.respond {
            headers.insert(X_REQUEST_ID, id.clone());
        }
    }
}

/// Whether the ID can be written unchanged to any log, format and field.
fn is_plain(id: &HeaderValue) -> bool {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:+/=@".contains(byte);
    !id.is_empty() && id.len() <= MAX_BYTES && id.as_bytes().iter().all(plain)
}

/// Generates an ID: 128 random bits, in hexadecimal.
fn generate() -> HeaderValue {
    let id = format!("{:032x}", random(u128::from_ne_bytes));
    HeaderValue::try_from(id).expect("hexadecimal digits are a legal value")
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue};

    use super::{RequestIds, X_REQUEST_ID};

    fn named(trust: bool, given: &[&'static str]) -> HeaderValue {
        let mut headers = HeaderMap::new();
        for id in given {
            headers.append(X_REQUEST_ID, HeaderValue::from_static(id));
        }
        let id = RequestIds { trust, respond: false }.assign(&mut headers);
        assert_eq!(headers.get_all(X_REQUEST_ID).iter().collect::<Vec<_>>(), [&id]);
        id
    }

    #[test]
    fn a_clients_request_id_is_kept_only_if_trusted() {
        assert_eq!(named(true, &["abc-1"]), "abc-1");
        assert_ne!(named(false, &["abc-1"]), "abc-1");
    }

    #[test]
    fn invalid_request_ids_are_replaced_by_a_new_one() {
        for given in [&[][..], &["a", "b"], &[""], &["a b"], &["a\"b"], &["a,b"]] {
            let id = named(true, given);
            assert!(id.len() == 32 && id.as_bytes().iter().all(u8::is_ascii_hexdigit), "{given:?}: {id:?}");
        }
        assert_ne!(named(true, &[]), named(true, &[]));
    }
}

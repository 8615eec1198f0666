//! The name by which a request is known in all logs: ours, the guests' and the upstream's.

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::config;
use crate::names::remove_twins;
use crate::random::random;

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The longest that is taken from a client.
const MAX_BYTES: usize = 128;

/// Where requests have their names from, and who is told.
#[derive(Debug)]
pub(super) struct RequestIds {
    trust: bool,
    respond: bool,
}

impl RequestIds {
    pub(super) fn new(config: &config::RequestId) -> Self {
        Self { trust: config.trust, respond: config.respond }
    }

    /// The request's name, which its header has afterwards: the client's own, if that is trusted and plain, or a new
    /// one.
    pub(super) fn name(&self, headers: &mut HeaderMap) -> HeaderValue {
        let mut given = headers.get_all(X_REQUEST_ID).iter();
        let id = match (given.next(), given.next()) {
            (Some(id), None) if self.trust && is_plain(id) => id.clone(),
            _ => made(),
        };
        remove_twins(headers, &X_REQUEST_ID);
        headers.insert(X_REQUEST_ID, id.clone());
        id
    }

    /// Tells the client, if it is to know.
    pub(super) fn tell(&self, id: &HeaderValue, headers: &mut HeaderMap) {
        if self.respond {
            headers.insert(X_REQUEST_ID, id.clone());
        }
    }
}

/// Whether it can stand in any log, format and field as it is.
fn is_plain(id: &HeaderValue) -> bool {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:+/=@".contains(byte);
    !id.is_empty() && id.len() <= MAX_BYTES && id.as_bytes().iter().all(plain)
}

/// 128 bits by chance, in hexadecimal.
fn made() -> HeaderValue {
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
        let id = RequestIds { trust, respond: false }.name(&mut headers);
        assert_eq!(headers.get_all(X_REQUEST_ID).iter().collect::<Vec<_>>(), [&id]);
        id
    }

    #[test]
    fn a_clients_name_is_kept_only_where_that_is_trusted() {
        assert_eq!(named(true, &["abc-1"]), "abc-1");
        assert_ne!(named(false, &["abc-1"]), "abc-1");
    }

    #[test]
    fn what_is_doubtful_is_replaced_by_a_new_name() {
        for given in [&[][..], &["a", "b"], &[""], &["a b"], &["a\"b"], &["a,b"]] {
            let id = named(true, given);
            assert!(id.len() == 32 && id.as_bytes().iter().all(u8::is_ascii_hexdigit), "{given:?}: {id:?}");
        }
        assert_ne!(named(true, &[]), named(true, &[]));
    }
}

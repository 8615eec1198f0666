//! Request fields that a route removes before its guests see them.

use http::header::{ACCEPT_ENCODING, IF_RANGE, RANGE};
use http::{HeaderMap, HeaderValue};

use crate::config::{self, Strip};

/// What a route removes from requests.
#[derive(Clone, Copy)]
pub(super) struct Stripped {
    accept_encoding: bool,
    range: bool,
}

impl Stripped {
    pub(super) fn new(route: &config::Route) -> Self {
        // Envoy's requests are calls of the external processor. Their bodies contain the fields of the clients'
        // requests.
        let applies = route.ext_proc.is_none();
        Self {
            accept_encoding: applies && route.accept_encoding == Strip::Strip,
            range: applies && route.range == Strip::Strip,
        }
    }

    /// Removes the fields.
    pub(super) fn apply(self, headers: &mut HeaderMap) {
        if self.accept_encoding {
            // Without this field, a server may choose any coding.
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        }
        if self.range {
            headers.remove(RANGE);
            headers.remove(IF_RANGE);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_configured_request_headers_are_stripped() {
        let headers = |route: config::Route| {
            let mut headers = HeaderMap::new();
            for (name, value) in [("range", "bytes=0-1"), ("if-range", "\"a\""), ("accept-encoding", "br")] {
                headers.append(name, HeaderValue::from_static(value));
            }
            headers.append("accept-encoding", HeaderValue::from_static("gzip"));
            Stripped::new(&route).apply(&mut headers);
            let values = |name| {
                let values = headers.get_all(name).iter().map(|value| value.to_str().unwrap().to_owned());
                values.collect::<Vec<_>>().join(", ")
            };
            [values("range"), values("if-range"), values("accept-encoding")]
        };
        let route = config::Route::default;
        assert_eq!(headers(route()), ["bytes=0-1", "\"a\"", "br, gzip"]);
        let identity = config::Route { accept_encoding: Strip::Strip, ..route() };
        assert_eq!(headers(identity), ["bytes=0-1", "\"a\"", "identity"]);
        assert_eq!(headers(config::Route { range: Strip::Strip, ..route() }), ["", "", "br, gzip"]);
    }
}

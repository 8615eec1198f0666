//! URLs of upstreams.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use http::Uri;
use http::uri::{Authority, PathAndQuery, Scheme};

/// An upstream's URL: scheme, authority, and the path that is prepended to each request's path.
///
/// It displays as written, with references such as `${TOKEN}`.
#[derive(Clone)]
pub struct UpstreamUrl {
    scheme: Scheme,
    authority: Authority,
    /// Without a trailing slash; empty if the URL has no path.
    prefix: String,
    /// The URL as written, if references in it were replaced.
    written: Option<Arc<str>>,
}

impl UpstreamUrl {
    /// The same URL, displayed with the values of references.
    pub(crate) fn resolved(&self) -> Self {
        Self { written: None, ..self.clone() }
    }

    /// The same URL, displayed as `written`.
    pub(crate) fn shown_as(self, written: Arc<str>) -> Self {
        Self { written: Some(written), ..self }
    }

    /// Whether requests use TLS.
    pub fn is_tls(&self) -> bool {
        self.scheme == Scheme::HTTPS
    }

    /// The target of a request to the upstream: the request's path and query after the prefix.
    ///
    /// # Errors
    /// If prefix and path together exceed the maximum length of a URI.
    pub(crate) fn target(&self, request: &Uri) -> Result<PathAndQuery, http::Error> {
        Ok(match request.path_and_query() {
            None => PathAndQuery::from_static("/"),
            // `OPTIONS *` concerns the whole server, whatever the prefix.
            Some(own) if self.prefix.is_empty() || own.as_str() == "*" => own.clone(),
            Some(own) => PathAndQuery::try_from(format!("{}{own}", self.prefix))?,
        })
    }

    /// The URI of a target on this upstream.
    pub(crate) fn uri(&self, target: PathAndQuery) -> Uri {
        let mut parts = http::uri::Parts::default();
        parts.scheme = Some(self.scheme.clone());
        parts.authority = Some(self.authority.clone());
        parts.path_and_query = Some(target);
        Uri::from_parts(parts).expect("a scheme, an authority and a path are a URI")
    }
}

impl FromStr for UpstreamUrl {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const EXPECTED: &str = "expected http:// or https:// and a host, as in http://127.0.0.1:3000";
        if text.contains('#') {
            return Err("the URL must have no fragment");
        }
        let parts = text.parse::<Uri>().map_err(|_| EXPECTED)?.into_parts();
        let (Some(scheme), Some(authority)) = (parts.scheme, parts.authority) else {
            return Err(EXPECTED);
        };
        if scheme != Scheme::HTTP && scheme != Scheme::HTTPS {
            return Err(EXPECTED);
        }
        if authority.as_str().contains('@') {
            return Err("the URL must have no user name or password");
        }
        if authority.host().is_empty() {
            return Err("the URL's host is missing");
        }
        let port = authority.as_str().strip_prefix(authority.host()).unwrap_or_default();
        if !port.is_empty() && authority.port_u16().is_none_or(|port| port == 0) {
            return Err("the URL's port must be a number from 1 to 65535");
        }
        let path = parts.path_and_query.unwrap_or_else(|| PathAndQuery::from_static("/"));
        if path.query().is_some() {
            return Err("the URL must have no query");
        }
        Ok(Self { scheme, authority, prefix: path.path().trim_end_matches('/').to_owned(), written: None })
    }
}

impl fmt::Display for UpstreamUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.written {
            Some(written) => f.write_str(written),
            None => write!(f, "{}://{}{}", self.scheme, self.authority, self.prefix),
        }
    }
}

impl fmt::Debug for UpstreamUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The spelling makes no difference.
impl PartialEq for UpstreamUrl {
    fn eq(&self, other: &Self) -> bool {
        self.scheme == other.scheme && self.authority == other.authority && self.prefix == other.prefix
    }
}

impl Eq for UpstreamUrl {}

#[cfg(test)]
mod tests {
    use super::UpstreamUrl;

    fn joined(upstream: &str, request: &str) -> String {
        let upstream = upstream.parse::<UpstreamUrl>().expect("a valid upstream");
        let target = upstream.target(&request.parse().expect("a valid URI")).expect("a target");
        upstream.uri(target).to_string()
    }

    #[test]
    fn an_upstream_is_a_url_without_query_and_user() {
        for url in ["http://localhost", "https://example.com:8443/api", "http://[::1]:80/"] {
            assert!(url.parse::<UpstreamUrl>().is_ok(), "{url}");
        }
        for wrong in [
            "",
            "localhost:80",
            "/x",
            "ftp://h",
            "http://",
            "http://h/?q",
            "http://h/#f",
            "http://u:p@h",
            "http://h:65536",
            "http://h:0",
            "http://h:/",
        ] {
            assert!(wrong.parse::<UpstreamUrl>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_path_of_the_url_is_prepended_to_that_of_the_request() {
        assert_eq!(joined("http://h", "/a?b=c"), "http://h/a?b=c");
        assert_eq!(joined("http://h/", "/"), "http://h/");
        assert_eq!(joined("http://h/api", "/a"), "http://h/api/a");
        assert_eq!(joined("http://h/api/", "/a/?"), "http://h/api/a/?");
        assert_eq!(joined("https://h:1/api", "http://other/a"), "https://h:1/api/a");
        assert_eq!(joined("http://h", "//a%2Fb"), "http://h//a%2Fb");
    }

    #[test]
    fn a_joined_path_that_is_too_long_is_an_error() {
        let upstream = "http://h/api".parse::<UpstreamUrl>().expect("a valid upstream");
        let long = format!("/{}", "a".repeat(65_530)).parse().expect("a URI of legal length");
        assert!(upstream.target(&long).is_err());
    }
}

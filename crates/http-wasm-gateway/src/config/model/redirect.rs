//! Redirects, and the template of their target.

use std::fmt;
use std::str::FromStr;

use http::Uri;
use schemars::JsonSchema;
use serde::Serialize;

use crate::config::read::{Context, Located, Node, Value, as_text, parsed, section, suggestion};

/// A redirect.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
#[schemars(extend("required" = ["to"]))]
pub struct Redirect {
    /// The target: a URL or a path, such as `https://example.com` or `/new`. It may contain parts of the request:
    /// `{scheme}` is "http" or "https", `{host}` the requested host without port, `{path}` the path, and `{query}` the
    /// query with its question mark, or nothing. `https://{host}{path}{query}` redirects from HTTP to HTTPS. Braces
    /// themselves are doubled.
    pub to: Located<RedirectTarget>,
    /// 301, 302, 303, 307 or 308.
    pub status: Located<u16>,
    /// Whether the request's path and query are appended to `to`, which then has no query.
    pub keep_path: bool,
}

impl Default for Redirect {
    fn default() -> Self {
        Self { to: Located::default(), status: 308.into(), keep_path: false }
    }
}

section! { Redirect { to, status, keep_path } need [("to", r#"to = "https://example.com""#)] }

/// The target of a redirect, which may contain parts of the request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RedirectTarget {
    written: String,
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Scheme,
    Host,
    /// The path, with its leading slash.
    Path,
    /// The query and its question mark, unless the query is empty.
    Query,
    /// The path as part of a query, encoded.
    PathInQuery,
    /// The query, appended to another one.
    MoreQuery,
}

/// The parts of a request that a target may contain.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Requested<'a> {
    pub(crate) scheme: &'a str,
    /// Without port.
    pub(crate) host: Option<&'a str>,
    pub(crate) path: &'a str,
    pub(crate) query: Option<&'a str>,
}

const NAMES: [&str; 4] = ["scheme", "host", "path", "query"];

impl RedirectTarget {
    /// Whether the target has the request's path or query in it.
    pub(in crate::config) fn has_path(&self) -> bool {
        self.parts.iter().any(|part| !matches!(part, Part::Text(_) | Part::Scheme | Part::Host))
    }

    /// Whether the target has a query or a fragment, so that nothing that follows it is part of its path.
    pub(in crate::config) fn has_query(&self) -> bool {
        self.parts.iter().any(|part| matches!(part, Part::Text(text) if text.contains(['?', '#'])))
    }

    /// The same, with the request's path and query at its end.
    pub(crate) fn with_path(mut self) -> Self {
        self.join_path();
        self.parts.extend([Part::Path, Part::Query]);
        self
    }

    /// Whether it leads to `scheme` at the request's own host and path, so that a request with this scheme is
    /// redirected to itself.
    pub(in crate::config) fn leads_back(&self, scheme: &str) -> bool {
        // A host and a path that no target names.
        let (host, path) = ("request.invalid", "/-own-path-");
        let location = self.location(Requested { scheme, host: Some(host), path, query: None });
        location.is_some_and(|location| location == path || location == format!("{scheme}://{host}{path}"))
    }

    /// The value of `Location`. None if the request has no host that can be in one.
    pub(crate) fn location(&self, requested: Requested<'_>) -> Option<String> {
        let mut location = String::with_capacity(self.written.len() + requested.path.len());
        // `*` and the empty path of CONNECT would be appended to the text before them.
        let path = if requested.path.starts_with('/') { requested.path } else { "/" };
        let query = requested.query.filter(|query| !query.is_empty());
        for part in &self.parts {
            match part {
                Part::Text(text) => location += text,
                Part::Scheme => location += requested.scheme,
                Part::Host => location += requested.host.filter(|host| is_host(host))?,
                // Browsers take two slashes, or a slash and a backslash, for the start of a host.
                Part::Path if location.is_empty() => {
                    location.push('/');
                    location += path.trim_start_matches(['/', '\\']);
                }
                Part::Path => location += path,
                Part::PathInQuery => encode(path, &mut location),
                Part::Query => {
                    if let Some(query) = query {
                        location.push('?');
                        location += query;
                    }
                }
                Part::MoreQuery => location += query.unwrap_or_default(),
            }
        }
        Some(location)
    }

    /// Removes the slash at the end, since the path that follows starts with one. `//` before a host stays.
    fn join_path(&mut self) {
        if let Some(Part::Text(text)) = self.parts.last_mut() {
            let kept = text.trim_end_matches('/').len();
            if !text[..kept].ends_with(':') {
                text.truncate(kept);
            }
            if text.is_empty() {
                self.parts.pop();
            }
        }
    }

    fn push(&mut self, name: &str, in_query: bool) -> Result<(), String> {
        let last = match self.parts.last() {
            Some(Part::Text(text)) => text.as_str(),
            _ => "",
        };
        let part = match name {
            "scheme" => Part::Scheme,
            "host" => Part::Host,
            "path" if in_query => Part::PathInQuery,
            "path" => {
                self.join_path();
                Part::Path
            }
            // With its question mark or without means the same.
            "query" if in_query && last.ends_with('?') => {
                if let Some(Part::Text(text)) = self.parts.last_mut() {
                    text.pop();
                }
                Part::Query
            }
            "query" if in_query && last.ends_with('&') => Part::MoreQuery,
            "query" if in_query => return Err("in a query, `{query}` must follow `?` or `&`".to_owned()),
            "query" => Part::Query,
            other => {
                let help = suggestion(other, NAMES)
                    .unwrap_or_else(|| "expected {scheme}, {host}, {path} or {query}".to_owned());
                return Err(format!("unknown part `{{{other}}}`: {help}"));
            }
        };
        self.parts.push(part);
        Ok(())
    }
}

impl FromStr for RedirectTarget {
    type Err = String;

    fn from_str(written: &str) -> Result<Self, Self::Err> {
        let mut target = Self { written: written.to_owned(), parts: Vec::new() };
        let (mut rest, mut text) = (written, String::new());
        let mut in_query = false;
        while let Some(brace) = rest.find(['{', '}']) {
            text += &rest[..brace];
            let (at, after) = rest[brace..].split_at(1);
            rest = after;
            if let Some(after) = rest.strip_prefix(at) {
                // Doubled.
                text += at;
                rest = after;
                continue;
            }
            let Some((name, after)) = rest.split_once('}').filter(|_| at == "{") else {
                return Err("unmatched brace; a literal brace is doubled, as in `{{`".to_owned());
            };
            in_query |= text.contains('?');
            if !text.is_empty() {
                target.parts.push(Part::Text(std::mem::take(&mut text)));
            }
            target.push(name, in_query)?;
            in_query |= name == "query";
            rest = after;
        }
        text += rest;
        if !text.is_empty() {
            target.parts.push(Part::Text(text));
        }
        target.check()?;
        Ok(target)
    }
}

impl RedirectTarget {
    /// Checks that each request gets a URL or a path.
    fn check(&self) -> Result<(), String> {
        let starts_well = match &self.parts[..] {
            [Part::Text(text), ..] => {
                text.starts_with("http://") || text.starts_with("https://") || text.starts_with('/')
            }
            [Part::Scheme, Part::Text(text), ..] => text.starts_with("://"),
            [Part::Path, ..] => true,
            _ => false,
        };
        let sample =
            Requested { scheme: "http", host: Some("host.example"), path: "/path", query: Some("a=b") };
        let location = self.location(sample).unwrap_or_default();
        if !starts_well || location.parse::<Uri>().is_err() {
            return Err("expected a URL or a path, as in `https://{host}{path}{query}` or `/new`".to_owned());
        }
        Ok(())
    }
}

/// Whether a host can be in a URL without ending it: clients choose it.
fn is_host(host: &str) -> bool {
    let is_name =
        |host: &str| host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
    let is_address =
        |address: &str| address.bytes().all(|byte| byte.is_ascii_hexdigit() || b":.".contains(&byte));
    match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(address) => is_address(address),
        None => !host.is_empty() && is_name(host),
    }
}

/// Appends a path as the value of a query's parameter.
fn encode(path: &str, text: &mut String) {
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            text.push(char::from(byte));
        } else {
            *text += &format!("%{byte:02X}");
        }
    }
}

impl fmt::Display for RedirectTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written)
    }
}

impl Value for RedirectTarget {
    fn read(node: &Node<'_>, context: &mut Context) -> Option<Self> {
        parsed(node, "redirect target", context)
    }
}

as_text!(RedirectTarget);

#[cfg(test)]
mod tests {
    use super::{RedirectTarget, Requested};

    const PLAIN: Requested<'_> =
        Requested { scheme: "http", host: Some("a.example"), path: "/x", query: Some("q=1") };

    fn target(to: &str) -> RedirectTarget {
        to.parse().unwrap_or_else(|error| panic!("{to}: {error}"))
    }

    fn location(to: &str, requested: Requested<'_>) -> Option<String> {
        target(to).location(requested)
    }

    #[test]
    fn parts_of_the_request_are_inserted() {
        for (to, expected) in [
            ("https://{host}{path}{query}", "https://a.example/x?q=1"),
            ("https://{host}{path}?{query}", "https://a.example/x?q=1"),
            ("https://{host}:8443/{path}", "https://a.example:8443/x"),
            ("https://www.{host}/", "https://www.a.example/"),
            ("{scheme}://new.example{path}", "http://new.example/x"),
            ("/new{path}{query}", "/new/x?q=1"),
            ("/new/{path}", "/new/x"),
            ("{path}", "/x"),
            ("/login?next={path}", "/login?next=/x"),
            ("/login?a=b&{query}", "/login?a=b&q=1"),
            ("/{{x}}", "/{x}"),
        ] {
            // A URI has no braces.
            match to.parse::<RedirectTarget>() {
                Ok(target) => assert_eq!(target.location(PLAIN).as_deref(), Some(expected), "{to}"),
                Err(error) => assert!(to.contains("{{"), "{to}: {error}"),
            }
        }
        let bare = Requested { query: None, ..PLAIN };
        assert_eq!(location("https://{host}{path}?{query}", bare).unwrap(), "https://a.example/x");
        let empty = Requested { query: Some(""), ..PLAIN };
        assert_eq!(location("https://{host}{path}{query}", empty).unwrap(), "https://a.example/x");
    }

    #[test]
    fn no_request_path_can_redirect_to_a_site_other_than_the_targets() {
        let with_path = |path| Requested { path, ..PLAIN };
        for path in ["//evil.example/a", "/\\evil.example/a", "///evil.example/a", "/\\/evil.example/a"] {
            for to in ["{path}", "/{path}", "{path}{query}", "//{path}"] {
                let location = location(to, with_path(path)).unwrap();
                assert!(location.starts_with("/evil.example/a"), "{to} {path}: {location}");
            }
            assert!(
                target("/").with_path().location(with_path(path)).unwrap().starts_with("/evil.example/a")
            );
            let safe = location("https://new.example{path}", with_path(path)).unwrap();
            assert!(safe.starts_with("https://new.example/"), "{safe}");
        }
        for path in ["*", "", ".evil.example", "@evil.example"] {
            assert_eq!(
                location("https://new.example{path}", with_path(path)).unwrap(),
                "https://new.example/"
            );
        }
        for host in
            ["a@evil.example", "evil.example/", "evil.example#", "evil\\x", "a\r\nb", "", "a:80", "[::1]x"]
        {
            let requested = Requested { host: Some(host), ..PLAIN };
            assert_eq!(location("https://{host}.new.example/", requested), None, "{host}");
        }
        assert_eq!(location("https://{host}/", Requested { host: None, ..PLAIN }), None);
        let v6 = Requested { host: Some("[::1]"), ..PLAIN };
        assert_eq!(location("https://{host}{path}", v6).unwrap(), "https://[::1]/x");
    }

    #[test]
    fn a_path_inserted_into_a_query_is_percent_encoded() {
        let requested = Requested { path: "/a&admin=1+%2f#", ..PLAIN };
        assert_eq!(
            location("/login?next={path}", requested).unwrap(),
            "/login?next=/a%26admin%3D1%2B%252f%23"
        );
    }

    #[test]
    fn a_redirect_target_must_be_a_url_or_a_path() {
        for to in [
            "",
            "new",
            "ftp://h/",
            "{host}{path}",
            "https://{path}",
            "https://",
            "{scheme}",
            "{query}",
            "/{pth}",
            "/{path",
            "/path}",
            "https://a b/",
            "/a{b}?{query}",
            "/?a={query}",
        ] {
            assert!(to.parse::<RedirectTarget>().is_err(), "{to}");
        }
        assert!("/{pth}".parse::<RedirectTarget>().unwrap_err().contains("did you mean `path`?"));
    }

    #[test]
    fn a_redirect_target_that_loops_back_to_the_request_is_recognised() {
        for (to, http, https) in [
            ("https://{host}{path}{query}", false, true),
            ("{scheme}://{host}{path}", true, true),
            ("{path}", true, true),
            ("https://{host}:8443{path}", false, false),
            ("https://www.{host}{path}", false, false),
        ] {
            let target = target(to);
            assert_eq!((target.leads_back("http"), target.leads_back("https")), (http, https), "{to}");
        }
    }
}

//! The conditions of a route, and when one condition covers another.

mod path;

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use http::uri::Authority;
use http::{HeaderMap, HeaderName, Method};
use idna::AsciiDenyList;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Serialize;
use toml::de::DeValue;

use crate::config::read::{Context, Node, Value, as_text, parsed};

pub use self::path::{ExactPath, PathPattern, PathPrefix};

/// A requested host: "example.com", or "*.example.com" for all of its subdomains. Ports and case are ignored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPattern {
    /// In lower case, without the asterisk.
    name: String,
    below: bool,
}

impl HostPattern {
    /// Whether this host matches. It must be in lower case and have no port.
    pub fn fits(&self, host: &str) -> bool {
        if self.below {
            host.len() > self.name.len() && host.ends_with(&self.name)
        } else {
            host == self.name
        }
    }

    /// Whether every host that matches `other` matches this pattern.
    pub(in crate::config) fn covers(&self, other: &Self) -> bool {
        self == other || self.below && other.name.len() > self.name.len() && other.name.ends_with(&self.name)
    }
}

impl FromStr for HostPattern {
    type Err = Cow<'static, str>;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const EXPECTED: &str = "expected a host name such as \"example.com\" or \"*.example.com\"";
        let (rest, below) = match text.strip_prefix('*').map(|rest| rest.strip_prefix('.')) {
            Some(Some(rest)) => (rest, true),
            Some(None) => return Err("an asterisk must be followed by a dot, as in \"*.example.com\"".into()),
            None => (text, false),
        };
        if let Some(name) = text.strip_prefix('.').filter(|name| !name.is_empty() && !name.starts_with('.')) {
            return Err(format!("for all subdomains, write \"*.{name}\"").into());
        }
        if rest.contains(['*', '/', '@', ' ', '?', '#']) {
            return Err(EXPECTED.into());
        }
        if !rest.is_ascii() {
            return Err(in_punycode(rest, if below { "*." } else { "" }).into());
        }
        if !rest.starts_with('[') && rest.contains(':') {
            return Err("a host can't have a port here: the listener determines the port".into());
        }
        // Requests are compared without the dot of the root.
        let rest = rest.strip_suffix('.').unwrap_or(rest);
        let is_host = rest.parse::<Authority>().is_ok_and(|host| host.host() == rest);
        if !is_host || rest.starts_with('.') || rest.contains(',') {
            return Err(EXPECTED.into());
        }
        Ok(Self { name: format!("{}{}", if below { "." } else { "" }, rest.to_ascii_lowercase()), below })
    }
}

/// What to write instead of a name that isn't ASCII, which no request has.
fn in_punycode(name: &str, before: &str) -> String {
    match idna::domain_to_ascii_cow(name.as_bytes(), AsciiDenyList::URL) {
        Ok(ascii) => format!("requests have the ASCII form of this name: write \"{before}{ascii}\""),
        Err(_) => "requests have the ASCII form of a name (Punycode), which starts with \"xn--\"".to_owned(),
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", if self.below { "*" } else { "" }, self.name)
    }
}

impl Value for HostPattern {
    fn read(node: &Node<'_>, context: &mut Context) -> Option<Self> {
        parsed(node, "host", context)
    }
}

/// A method, in capitals as on the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MethodName(pub Method);

impl FromStr for MethodName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let upper = text.to_ascii_uppercase();
        match Method::from_bytes(text.as_bytes()) {
            // Methods are case-sensitive, so a known one in lower case would never match.
            Ok(_) if upper != text => Err(format!("methods are written in capitals: \"{upper}\"")),
            Ok(method) => Ok(Self(method)),
            Err(_) => Err("expected one such as \"GET\"".to_owned()),
        }
    }
}

impl fmt::Display for MethodName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Value for MethodName {
    fn read(node: &Node<'_>, context: &mut Context) -> Option<Self> {
        parsed(node, "method", context)
    }
}

/// A condition on a header field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum HeaderMatch {
    /// The field is present or absent.
    Present(bool),
    /// One of the fields of this name has this value.
    Value(String),
}

impl HeaderMatch {
    /// Whether the field of this name meets the condition.
    pub fn fits(&self, name: &HeaderName, headers: &HeaderMap) -> bool {
        match self {
            Self::Present(wanted) => headers.contains_key(name) == *wanted,
            Self::Value(wanted) => headers.get_all(name).iter().any(|value| value == wanted.as_str()),
        }
    }

    /// Whether everything that matches `other` matches this condition.
    pub(in crate::config) fn covers(&self, other: &Self) -> bool {
        self == other || matches!((self, other), (Self::Present(true), Self::Value(_)))
    }
}

impl Value for HeaderMatch {
    fn read(node: &Node<'_>, context: &mut Context) -> Option<Self> {
        match node.get_ref() {
            DeValue::Boolean(present) => Some(Self::Present(*present)),
            DeValue::String(value) => Some(Self::Value(value.clone().into_owned())),
            _ => {
                context.expected("the value as a string, or true (present) or false (absent)", node);
                None
            }
        }
    }
}

impl JsonSchema for HeaderMatch {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "HeaderMatch".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["string", "boolean"] })
    }
}

as_text!(HostPattern, MethodName, ExactPath, PathPrefix, PathPattern);

#[cfg(test)]
mod tests {
    use super::{HeaderMatch, HostPattern, MethodName};

    #[test]
    fn a_host_pattern_matches_one_host_or_all_its_subdomains() {
        let host = |text: &str| text.parse::<HostPattern>().unwrap();
        assert!(host("Example.com").fits("example.com"));
        assert!(!host("example.com").fits("www.example.com"));
        assert!(host("*.example.com").fits("www.example.com"));
        assert!(!host("*.example.com").fits("example.com"));
        assert!(!host("*.example.com").fits(".example.com"));
        assert!(!host("*.example.com").fits("badexample.com"));
        assert!(host("*.a.b").covers(&host("x.a.b")) && host("*.a.b").covers(&host("*.x.a.b")));
        assert!(!host("x.a.b").covers(&host("*.a.b")) && !host("*.a.b").covers(&host("a.b")));
        for wrong in [
            "", "*", "*.", "*x.com", "a.*.com", "a/b", "a:80", "a b", ".", "..", ".a", "..a", "*..a", "a,b",
            "[::1",
        ] {
            assert!(wrong.parse::<HostPattern>().is_err(), "{wrong}");
        }
        assert!(host("[::1]").fits("[::1]"));
        assert!(host("Example.com.").fits("example.com") && host("*.example.com.").fits("a.example.com"));
    }

    #[test]
    fn a_host_that_is_not_ascii_is_refused_with_its_punycode() {
        for (text, name) in [
            ("bücher.de", "\"xn--bcher-kva.de\""),
            ("*.Bücher.de", "\"*.xn--bcher-kva.de\""),
            ("例え.jp", "\"xn--r8jz45g.jp\""),
            ("\u{ff41}.example", "\"a.example\""),
            ("a%\u{fc}", "\"xn--\""),
        ] {
            let error = text.parse::<HostPattern>().unwrap_err();
            assert!(error.contains(name), "{text}: {error}");
        }
    }

    #[test]
    fn a_method_must_be_upper_case() {
        assert!("PROPFIND".parse::<MethodName>().is_ok());
        for wrong in ["get", "", "A B"] {
            assert!(wrong.parse::<MethodName>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_condition_on_presence_covers_a_condition_on_a_value() {
        let value = HeaderMatch::Value("1".to_owned());
        assert!(HeaderMatch::Present(true).covers(&value));
        assert!(!value.covers(&HeaderMatch::Present(true)));
        assert!(!HeaderMatch::Present(false).covers(&value));
    }
}

//! Header fields in which clients and proxies identify the client.

use std::fmt;
use std::str::FromStr;

use http::HeaderName;
use http_wasm_tower::choices;
use schemars::JsonSchema;
use serde::Serialize;

use crate::config::read::{Context, Node, Value, as_text, choice, parsed};
use crate::names::folds_to;

/// The name of a header field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldName(pub HeaderName);

impl FieldName {
    pub(crate) const fn new(name: &'static str) -> Self {
        Self(HeaderName::from_static(name))
    }
}

impl FromStr for FieldName {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let name = HeaderName::from_str(text).map_err(|_| "expected one such as \"x-user\"")?;
        if name.as_str().contains('_') {
            return Err("clients could send it in another spelling; write `-` in place of `_`");
        }
        Ok(Self(name))
    }
}

impl fmt::Display for FieldName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str())
    }
}

impl Value for FieldName {
    fn read(node: &Node<'_>, context: &mut Context) -> Option<Self> {
        parsed(node, "header name", context)
    }
}

/// The names of header fields: one name, or all names with a common prefix, as in "x-auth-*".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldPattern {
    /// The name or prefix, without the asterisk.
    name: FieldName,
    is_prefix: bool,
}

impl FieldPattern {
    /// Whether a name, or a spelling of it with underscores, matches.
    pub(crate) fn fits(&self, name: &str) -> bool {
        let wanted = self.name.0.as_str();
        let name = name.as_bytes();
        let compared = if self.is_prefix { name.get(..wanted.len()).unwrap_or_default() } else { name };
        folds_to(compared, wanted)
    }
}

impl FromStr for FieldPattern {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let prefix = text.strip_suffix('*');
        Ok(Self { name: prefix.unwrap_or(text).parse()?, is_prefix: prefix.is_some() })
    }
}

impl fmt::Display for FieldPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.name, if self.is_prefix { "*" } else { "" })
    }
}

impl Value for FieldPattern {
    fn read(node: &Node<'_>, context: &mut Context) -> Option<Self> {
        parsed(node, "header name", context)
    }
}

/// What happens to request header fields with an underscore in their name.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Underscores {
    /// They are forwarded, as gRPC metadata requires.
    #[default]
    Pass,
    /// They are dropped and counted.
    Drop,
    /// The request gets 400.
    Reject,
}

choices! { Underscores { Pass = "pass", Drop = "drop", Reject = "reject" } }

impl Value for Underscores {
    fn read(node: &Node<'_>, context: &mut Context) -> Option<Self> {
        choice(node, context)
    }
}

as_text!(FieldName, FieldPattern);

#[cfg(test)]
mod tests {
    use super::FieldPattern;

    #[test]
    fn a_field_pattern_matches_a_name_or_prefix_ignoring_case_and_underscores() {
        let fits = |pattern: &str, name| pattern.parse::<FieldPattern>().unwrap().fits(name);
        assert!(fits("X-User", "x-user") && fits("x-user", "x_user") && !fits("x-user", "x-users"));
        assert!(
            fits("x-auth-*", "x-auth-name") && fits("x-auth-*", "x_auth_") && !fits("x-auth-*", "x-auth")
        );
        for wrong in ["", "*", "a b", "x_user"] {
            assert!(wrong.parse::<FieldPattern>().is_err(), "{wrong}");
        }
    }
}

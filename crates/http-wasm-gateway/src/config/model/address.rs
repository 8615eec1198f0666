//! Addresses to listen on.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Serialize;

use crate::config::read::{Context, Node, Value, parsed};

/// An address to listen on, `HOST:PORT` as written. A host name is resolved when the server binds. Port 0 selects any
/// free port.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Address(String);

impl Address {
    /// As written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether any free port will do.
    pub fn takes_any_port(&self) -> bool {
        self.0.rsplit_once(':').is_some_and(|(_, port)| port.parse() == Ok(0_u16))
    }
}

impl FromStr for Address {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.contains("://") {
            return Err("expected HOST:PORT, as in 127.0.0.1:8080, without a URL scheme");
        }
        let Some((host, port)) = text.rsplit_once(':') else {
            return Err("expected HOST:PORT, as in 127.0.0.1:8080");
        };
        let bracketed = host.starts_with('[') && host.ends_with(']');
        match host {
            "" => Err("the host is missing; 0.0.0.0 listens on all IPv4 addresses"),
            _ if host.contains(':') && !bracketed => {
                Err("an IPv6 address must be in brackets, as in [::1]:8080")
            }
            _ if port.parse::<u16>().is_err() => Err("the port must be a number from 0 to 65535"),
            _ => Ok(Self(text.to_owned())),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Value for Address {
    fn read(node: &Node<'_>, context: &mut Context) -> Option<Self> {
        parsed(node, "address", context)
    }
}

impl JsonSchema for Address {
    fn schema_name() -> Cow<'static, str> {
        "Address".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "HOST:PORT; port 0 selects any free port.",
            "pattern": "^.+:[0-9]{1,5}$",
            "examples": ["127.0.0.1:8080", "[::]:443"],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Address;

    #[test]
    fn an_address_is_a_host_and_a_port() {
        for text in ["127.0.0.1:0", "localhost:8080", "[::1]:80", "0.0.0.0:65535"] {
            assert_eq!(text.parse::<Address>().as_ref().map(Address::as_str), Ok(text));
        }
        for text in [
            "",
            "8080",
            ":8080",
            "localhost",
            "localhost:http",
            "::1:80",
            "127.0.0.1:65536",
            "http://127.0.0.1:80",
        ] {
            assert!(text.parse::<Address>().is_err(), "{text:?}");
        }
    }
}

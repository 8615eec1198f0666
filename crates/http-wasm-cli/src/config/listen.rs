//! `--listen`: where to listen.

use std::fmt;
use std::str::FromStr;

/// An address to listen on, as typed: a host name is looked up when the server binds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Listen(String);

impl Listen {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Listen {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let Some((host, port)) = text.rsplit_once(':') else {
            return Err("expected HOST:PORT, as in 127.0.0.1:8080");
        };
        let bracketed = host.starts_with('[') && host.ends_with(']');
        match host {
            "" => Err("the host is missing; 0.0.0.0 listens on all IPv4 addresses"),
            _ if host.contains(':') && !bracketed => {
                Err("an IPv6 address goes in brackets, as in [::1]:8080")
            }
            _ if port.parse::<u16>().is_err() => Err("the port must be a number from 0 to 65535"),
            _ => Ok(Self(text.to_owned())),
        }
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::Listen;

    #[test]
    fn an_address_is_a_host_and_a_port() {
        for text in ["127.0.0.1:0", "localhost:8080", "[::1]:80", "0.0.0.0:65535"] {
            assert_eq!(text.parse::<Listen>().as_ref().map(Listen::as_str), Ok(text));
        }
        for text in ["", "8080", ":8080", "localhost", "localhost:http", "::1:80", "127.0.0.1:65536"] {
            assert!(text.parse::<Listen>().is_err(), "{text:?}");
        }
    }
}

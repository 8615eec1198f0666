//! `--upstream`: the backend behind the guests.

use std::str::FromStr;

use http_wasm_gateway::UpstreamUrl;
use http_wasm_gateway::config::{self, Backend, Config, Located, Route, Time};

/// The backend behind the guests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Upstream {
    Echo,
    Hello,
    Url(UpstreamUrl),
}

impl Upstream {
    /// Makes this the backend of the route. `response_timeout` is how long an upstream may take to start its response.
    pub(crate) fn follow(self, route: &mut Route, config: &mut Config, response_timeout: Time) {
        match self {
            Self::Echo => route.backend = Some(Backend::Echo),
            Self::Hello => route.backend = Some(Backend::Hello),
            Self::Url(url) => {
                let addresses = Located::from(url).into();
                let upstream =
                    config::Upstream { addresses, response_timeout, ..config::Upstream::default() };
                route.upstream = Some("default".to_owned().into());
                config.upstreams.insert("default".to_owned(), upstream.into());
            }
        }
    }
}

impl FromStr for Upstream {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "echo" => Ok(Self::Echo),
            "hello" => Ok(Self::Hello),
            url if url.contains("://") => url.parse().map(Self::Url),
            _ => Err("expected echo, hello, or a URL that starts with http:// or https://"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Upstream;

    #[test]
    fn an_upstream_is_echo_hello_or_a_url() {
        assert_eq!("echo".parse(), Ok(Upstream::Echo));
        assert_eq!("hello".parse(), Ok(Upstream::Hello));
        assert!(matches!("http://localhost".parse(), Ok(Upstream::Url(_))));
        for wrong in ["", "ecko", "localhost:80", "ftp://h", "http://h/?q"] {
            assert!(wrong.parse::<Upstream>().is_err(), "{wrong}");
        }
    }
}

//! The servers behind the gateway.

use std::borrow::Cow;
use std::num::NonZeroU32;
use std::path::PathBuf;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::config::read::{Context, Located, Node, NonEmpty, Time, Value, choice, parsed, section};
use crate::proxy::UpstreamUrl;

/// One upstream: servers that can stand in for each other.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
#[schemars(extend("required" = ["addresses"]))]
pub struct Upstream {
    /// The servers' URLs, as in "http://10.0.0.1:8080". All have the same scheme. A path is put before that of each request.
    pub addresses: NonEmpty<Located<UpstreamUrl>>,
    /// Which of them gets a request.
    pub balance: Balance,
    /// Which version of HTTP is spoken.
    pub http: UpstreamHttp,
    /// Which `Host` the upstream gets. Absent, "client" for http URLs that are spoken to in HTTP/1.1, else "upstream". With "client",
    /// "auto" means HTTP/1.1, for in HTTP/2 the host is part of the address.
    pub host: Option<Located<ForwardedHost>>,
    /// TLS for https URLs.
    pub tls: Option<Located<UpstreamTls>>,
    /// How long a connection may take to come about, the TLS handshake included.
    pub connect_timeout: Time,
    /// How long the upstream may take to begin its answer, counted while it is its turn and not the client's.
    pub response_timeout: Time,
    /// How long an unused connection is kept. Best shorter than what the upstream allows.
    pub idle_timeout: Time,
    /// Unused connections that are kept to each address.
    pub max_idle: NonZeroU32,
    /// How often a request is sent again, to another address where there is one, when the connection fails before any of the answer
    /// has come; not after a timeout. Only idempotent requests are, as long as no more than 64 KiB of their body were sent, and those
    /// that the upstream can't have seen. All retries together are at most a fifth of the requests, or ten a second.
    pub retries: u32,
    /// When an address gets no requests.
    pub health: Health,
}

impl Default for Upstream {
    fn default() -> Self {
        Self {
            addresses: NonEmpty::default(),
            balance: Balance::default(),
            http: UpstreamHttp::default(),
            host: None,
            tls: None,
            connect_timeout: Time::seconds(10),
            response_timeout: Time::seconds(30),
            idle_timeout: Time::seconds(30),
            max_idle: NonZeroU32::new(256).expect("256 is not 0"),
            retries: 1,
            health: Health::default(),
        }
    }
}

impl Upstream {
    /// Which `Host` the upstream gets.
    pub(crate) fn forwarded_host(&self) -> ForwardedHost {
        let to_itself = self.http == UpstreamHttp::Http2 || self.addresses.iter().any(|url| url.is_tls());
        let default = if to_itself { ForwardedHost::Upstream } else { ForwardedHost::Client };
        self.host.as_ref().map_or(default, |host| host.value)
    }
}

section! {
    Upstream {
        addresses, balance, http, host, tls, connect_timeout, response_timeout, idle_timeout, max_idle, retries, health
    }
    need [("addresses", r#"addresses = ["http://127.0.0.1:3000"]"#)]
}

impl Value for UpstreamUrl {
    fn read(node: &Node<'_>, context: &mut Context) -> Option<Self> {
        parsed(node, "an upstream's address", context)
    }
}

impl Serialize for UpstreamUrl {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for UpstreamUrl {
    fn schema_name() -> Cow<'static, str> {
        "UpstreamUrl".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "An http:// or https:// URL without query.",
            "pattern": "^https?://[^?#@]+$",
        })
    }
}

/// Which address of an upstream gets a request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Balance {
    /// One after the other.
    #[default]
    RoundRobin,
    /// Of two chosen by chance, the one with fewer requests in flight.
    LeastRequests,
}

impl Value for Balance {
    fn read(node: &Node<'_>, context: &mut Context) -> Option<Self> {
        choice(node, context)
    }
}

/// Which version of HTTP an upstream is spoken to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum UpstreamHttp {
    /// Over TLS HTTP/2 if the upstream agrees to it, HTTP/1.1 otherwise.
    #[default]
    #[serde(rename = "auto")]
    Auto,
    /// HTTP/1.1.
    #[serde(rename = "1")]
    Http1,
    /// HTTP/2; without TLS that takes an upstream known to speak it.
    #[serde(rename = "2")]
    Http2,
}

impl Value for UpstreamHttp {
    fn read(node: &Node<'_>, context: &mut Context) -> Option<Self> {
        choice(node, context)
    }
}

/// Which `Host` an upstream gets. The client's is in `X-Forwarded-Host` either way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ForwardedHost {
    /// The one that the client asked for.
    Client,
    /// The one in the upstream's URL.
    Upstream,
}

impl Value for ForwardedHost {
    fn read(node: &Node<'_>, context: &mut Context) -> Option<Self> {
        choice(node, context)
    }
}

/// TLS to an upstream.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub struct UpstreamTls {
    /// PEM file with the certificates of the authorities that are trusted. Absent, the web's. A server's own certificate may be there too,
    /// unless it is that of an authority.
    pub ca: Option<Located<PathBuf>>,
    /// The name that the upstream's certificate must have, and that it is asked for. Absent, the URL's host.
    pub server_name: Option<Located<String>>,
    /// Certificate and key by which the gateway itself is known to the upstream.
    pub identity: Option<Located<super::Certificate>>,
}

section! { UpstreamTls { ca, server_name, identity } }

/// When an address gets no requests.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub struct Health {
    /// What is learnt from requests.
    pub passive: PassiveHealth,
    /// What is learnt from asking; absent, nothing is asked.
    pub active: Option<ActiveHealth>,
}

section! { Health { passive, active } }

/// What is learnt from requests: an address that fails gets none for a while. The only address left always gets them.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub struct PassiveHealth {
    /// Failures in a row to connect or to answer that make an address unhealthy.
    pub failures: NonZeroU32,
    /// How long it then gets no requests. Each time that it fails again right after, it is twice as long, up to 32 times.
    pub retry_after: Time,
}

impl Default for PassiveHealth {
    fn default() -> Self {
        Self { failures: NonZeroU32::new(3).expect("3 is not 0"), retry_after: Time::seconds(10) }
    }
}

section! { PassiveHealth { failures, retry_after } }

/// What is learnt from asking.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub struct ActiveHealth {
    /// The path that is asked for with GET; a status from 200 to 399 is healthy.
    pub path: Located<String>,
    /// Time from one question to the next.
    pub interval: Time,
    /// How long the answer may take.
    pub timeout: Time,
    /// Healthy answers in a row after which an unhealthy address gets requests again.
    pub healthy_after: NonZeroU32,
    /// Failures in a row after which a healthy address gets none.
    pub unhealthy_after: NonZeroU32,
}

impl Default for ActiveHealth {
    fn default() -> Self {
        let count = |count| NonZeroU32::new(count).expect("no default is 0");
        Self {
            path: "/".to_owned().into(),
            interval: Time::seconds(10),
            timeout: Time::seconds(2),
            healthy_after: count(2),
            unhealthy_after: count(3),
        }
    }
}

section! { ActiveHealth { path, interval, timeout, healthy_after, unhealthy_after } }

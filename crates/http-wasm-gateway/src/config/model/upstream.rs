//! The servers behind the gateway.

use std::borrow::Cow;
use std::num::NonZeroU32;
use std::path::PathBuf;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::config::read::{
    Context, Located, Node, NonEmpty, Size, Time, TimeOrOff, Value, choice, parsed, section,
};
use crate::upstream_url::UpstreamUrl;

/// One upstream: servers that can stand in for each other.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
#[schemars(extend("required" = ["addresses"]))]
pub struct Upstream {
    /// The servers' URLs, as in "http://10.0.0.1:8080". All have the same scheme. A path is put before that of each
    /// request.
    pub addresses: NonEmpty<Located<UpstreamUrl>>,
    /// Which of them gets a request.
    pub balance: Balance,
    /// Which version of HTTP is spoken.
    pub http: UpstreamHttp,
    /// Which `Host` the upstream gets. Absent, "client" for http URLs that are spoken to in HTTP/1.1, else "upstream".
    /// With "client", "auto" means HTTP/1.1, for in HTTP/2 the host is part of the address.
    pub host: Option<Located<ForwardedHost>>,
    /// TLS for https URLs.
    pub tls: Option<Located<UpstreamTls>>,
    /// How long a connection may take to come about, the TLS handshake included.
    pub connect_timeout: Time,
    /// How long the upstream may take to begin its answer, counted while it is its turn and not the client's.
    pub response_timeout: Time,
    /// How long an unused connection is kept. Best shorter than what the upstream allows. An upstream that has answered
    /// and doesn't read the rest of the request for this long has its HTTP/1.1 connection closed.
    pub idle_timeout: Time,
    /// Unused HTTP/1.1 connections that are kept to each address.
    pub max_idle: NonZeroU32,
    /// HTTP/2 connections to each address. Another one is opened when those that there are have as many requests as the
    /// upstream allows, which is at most 100. When this many are in use, requests wait for up to `connect_timeout` and
    /// are answered with 503 after that.
    pub max_http2_connections: NonZeroU32,
    /// How much of each HTTP/2 response the upstream may send ahead of the client, so that this much is in memory for
    /// each client that reads slowly. A connection has room for 100 times as much, so that no response holds up
    /// another. It limits the speed of one response to this much per round trip: 256 KiB are 13 MB/s at 20 ms.
    pub stream_window: Located<Size>,
    /// How long an HTTP/2 connection with requests on it may be silent before the upstream is asked by PING whether it
    /// is still there. gRPC servers close connections that are asked more often than every five minutes. "off" asks
    /// only after a request has timed out.
    pub ping_interval: TimeOrOff,
    /// How long an upstream may take to answer a PING. After that its connection is closed.
    pub ping_timeout: Time,
    /// The size of a response's header fields: their names and values, and 32 bytes for each. A larger response is
    /// answered with 502; a response whose trailers are larger is broken off.
    pub max_response_header_size: Located<Size>,
    /// The number of a response's header fields, and of its trailers.
    pub max_response_headers: NonZeroU32,
    /// The size of a request's header fields that an HTTP/2 upstream gets: their names and values, its path and host
    /// included, and 32 bytes for each. Many servers end the whole connection when they get more, so larger requests
    /// are answered with 431.
    pub max_request_header_size: Size,
    /// The size of the name and value of one of them.
    pub max_request_field_size: Size,
    /// How often a request is sent again, to another address where there is one, when the connection fails before any
    /// of the answer has come; not after a timeout. Only idempotent requests are, as long as no more than 64 KiB of
    /// their body were sent, and those that the upstream can't have seen or has refused unprocessed; the latter once
    /// even if this is 0. All retries together are at most a fifth of the requests, or ten a second; those that met an
    /// idle connection which was being closed don't count.
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
            max_http2_connections: NonZeroU32::new(100).expect("100 is not 0"),
            stream_window: Size(256 * 1024).into(),
            ping_interval: TimeOrOff::seconds(310),
            ping_timeout: Time::seconds(20),
            max_response_header_size: Size(64 * 1024).into(),
            max_response_headers: NonZeroU32::new(256).expect("256 is not 0"),
            max_request_header_size: Size(16 * 1024),
            max_request_field_size: Size(8 * 1024),
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
        addresses, balance, http, host, tls, connect_timeout, response_timeout, idle_timeout, max_idle,
        max_http2_connections, stream_window, ping_interval, ping_timeout, max_response_header_size,
        max_response_headers, max_request_header_size, max_request_field_size, retries, health
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
    /// PEM file with the certificates of the authorities that are trusted. Absent, the web's. A server's own
    /// certificate may be there too, unless it is that of an authority.
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
    /// How long it then gets no requests. Each time that it fails again right after, it is twice as long, up to 32
    /// times.
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

//! Upstreams: the servers behind the gateway.

use std::borrow::Cow;
use std::num::NonZeroU32;
use std::path::PathBuf;

use http_wasm_tower::choices;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Serialize;

use crate::config::read::{
    Context, Located, Node, NonEmpty, Size, Time, TimeOrOff, Value, choice, parsed, section,
};
use crate::redaction::reveals;
use crate::upstream_url::UpstreamUrl;

/// An upstream: one or more interchangeable servers.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
#[schemars(extend("required" = ["addresses"]))]
pub struct Upstream {
    /// The URLs of the servers, such as "http://10.0.0.1:8080". All must have the same scheme. The path of a URL is
    /// prepended to that of each request.
    pub addresses: NonEmpty<Located<UpstreamUrl>>,
    /// How requests are distributed among the addresses.
    pub balance: Balance,
    /// Which version of HTTP is used.
    pub http: UpstreamHttp,
    /// Which `Host` the upstream receives. Defaults to "client" for http URLs over HTTP/1.1, and to "upstream"
    /// otherwise. With "client", `http = "auto"` means HTTP/1.1, because in HTTP/2 the host is part of the request's
    /// address.
    pub host: Option<Located<ForwardedHost>>,
    /// TLS settings for https URLs.
    pub tls: Option<Located<UpstreamTls>>,
    /// How long establishing a connection may take, including the TLS handshake.
    pub connect_timeout: Time,
    /// How long the upstream may take to start its response. Only the time spent waiting for the upstream counts, not
    /// that spent waiting for the client.
    pub response_timeout: Time,
    /// How long an unused connection is kept. It should be shorter than the upstream's own limit. If an upstream has
    /// responded and doesn't read the rest of the request for this long, its HTTP/1.1 connection is closed.
    pub idle_timeout: Time,
    /// Maximum number of unused HTTP/1.1 connections that are kept per address.
    pub max_idle: NonZeroU32,
    /// Maximum number of HTTP/2 connections per address. Another connection is opened when the existing ones carry as
    /// many requests as the upstream allows, or 100. When all of them are full, requests wait for up to
    /// `connect_timeout` and then get 503.
    pub max_http2_connections: NonZeroU32,
    /// How much of each HTTP/2 response the upstream may send before the client reads it. Each client that reads slowly
    /// keeps up to this much in memory. A connection's window is 100 times as large, so that no response blocks
    /// another. One response transfers at most this much per round trip: with 256 KiB, 13 MB/s at 20 ms.
    pub stream_window: Located<Size>,
    /// How long an HTTP/2 connection with requests on it may be silent before the gateway sends a PING to check whether
    /// the upstream is still there. gRPC servers close connections that are pinged more often than every five minutes.
    /// With "off", a PING is sent only after a request has timed out.
    pub ping_interval: TimeOrOff,
    /// How long an upstream may take to acknowledge a PING. After that, its connection is closed.
    pub ping_timeout: Time,
    /// Maximum size of a response's header fields: names and values, plus 32 bytes per field. A larger response becomes
    /// a 502; a response with larger trailers is aborted.
    pub max_response_header_size: Located<Size>,
    /// Maximum number of a response's header fields, and of its trailers.
    pub max_response_headers: NonZeroU32,
    /// Maximum size of the header fields of a request to an HTTP/2 upstream: names and values, path and host included,
    /// plus 32 bytes per field. Many servers close the whole connection if they receive more, so larger requests get
    /// 431.
    pub max_request_header_size: Size,
    /// Maximum size of a single header field of a request to an HTTP/2 upstream, name and value together. Larger
    /// requests get 431.
    pub max_request_field_size: Size,
    /// How often a request is retried, on another address if there is one, when the connection fails before any of the
    /// response has arrived. Nothing is retried after a timeout. Retries are limited to idempotent requests of whose
    /// body at most 64 KiB have been sent, and requests that the upstream can't have seen or has refused without
    /// processing them; refused ones are retried once even if this is 0. All retries together are limited to a fifth of
    /// the requests, or ten per second; retries after an idle connection was closed don't count.
    pub retries: u32,
    /// When an address is ejected, and no longer receives requests.
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
    /// Which `Host` the upstream receives.
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
        let url: Self = parsed(node, "upstream address", context)?;
        Some(match context.written(node) {
            Some(written) => url.shown_as(written.clone()),
            None => url,
        })
    }
}

impl Serialize for UpstreamUrl {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if reveals() { serializer.collect_str(&self.resolved()) } else { serializer.collect_str(self) }
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

/// How requests are distributed among the addresses of an upstream.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Balance {
    /// One after the other.
    #[default]
    RoundRobin,
    /// Of two random addresses, the one with fewer requests in flight.
    LeastRequests,
}

choices! { Balance { RoundRobin = "round_robin", LeastRequests = "least_requests" } }

impl Value for Balance {
    fn read(node: &Node<'_>, context: &mut Context) -> Option<Self> {
        choice(node, context)
    }
}

/// Which version of HTTP is used with an upstream.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub enum UpstreamHttp {
    /// HTTP/2 if it is negotiated over TLS, otherwise HTTP/1.1.
    #[default]
    #[serde(rename = "auto")]
    Auto,
    /// HTTP/1.1.
    #[serde(rename = "1")]
    Http1,
    /// HTTP/2. Without TLS, the upstream must be known to support it.
    #[serde(rename = "2")]
    Http2,
}

choices! { UpstreamHttp { Auto = "auto", Http1 = "1", Http2 = "2" } }

impl Value for UpstreamHttp {
    fn read(node: &Node<'_>, context: &mut Context) -> Option<Self> {
        choice(node, context)
    }
}

/// Which `Host` an upstream receives. The client's is in `X-Forwarded-Host` in either case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ForwardedHost {
    /// The one that the client requested.
    Client,
    /// The one in the upstream's URL.
    Upstream,
}

choices! { ForwardedHost { Client = "client", Upstream = "upstream" } }

impl Value for ForwardedHost {
    fn read(node: &Node<'_>, context: &mut Context) -> Option<Self> {
        choice(node, context)
    }
}

/// TLS settings for an upstream.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub struct UpstreamTls {
    /// PEM file with the trusted CA certificates. Defaults to the public web's CAs. May also contain a server's own
    /// certificate, unless that is a CA certificate.
    pub ca: Option<Located<PathBuf>>,
    /// The server name that is requested, and that the upstream's certificate must be valid for. Defaults to the URL's
    /// host.
    pub server_name: Option<Located<String>>,
    /// The client certificate and key that the gateway presents to the upstream.
    pub identity: Option<Located<super::Certificate>>,
}

section! { UpstreamTls { ca, server_name, identity } }

/// When an address is ejected, and no longer receives requests.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub struct Health {
    /// Passive health checks, based on the outcome of requests.
    pub passive: PassiveHealth,
    /// Active health checks. If not set, there are none.
    pub active: Option<ActiveHealth>,
}

section! { Health { passive, active } }

/// Passive health checks: an address that fails is ejected for a while. An upstream's only address is never ejected.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub struct PassiveHealth {
    /// Consecutive failures to connect or to respond after which an address is ejected.
    pub failures: NonZeroU32,
    /// How long an address is ejected. The time doubles each time that the address fails again right afterwards, up to
    /// 32 times this value.
    pub retry_after: Time,
}

impl Default for PassiveHealth {
    fn default() -> Self {
        Self { failures: NonZeroU32::new(3).expect("3 is not 0"), retry_after: Time::seconds(10) }
    }
}

section! { PassiveHealth { failures, retry_after } }

/// Active health checks.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub struct ActiveHealth {
    /// The path that is requested with GET. A status from 200 to 399 counts as healthy.
    pub path: Located<String>,
    /// Time between checks.
    pub interval: Time,
    /// How long a response may take.
    pub timeout: Time,
    /// Consecutive successful checks after which an unhealthy address receives requests again.
    pub healthy_after: NonZeroU32,
    /// Consecutive failed checks after which an address is considered unhealthy.
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

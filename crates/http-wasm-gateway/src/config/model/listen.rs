//! Where clients come in.

use std::borrow::Cow;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::ops::Deref;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use ipnet::{IpNet, Ipv4Net};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use toml::de::DeValue;

use super::Address;
use super::identity::{FieldName, FieldPattern, Underscores};
use crate::config::read::{
    AnyTime, Context, Located, Node, NonEmpty, Size, Time, TimeOrOff, Value, choice, parsed, section,
};

/// One address to listen on. HTTP/1.1 and HTTP/2 share it: over TLS the client chooses by ALPN, else by how it begins.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
#[schemars(extend("required" = ["address"]))]
pub struct Listen {
    /// Where.
    pub address: Located<Address>,
    /// TLS; absent, the listener speaks plain HTTP.
    pub tls: Option<ListenTls>,
    /// Which versions of HTTP are spoken.
    pub http: ListenHttp,
    /// Whether connections begin with a PROXY protocol header. One without it, or from no trusted proxy, is then
    /// refused.
    pub proxy_protocol: ProxyProtocol,
    /// Networks or addresses of the proxies in front, as in "10.0.0.0/8". From them alone PROXY headers and the fields
    /// in `trusted_fields` are believed.
    pub trusted_proxies: Vec<TrustedNet>,
    /// Fields about the client that are believed when they come from a trusted proxy. The first of them that names an
    /// address says who the client is, and likewise for the scheme: `x-forwarded-for` and `forwarded` name the last
    /// address that is in none of the networks of `trusted_proxies`; `cf-connecting-ip`, `true-client-ip`, `x-real-ip`,
    /// `x-client-ip` and `x-cluster-client-ip` one address; `x-forwarded-proto` and `forwarded` the scheme. Others
    /// pass. Of `x-forwarded-for` and `forwarded` only what concerns that client goes on.
    pub trusted_fields: Vec<Located<FieldName>>,
    /// Fields about the client beside those that are known: `Forwarded`, `X-Forwarded` and all that begin with
    /// `X-Forwarded-`, `X-Real-IP`, `X-Client-IP`, `X-Cluster-Client-IP`, `True-Client-IP`, `CF-Connecting-IP`,
    /// `X-Original-URL`, `X-Rewrite-URL`, `Client-Cert` and `Client-Cert-Chain`. Unless they are in `trusted_fields`
    /// and come from a trusted proxy they are dropped. An asterisk at the end stands for all that begin so, as in
    /// "x-auth-*".
    pub client_fields: Vec<FieldPattern>,
    /// Request header fields with `_` in their name, which many servers take for `-`. Those that could pass for a field
    /// that the gateway or a guest sets or drops never pass.
    pub underscores: Underscores,
    /// What clients may take.
    pub limits: ClientLimits,
}

impl Default for Listen {
    fn default() -> Self {
        let trusted = ["x-forwarded-for", "x-forwarded-proto"];
        Self {
            address: Located::default(),
            tls: None,
            http: ListenHttp::default(),
            proxy_protocol: ProxyProtocol::default(),
            trusted_proxies: Vec::new(),
            trusted_fields: trusted.map(|name| FieldName::new(name).into()).to_vec(),
            client_fields: Vec::new(),
            underscores: Underscores::default(),
            limits: ClientLimits::default(),
        }
    }
}

section! {
    Listen {
        address, tls, http, proxy_protocol, trusted_proxies, trusted_fields, client_fields, underscores,
        limits
    }
    need [("address", r#"address = "127.0.0.1:8080""#)]
}

/// A [`Listen`], which may be written as its address alone.
#[derive(Debug, Clone, Serialize)]
#[serde(transparent)]
pub struct ListenEntry(pub Listen);

impl Deref for ListenEntry {
    type Target = Listen;

    fn deref(&self) -> &Listen {
        &self.0
    }
}

impl Value for ListenEntry {
    fn read(node: &Node<'_>, context: &mut Context) -> Option<Self> {
        match node.get_ref() {
            DeValue::String(_) => {
                let address = Value::read(node, context)?;
                Some(Self(Listen { address, ..Listen::default() }))
            }
            DeValue::Table(_) => Value::read(node, context).map(Self),
            _ => {
                context.expected("an address, or a table with an `address`", node);
                None
            }
        }
    }
}

impl JsonSchema for ListenEntry {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "ListenEntry".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let (short, long) = (generator.subschema_for::<Address>(), generator.subschema_for::<Listen>());
        json_schema!({ "anyOf": [short, long] })
    }
}

/// TLS of a listener.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
#[schemars(extend("required" = ["certificates"]))]
pub struct ListenTls {
    /// Certificates with their keys. A client gets the first whose names have the one that it asks for, else the first.
    pub certificates: NonEmpty<Located<Certificate>>,
    /// The oldest version that is spoken.
    pub min_version: TlsVersion,
}

section! {
    ListenTls { certificates, min_version }
    need [("certificates", r#"certificates = [{ certificate = "cert.pem", key = "key.pem" }]"#)]
}

/// A certificate and its key.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
#[schemars(extend("required" = ["certificate", "key"]))]
pub struct Certificate {
    /// PEM file with the certificate, and behind it those that it depends on.
    pub certificate: Located<PathBuf>,
    /// PEM file with the private key.
    pub key: Located<PathBuf>,
}

section! {
    Certificate { certificate, key }
    need [("certificate", r#"certificate = "cert.pem""#), ("key", r#"key = "key.pem""#)]
}

/// A version of TLS.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TlsVersion {
    /// TLS 1.2.
    #[default]
    #[serde(rename = "1.2")]
    V1_2,
    /// TLS 1.3.
    #[serde(rename = "1.3")]
    V1_3,
}

impl Value for TlsVersion {
    fn read(node: &Node<'_>, context: &mut Context) -> Option<Self> {
        choice(node, context)
    }
}

/// Which versions of HTTP a listener speaks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ListenHttp {
    /// Both, as the client likes.
    #[default]
    #[serde(rename = "auto")]
    Auto,
    /// HTTP/1.1 alone.
    #[serde(rename = "1")]
    Http1,
    /// HTTP/2 alone.
    #[serde(rename = "2")]
    Http2,
}

impl Value for ListenHttp {
    fn read(node: &Node<'_>, context: &mut Context) -> Option<Self> {
        choice(node, context)
    }
}

/// Whether connections begin with a PROXY protocol header.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ProxyProtocol {
    /// They don't.
    #[default]
    Off,
    /// Those from trusted proxies begin with one of version 2.
    V2,
}

impl Value for ProxyProtocol {
    fn read(node: &Node<'_>, context: &mut Context) -> Option<Self> {
        choice(node, context)
    }
}

/// A network, as in "10.0.0.0/8" or "fd00::/8", or a single address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TrustedNet(pub IpNet);

impl FromStr for TrustedNet {
    type Err = ipnet::AddrParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // Peers are compared by their plain form, which need not be the one in a log.
        let address = text.parse::<IpAddr>().map(|address| IpNet::from(address.to_canonical()));
        address.or_else(|_| text.parse().map(plain)).map(Self)
    }
}

/// A network of IPv4 addresses written as IPv6 ones, as the network that it is.
fn plain(net: IpNet) -> IpNet {
    let addr = net.addr().to_canonical();
    match (net, addr) {
        (IpNet::V6(mapped), IpAddr::V4(addr)) if mapped.prefix_len() >= 96 => {
            Ipv4Net::new(addr, mapped.prefix_len() - 96).map_or(net, IpNet::V4)
        }
        _ => net,
    }
}

impl Serialize for TrustedNet {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl Value for TrustedNet {
    fn read(node: &Node<'_>, context: &mut Context) -> Option<Self> {
        parsed(node, "an address, or a network such as \"10.0.0.0/8\"", context)
    }
}

impl JsonSchema for TrustedNet {
    fn schema_name() -> Cow<'static, str> {
        "Network".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "A network, or an address.",
            "examples": ["10.0.0.0/8", "fd00::/8", "10.0.0.1"]
        })
    }
}

/// What clients may take.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub struct ClientLimits {
    /// Connections at once, of all clients of this listener, tunnels included. Further ones wait until there is room.
    /// Absent, 16,384, or fewer if the limit of open files leaves room for fewer.
    pub max_connections: Option<NonZeroU32>,
    /// Connections that the system has accepted and the gateway has not; the system may allow fewer, and turns further
    /// ones away. Read when the address is opened.
    pub backlog: NonZeroU32,
    /// How long the head of a request may take to come from its first byte; for the first request of a connection from
    /// the connection's beginning, the TLS handshake included.
    pub header_timeout: Time,
    /// How long a connection may lie idle between requests.
    pub idle_timeout: Time,
    /// How long a tunnel, which a connection becomes by `Upgrade`, may carry no bytes; it is closed after that.
    pub tunnel_idle_timeout: TimeOrOff,
    /// The same for a tunnel of which one side has sent all that it will.
    pub tunnel_half_close_timeout: Time,
    /// How long a request goes on whose client of HTTP/1.1 has closed its direction of the connection behind it, for
    /// such a client may still read. With 0 it counts as gone at once, as one that resets the connection always does.
    pub half_close_timeout: AnyTime,
    /// How long a client may take over the next bytes of a request's body, until there is a response; 408 after that.
    /// And how long it may take over the next bytes of a response; the connection ends after that.
    pub body_timeout: Time,
    /// Bytes of a request's body that must come in a second, on average over the time in which they are waited for,
    /// once `body_timeout` has passed; 408 for less. Without it a byte now and then would hold a request forever.
    pub min_body_rate: Size,
    /// Size of a request's body; 413 beyond it. Absent, any, as bodies are not kept; routes and guests have limits of
    /// their own.
    pub max_request_body: Option<Size>,
    /// Size of a request's header fields together; 431 beyond it. Cookies and tokens of large sites stay below 32 KiB.
    pub max_header_size: Size,
    /// Number of a request's header fields; 431 beyond it.
    pub max_headers: NonZeroU32,
    /// Bytes of a response that a client must take in a second, on average over the time in which some wait for it,
    /// once `body_timeout` has passed; for less, the stream of HTTP/2 is reset, and the connection of HTTP/1.1 ends.
    /// Absent, any rate will do.
    pub min_response_rate: Option<Size>,
    /// Requests at once on one connection of HTTP/2. Browsers ask for 100 at most.
    pub max_http2_streams: NonZeroU32,
    /// Bytes of a request's body that a client of HTTP/2 may send before they are read: a stream moves at most so many
    /// in a round trip. A connection may hold this times `max_http2_streams`, so that streams whose body nobody reads
    /// hold up no others; beyond 2 GiB in all, each stream gets less.
    pub http2_stream_window: Size,
}

impl ClientLimits {
    /// The window of one stream of HTTP/2, and that of the connection.
    pub(crate) fn http2_windows(&self) -> (u32, u32) {
        let streams = self.max_http2_streams.get();
        let most = MAX_HTTP2_WINDOW / streams;
        let window = u32::try_from(self.http2_stream_window.0).map_or(most, |window| window.min(most));
        (window, window * streams)
    }
}

/// The largest window of HTTP/2 (RFC 9113 section 6.9.1).
const MAX_HTTP2_WINDOW: u32 = (1 << 31) - 1;

impl Default for ClientLimits {
    fn default() -> Self {
        let count = |count| NonZeroU32::new(count).expect("no default is 0");
        Self {
            max_connections: None,
            backlog: count(1024),
            header_timeout: Time::seconds(30),
            idle_timeout: Time::seconds(60),
            tunnel_idle_timeout: TimeOrOff::seconds(60 * 60),
            tunnel_half_close_timeout: Time::seconds(30),
            half_close_timeout: AnyTime(Duration::from_secs(5)),
            body_timeout: Time::seconds(60),
            min_body_rate: Size(240),
            max_request_body: None,
            max_header_size: Size(64 * 1024),
            max_headers: count(100),
            min_response_rate: None,
            max_http2_streams: count(128),
            http2_stream_window: Size(256 * 1024),
        }
    }
}

section! {
    ClientLimits {
        max_connections, backlog, header_timeout, idle_timeout, half_close_timeout, tunnel_idle_timeout,
        tunnel_half_close_timeout, body_timeout,
        min_body_rate, max_request_body, max_header_size, max_headers, min_response_rate, max_http2_streams,
        http2_stream_window
    }
}

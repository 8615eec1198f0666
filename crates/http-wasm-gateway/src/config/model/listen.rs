//! Listening addresses and their settings.

use std::borrow::Cow;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::ops::Deref;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use http_wasm_tower::choices;
use ipnet::{IpNet, Ipv4Net};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Serialize;
use toml::de::DeValue;

use super::Address;
use super::identity::{FieldName, FieldPattern, Underscores};
use crate::config::read::{
    AnyTime, Context, Located, Node, NonEmpty, Size, Time, TimeOrOff, Value, choice, parsed, section,
};

/// A listening address. HTTP/1.1 and HTTP/2 share it: over TLS the client chooses by ALPN, without TLS by its first
/// bytes.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
#[schemars(extend("required" = ["address"]))]
pub struct Listen {
    /// The address to listen on.
    pub address: Located<Address>,
    /// TLS. If not set, the listener uses plain HTTP.
    pub tls: Option<ListenTls>,
    /// Which versions of HTTP are accepted.
    pub http: ListenHttp,
    /// Whether connections start with a PROXY protocol header. If so, connections without one, or from an untrusted
    /// peer, are rejected.
    pub proxy_protocol: Located<ProxyProtocol>,
    /// Networks or addresses of the proxies in front of the gateway, as in "10.0.0.0/8". PROXY headers and the fields
    /// in `trusted_fields` are trusted only from them.
    pub trusted_proxies: Vec<Located<TrustedNet>>,
    /// Fields about the client that are trusted if they come from a trusted proxy. The first one that contains an
    /// address determines the client's address, and the first one with a scheme determines the client's scheme.
    /// `x-forwarded-for` and `forwarded` contain the last address that isn't in `trusted_proxies`; `cf-connecting-ip`,
    /// `true-client-ip`, `x-real-ip`, `x-client-ip` and `x-cluster-client-ip` a single address; `x-forwarded-proto` and
    /// `forwarded` the scheme. Other fields are forwarded unchanged. Of `x-forwarded-for` and `forwarded`, only the
    /// part about that client is forwarded.
    pub trusted_fields: Vec<Located<FieldName>>,
    /// Further fields about the client, in addition to the known ones: `Forwarded`, `X-Forwarded` and everything that
    /// starts with `X-Forwarded-`, `X-Real-IP`, `X-Client-IP`, `X-Cluster-Client-IP`, `True-Client-IP`,
    /// `CF-Connecting-IP`, `X-Original-URL`, `X-Rewrite-URL`, `Client-Cert` and `Client-Cert-Chain`. They are dropped
    /// unless they are in `trusted_fields` and come from a trusted proxy. A trailing asterisk matches any rest of the
    /// name, as in "x-auth-*".
    pub client_fields: Vec<Located<FieldPattern>>,
    /// What happens to request header fields with `_` in their name, which many servers can't distinguish from `-`.
    /// Those that could be mistaken for a field that the gateway or a guest sets or drops are always dropped.
    pub underscores: Underscores,
    /// Limits for clients.
    pub limits: ClientLimits,
}

impl Default for Listen {
    fn default() -> Self {
        let trusted = ["x-forwarded-for", "x-forwarded-proto"];
        Self {
            address: Located::default(),
            tls: None,
            http: ListenHttp::default(),
            proxy_protocol: Located::default(),
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

/// A [`Listen`], which may be written as just its address.
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

/// TLS settings of a listener.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
#[schemars(extend("required" = ["certificates"]))]
pub struct ListenTls {
    /// Certificates with their keys. A client gets the first certificate that is valid for the requested server name,
    /// or else the first in the list.
    pub certificates: NonEmpty<Located<Certificate>>,
    /// The oldest accepted version of TLS.
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
    /// PEM file with the certificate, followed by its intermediate certificates.
    pub certificate: Located<PathBuf>,
    /// PEM file with the private key.
    pub key: Located<PathBuf>,
}

section! {
    Certificate { certificate, key }
    need [("certificate", r#"certificate = "cert.pem""#), ("key", r#"key = "key.pem""#)]
}

/// A version of TLS.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub enum TlsVersion {
    /// TLS 1.2.
    #[default]
    #[serde(rename = "1.2")]
    V1_2,
    /// TLS 1.3.
    #[serde(rename = "1.3")]
    V1_3,
}

choices! { TlsVersion { V1_2 = "1.2", V1_3 = "1.3" } }

impl Value for TlsVersion {
    fn read(node: &Node<'_>, context: &mut Context) -> Option<Self> {
        choice(node, context)
    }
}

/// Which versions of HTTP a listener accepts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub enum ListenHttp {
    /// Both; the client chooses.
    #[default]
    #[serde(rename = "auto")]
    Auto,
    /// HTTP/1.1 only.
    #[serde(rename = "1")]
    Http1,
    /// HTTP/2 only.
    #[serde(rename = "2")]
    Http2,
}

choices! { ListenHttp { Auto = "auto", Http1 = "1", Http2 = "2" } }

impl Value for ListenHttp {
    fn read(node: &Node<'_>, context: &mut Context) -> Option<Self> {
        choice(node, context)
    }
}

/// Whether connections start with a PROXY protocol header.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ProxyProtocol {
    /// They don't.
    #[default]
    Off,
    /// Connections from trusted proxies start with a version 2 header.
    V2,
}

choices! { ProxyProtocol { Off = "off", V2 = "v2" } }

impl Value for ProxyProtocol {
    fn read(node: &Node<'_>, context: &mut Context) -> Option<Self> {
        choice(node, context)
    }
}

/// A network, as in "10.0.0.0/8" or "fd00::/8", or a single address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TrustedNet(pub IpNet);

impl FromStr for TrustedNet {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // Peers are compared in their canonical form, which may differ from the one in a log.
        let address = text.parse::<IpAddr>().map(|address| IpNet::from(address.to_canonical()));
        let net = address.or_else(|_| text.parse().map(plain));
        net.map(Self).map_err(|_| "expected one such as 10.0.0.1, 10.0.0.0/8 or fd00::/8")
    }
}

/// A network of IPv4-mapped IPv6 addresses, as the IPv4 network that it stands for.
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
        parsed(node, "address or network", context)
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

/// Limits for clients.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub struct ClientLimits {
    /// Maximum number of concurrent connections to this listener, tunnels included. Further connections wait until one
    /// closes. Defaults to 16,384, or fewer if the limit of open files leaves room for fewer.
    pub max_connections: Option<NonZeroU32>,
    /// Length of the queue of connections that the system has accepted and the gateway hasn't. The system may enforce a
    /// lower limit, and rejects further connections. Read when the address is opened.
    pub backlog: NonZeroU32,
    /// How long a request head may take, from its first byte. For the first request of a connection, the time counts
    /// from the start of the connection and includes the TLS handshake.
    pub header_timeout: Time,
    /// How long a connection may be idle between requests.
    pub idle_timeout: Time,
    /// How long a tunnel (a connection after `Upgrade`) may be idle before it is closed.
    pub tunnel_idle_timeout: TimeOrOff,
    /// How long a tunnel may be idle once one side has finished sending.
    pub tunnel_half_close_timeout: Time,
    /// How long a request continues after its HTTP/1.1 client has shut down its sending direction, since such a client
    /// may still read the response. With 0, the client counts as disconnected at once. A client that resets the
    /// connection, and an HTTP/2 client that shuts down its sending direction, always do.
    pub half_close_timeout: AnyTime,
    /// How long a client may take to send the next bytes of a request body until there is a response; after that, the
    /// request gets 408. Also how long a client may take to read the next bytes of a response; after that, the
    /// connection is closed.
    pub body_timeout: Time,
    /// Minimum rate of a request body in bytes per second, averaged over the time that the gateway waits for it, once
    /// `body_timeout` has passed. A slower request gets 408. Without it, one byte at a time could hold a request open
    /// forever.
    pub min_body_rate: Size,
    /// Maximum size of a request body; larger requests get 413. If not set, unlimited, since bodies are streamed;
    /// routes and guests have limits of their own.
    pub max_request_body: Option<Size>,
    /// Maximum total size of a request's header fields; larger requests get 431. Cookies and tokens of large sites stay
    /// below 32 KiB.
    pub max_header_size: Size,
    /// Maximum number of a request's header fields; requests with more get 431.
    pub max_headers: NonZeroU32,
    /// Minimum rate at which a client must read a response in bytes per second, averaged over the time that data is
    /// waiting for it, once `body_timeout` has passed. For slower clients, the HTTP/2 stream is reset, or the HTTP/1.1
    /// connection closed. If not set, any rate is accepted.
    pub min_response_rate: Option<Size>,
    /// Maximum number of concurrent requests on one HTTP/2 connection. Browsers use at most 100.
    pub max_http2_streams: NonZeroU32,
    /// Flow-control window of an HTTP/2 stream: bytes of a request body that a client may send before they are read. A
    /// stream transfers at most this much per round trip. A connection may hold this times `max_http2_streams`, so that
    /// streams whose body isn't read don't block others. If that exceeds 2 GiB, each stream gets less.
    pub http2_stream_window: Size,
}

impl ClientLimits {
    /// The flow-control windows of an HTTP/2 stream and of the connection.
    pub(crate) fn http2_windows(&self) -> (u32, u32) {
        let streams = self.max_http2_streams.get();
        let most = MAX_HTTP2_WINDOW / streams;
        let window = u32::try_from(self.http2_stream_window.0).map_or(most, |window| window.min(most));
        (window, window * streams)
    }
}

/// The largest flow-control window of HTTP/2 (RFC 9113 section 6.9.1).
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

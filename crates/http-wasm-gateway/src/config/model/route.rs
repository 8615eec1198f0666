//! Routes: which requests go through which guests, and where.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use http_wasm_tower::choices;
use schemars::JsonSchema;
use serde::Serialize;

use super::matching::{ExactPath, HeaderMatch, HostPattern, MethodName, PathPattern, PathPrefix};
use super::{Address, Redirect};
use crate::config::read::{Context, Located, Node, OneOrMany, Size, Time, Value, choice, section};

/// A route. Conditions that aren't set match every request.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub struct Route {
    /// The route's name in logs and metrics. Defaults to "route-1" for the first route, and so on.
    pub name: Option<Located<String>>,
    /// The listener at which the request arrived: its `address`, written in the same way.
    pub listen: OneOrMany<Located<Address>>,
    /// The scheme of the request: whether the client used TLS. A trusted proxy says so in `x-forwarded-proto`.
    pub scheme: Option<RouteScheme>,
    /// The requested host: "example.com", or "*.example.com" for all of its subdomains. Names that aren't ASCII are
    /// written in Punycode, as browsers send them: "xn--bcher-kva.de" for "bücher.de".
    pub host: OneOrMany<Located<HostPattern>>,
    /// The path must be exactly this one.
    pub path: Option<Located<ExactPath>>,
    /// The path must start with this prefix, in whole segments: "/api" matches "/api" and "/api/users" but not "/apis".
    pub path_prefix: Option<Located<PathPrefix>>,
    /// The path must match this pattern: "{name}" matches one segment, "{*rest}" at the end all remaining ones.
    pub path_pattern: Option<Located<PathPattern>>,
    /// What happens to a path that servers read in different ways, such as one with an encoded slash. The route is that
    /// of the path as sent, in which `%2f` isn't `/`.
    pub escaped_slashes: EscapedSlashes,
    /// The request method.
    pub method: OneOrMany<Located<MethodName>>,
    /// Header fields by name: a string that one of the fields must equal, or true or false for present or absent.
    pub headers: BTreeMap<String, Located<HeaderMatch>>,

    /// The guests that requests pass through, outermost first.
    pub guests: Vec<Located<String>>,

    /// What happens to `accept-encoding` of requests, before guests see them. "strip" makes it `identity`, so that
    /// upstreams don't compress responses: for guests that read bodies as they are received.
    pub accept_encoding: Strip,
    /// What happens to `range` and `if-range` of requests, before guests see them. "strip" removes them, so that
    /// upstreams send whole responses.
    pub range: Strip,

    /// The upstream that requests are forwarded to.
    pub upstream: Option<Located<String>>,
    /// Responds with a redirect.
    pub redirect: Option<Redirect>,
    /// Responds with a fixed response.
    pub respond: Option<Respond>,
    /// Responds without an upstream, for trying things out.
    pub backend: Option<Backend>,
    /// Runs the guests for Envoy, as its external processor over gRPC; see docs/envoy.md.
    pub ext_proc: Option<Located<ExtProc>>,

    /// How long the response head may take; then the request gets 504. This includes guests, and waiting for a
    /// connection or an HTTP/2 stream of the upstream, but not the queue of `concurrency`. If not set, the limits of
    /// the guests and the upstream apply.
    pub timeout: Option<Time>,
    /// Maximum size of a request body; larger requests get 413. If not set, unlimited.
    pub max_request_body: Option<Size>,
    /// Limits the number of concurrent requests.
    pub concurrency: Option<Concurrency>,
}

impl Route {
    /// The route's name, or its default. `index` is its position among all routes, from 0.
    pub(crate) fn name_at(&self, index: usize) -> String {
        self.name.as_ref().map_or_else(|| format!("route-{}", index + 1), |name| name.value.clone())
    }
}

section! {
    Route {
        name, listen, scheme, host, path, path_prefix, path_pattern, escaped_slashes, method, headers, guests,
        accept_encoding, range, upstream, redirect, respond, backend, ext_proc, timeout, max_request_body, concurrency
    }
    one_of ["upstream", "redirect", "respond", "backend", "ext_proc"]
    at_most_one_of ["path", "path_prefix", "path_pattern"]
}

/// What happens to a field of a request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Strip {
    /// It is forwarded.
    #[default]
    Keep,
    /// It is not forwarded.
    Strip,
}

choices! { Strip { Keep = "keep", Strip = "strip" } }

impl Value for Strip {
    fn read(node: &Node<'_>, context: &mut Context) -> Option<Self> {
        choice(node, context)
    }
}

/// The scheme of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RouteScheme {
    /// Without TLS.
    Http,
    /// With TLS.
    Https,
}

choices! { RouteScheme { Http = "http", Https = "https" } }

impl RouteScheme {
    /// Whether requests of this scheme use TLS.
    pub(crate) fn is_tls(self) -> bool {
        self == Self::Https
    }
}

impl Value for RouteScheme {
    fn read(node: &Node<'_>, context: &mut Context) -> Option<Self> {
        choice(node, context)
    }
}

/// What happens to encoded slashes and backslashes in paths, and to other spellings that servers read in different
/// ways.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EscapedSlashes {
    /// The path is forwarded as it arrived if it leads to the same route when decoded; otherwise the request gets 400.
    #[default]
    Auto,
    /// Like `auto`; in addition, a path with an encoded slash or a backslash gets 400.
    Reject,
    /// They are ordinary characters of a segment, for the upstream too. Other spellings are treated as with `auto`.
    Keep,
    /// They become slashes, and dot segments are resolved. Routes, guests and the upstream see the resulting path.
    Decode,
}

choices! { EscapedSlashes { Auto = "auto", Reject = "reject", Keep = "keep", Decode = "decode" } }

impl Value for EscapedSlashes {
    fn read(node: &Node<'_>, context: &mut Context) -> Option<Self> {
        choice(node, context)
    }
}

/// A fixed response.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub struct Respond {
    /// The status, from 200 to 599.
    pub status: Located<u16>,
    /// The body.
    pub body: Located<String>,
    /// The header fields. A body without a `content-type` is sent as plain text. The gateway itself sets
    /// `content-length` and `transfer-encoding`.
    pub headers: BTreeMap<String, Located<String>>,
}

impl Default for Respond {
    fn default() -> Self {
        Self { status: 200.into(), body: Located::default(), headers: BTreeMap::new() }
    }
}

section! { Respond { status, body, headers } }

/// A backend inside the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Backend {
    /// Responds with the request, as JSON.
    Echo,
    /// Responds with `hello world`.
    Hello,
}

choices! { Backend { Echo = "echo", Hello = "hello" } }

impl Value for Backend {
    fn read(node: &Node<'_>, context: &mut Context) -> Option<Self> {
        choice(node, context)
    }
}

/// Guests for an Envoy, which sends each request and response to the gateway, and applies what the route's `guests`
/// have changed.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub struct ExtProc {
    /// Whether Envoy selects its route again when guests have changed the method, the host or the path.
    pub reselect_route: bool,
    /// How long guests may take to process a request's or a response's head, including the wait for the body if they
    /// read it first. Then the client gets 504. If not set, the limits of the guests apply. Envoy's own
    /// `message_timeout` has no effect in the mode `FULL_DUPLEX_STREAMED`; in others, choose a shorter time than that.
    pub timeout: Option<Time>,
}

impl Default for ExtProc {
    fn default() -> Self {
        Self { reselect_route: true, timeout: None }
    }
}

section! { ExtProc { reselect_route, timeout } }

/// Concurrency limit of a route.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
#[schemars(extend("required" = ["max"]))]
pub struct Concurrency {
    /// Maximum number of concurrent requests, counted until their response head is available, or until their response
    /// has been sent if a guest rewrites it meanwhile (`stream`).
    pub max: NonZeroU32,
    /// Maximum number of requests that wait for one of those to finish. Further requests get 503 with `Retry-After` at
    /// once.
    pub queue: u32,
    /// How long a request may wait, and again if all connections of its HTTP/2 upstream are in use; then it gets 503
    /// with `Retry-After`.
    pub queue_timeout: Time,
}

impl Default for Concurrency {
    fn default() -> Self {
        Self { max: NonZeroU32::MIN, queue: 0, queue_timeout: Time::seconds(5) }
    }
}

section! { Concurrency { max, queue, queue_timeout } need [("max", "max = 100")] }

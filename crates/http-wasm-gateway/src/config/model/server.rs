//! Settings of the gateway as a whole, and of what operators see.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use http_wasm_tower::choices;
use schemars::JsonSchema;
use serde::Serialize;

use super::{Address, CodeCache, HostPattern};
use crate::config::read::{AnyTime, Context, Located, Node, Size, Value, choice, section};

/// Settings of the gateway as a whole.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub struct Server {
    /// How long requests are still accepted after a signal to stop, while `/readyz` and the health service of
    /// `ext_proc` already say that the gateway isn't ready, so that load balancers send no more. Choose a longer time
    /// than they take to notice: for active health checks, their interval times the number of failures that they wait
    /// for.
    pub drain_delay: AnyTime,
    /// How long requests in flight may take to finish during a graceful shutdown, after `drain_delay`.
    pub drain_timeout: AnyTime,
    /// Maximum number of concurrent requests, counted until their response head is available. Further requests get 503
    /// with `Retry-After`.
    pub max_requests: NonZeroU32,
    /// Maximum memory of all guest instances together. Above this, requests that need another instance get 503 with
    /// `Retry-After`; the last quarter is reserved for connections with at most 4 requests in flight. Defaults to half
    /// of the memory of the machine or of the process's control groups. Read only at start-up.
    pub guest_memory_budget: Option<Size>,
    /// Maximum memory of all bodies that are held: what guests have read and must be forwarded, and what guests have
    /// written, until it is delivered. Above this, requests get 503 with `Retry-After`: first those whose bodies make
    /// no progress, then the youngest. Defaults to a quarter of the memory of the machine or of the process's control
    /// groups. Read only at start-up.
    pub body_memory_budget: Option<Size>,
    /// Directory in which compiled guests are cached across restarts, or `false` for none. Anyone who can write to it
    /// can run code in the gateway. If not set, this is systemd's `CACHE_DIRECTORY` or, unless the gateway runs as
    /// root, `$XDG_CACHE_HOME/http-wasm` or `~/.cache/http-wasm`, provided that it belongs to the gateway's user and
    /// nobody else can write to it. Read only at start-up.
    pub code_cache: Option<CodeCache>,
    /// Whether the configuration is reloaded when its file, or a file that it refers to, has changed. SIGHUP reloads it
    /// in any case.
    pub watch_files: bool,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            drain_delay: AnyTime(Duration::ZERO),
            drain_timeout: AnyTime(Duration::from_secs(30)),
            max_requests: NonZeroU32::new(4096).expect("4096 is not 0"),
            guest_memory_budget: None,
            body_memory_budget: None,
            code_cache: None,
            watch_files: true,
        }
    }
}

section! {
    Server {
        drain_delay, drain_timeout, max_requests, guest_memory_budget, body_memory_budget, code_cache, watch_files
    }
}

/// The listener for operators: probes, metrics, status, reload.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub struct Admin {
    /// The address to listen on. Anyone who can reach it can read the metrics and reload the configuration.
    pub address: Located<Address>,
    /// Host names under which the listener is reached, such as "gateway.internal" or "*.internal". Requests with any
    /// other `Host` get 421, except IP addresses, `localhost`, and requests for `/livez` and `/readyz`. Without this
    /// check, a web page that an operator visits could read the status through the operator's browser (DNS rebinding).
    pub hosts: Vec<Located<HostPattern>>,
}

impl Default for Admin {
    fn default() -> Self {
        let address = "127.0.0.1:9901".parse::<Address>().expect("a valid address");
        Self { address: address.into(), hosts: Vec::new() }
    }
}

section! { Admin { address, hosts } }

/// The log of the gateway and its guests, on stderr. Read only at start-up.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub struct Log {
    /// The format of a line.
    pub format: LogFormat,
    /// What is logged, in the syntax of `RUST_LOG`, which takes precedence. Defaults to "info".
    pub filter: Option<Located<String>>,
}

section! { Log { format, filter } }

/// The format of a log line.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// One line per event, for humans.
    #[default]
    Pretty,
    /// One JSON object per event.
    Json,
}

choices! { LogFormat { Pretty = "pretty", Json = "json" } }

impl Value for LogFormat {
    fn read(node: &Node<'_>, context: &mut Context) -> Option<Self> {
        choice(node, context)
    }
}

/// A unique ID for each request, in `X-Request-Id`. Guests and upstreams receive it; the access log contains it, and so
/// does each line that a guest logs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub struct RequestId {
    /// Whether a client's own `X-Request-Id` is kept. Use it only if all clients reach the gateway through your own
    /// proxy. Otherwise, or if the field is missing or contains anything but letters, digits and `-_.:+/=@`, a new ID
    /// is generated.
    pub trust: bool,
    /// Whether the response contains it too.
    pub respond: bool,
}

section! { RequestId { trust, respond } }

/// One log line per request.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub struct AccessLog {
    /// The format of a line.
    pub format: AccessLogFormat,
    /// The file that lines are appended to. Defaults to stdout. It is reopened on SIGHUP, for log rotation.
    pub file: Option<Located<PathBuf>>,
}

section! { AccessLog { format, file } }

/// The format of an access log line.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AccessLogFormat {
    /// A JSON object with all details.
    #[default]
    Json,
    /// The combined log format of Apache and nginx.
    Combined,
}

choices! { AccessLogFormat { Json = "json", Combined = "combined" } }

impl Value for AccessLogFormat {
    fn read(node: &Node<'_>, context: &mut Context) -> Option<Self> {
        choice(node, context)
    }
}

/// Traces, which are sent to a collector.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
#[schemars(extend("required" = ["otlp_endpoint"]))]
pub struct Telemetry {
    /// The collector's URL for OTLP over HTTP, as in "http://127.0.0.1:4318".
    pub otlp_endpoint: Located<String>,
    /// The service name in traces.
    pub service_name: Located<String>,
    /// The share of traces started here that are sent, from 0 to 1. A client's own sampling decision, in `traceparent`,
    /// is kept.
    pub sample_ratio: f64,
}

impl Default for Telemetry {
    fn default() -> Self {
        Self {
            otlp_endpoint: Located::default(),
            service_name: "http-wasm".to_owned().into(),
            sample_ratio: 1.0,
        }
    }
}

const OTLP_ENDPOINT: (&str, &str) = ("otlp_endpoint", r#"otlp_endpoint = "http://127.0.0.1:4318""#);

section! { Telemetry { otlp_endpoint, service_name, sample_ratio } need [OTLP_ENDPOINT] }

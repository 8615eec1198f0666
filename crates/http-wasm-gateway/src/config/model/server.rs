//! What concerns the gateway as a whole, and what operators see of it.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Address, HostPattern};
use crate::config::read::{AnyTime, Context, Located, Node, Size, Value, choice, section};

/// What concerns the gateway as a whole.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub struct Server {
    /// How long running requests may take to finish once the gateway was told to stop.
    pub drain_timeout: AnyTime,
    /// Requests that may be on their way to a response head at once; further ones get 503 with `Retry-After`.
    pub max_requests: NonZeroU32,
    /// Memory that the instances of all guests may have together; past it, requests that need another one get 503 with
    /// `Retry-After`. Absent, half of what the machine, or the process's control groups, have. Read at the start only.
    pub guest_memory_budget: Option<Size>,
    /// Memory that bodies may take together while they are held: what guests have read of them and must be sent again,
    /// and what guests have written, until it is delivered. Past it, requests get 503 with `Retry-After`: first those
    /// whose bodies make no progress, then the youngest. Absent, a quarter of what the machine, or the process's
    /// control groups, have. Read at the start only.
    pub body_memory_budget: Option<Size>,
    /// Directory in which compiled guests are kept from one start to the next. Who can write there can run code in the
    /// gateway. Absent, each start compiles them. Read at the start only.
    pub code_cache: Option<Located<PathBuf>>,
    /// Whether the configuration is read again when its file, or one that it names, has changed. On SIGHUP it is either
    /// way.
    pub watch_files: bool,
}

impl Default for Server {
    fn default() -> Self {
        Self {
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
    Server { drain_timeout, max_requests, guest_memory_budget, body_memory_budget, code_cache, watch_files }
}

/// The listener for operators: probes, metrics, status, reload.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub struct Admin {
    /// Where it listens. Whoever reaches it can read the metrics and have the configuration read again.
    pub address: Located<Address>,
    /// Host names by which it is asked for, as in "gateway.internal" or "*.internal"; requests with another `Host` get
    /// 421. An address as `Host`, `localhost`, and requests for `/livez` and `/readyz` are always answered. Without
    /// this check, pages of other sites could read the status in the browsers of operators (DNS rebinding).
    pub hosts: Vec<HostPattern>,
}

impl Default for Admin {
    fn default() -> Self {
        let address = "127.0.0.1:9901".parse::<Address>().expect("a valid address");
        Self { address: address.into(), hosts: Vec::new() }
    }
}

section! { Admin { address, hosts } }

/// The log of the gateway and its guests, on stderr. Read at the start only.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub struct Log {
    /// How a line looks.
    pub format: LogFormat,
    /// What is logged, as in `RUST_LOG`, which goes before it. Absent, "info".
    pub filter: Option<String>,
}

section! { Log { format, filter } }

/// How a line of the log looks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// A line per event, for people.
    #[default]
    Pretty,
    /// A JSON object per event.
    Json,
}

impl Value for LogFormat {
    fn read(node: &Node<'_>, context: &mut Context) -> Option<Self> {
        choice(node, context)
    }
}

/// The name of each request, in `X-Request-Id`: guests and upstreams get it, the access log has it, and so has each
/// line of the log that a guest says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub struct RequestId {
    /// Whether a client's own `X-Request-Id` is kept, for where only a proxy of yours can reach the gateway. When not,
    /// and where it is absent or more than letters, digits and `-_.:+/=@`, a new one is made.
    pub trust: bool,
    /// Whether the response has it too.
    pub respond: bool,
}

section! { RequestId { trust, respond } }

/// A line per request.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub struct AccessLog {
    /// How a line looks.
    pub format: AccessLogFormat,
    /// The file that lines are appended to. Absent, stdout. On SIGHUP it is opened again, for tools that move it away.
    pub file: Option<Located<PathBuf>>,
}

section! { AccessLog { format, file } }

/// How a line of the access log looks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AccessLogFormat {
    /// A JSON object, with all there is to know.
    #[default]
    Json,
    /// The combined log format of Apache and nginx.
    Combined,
}

impl Value for AccessLogFormat {
    fn read(node: &Node<'_>, context: &mut Context) -> Option<Self> {
        choice(node, context)
    }
}

/// Traces, sent to a collector.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
#[schemars(extend("required" = ["otlp_endpoint"]))]
pub struct Telemetry {
    /// The collector's URL for OTLP over HTTP, as in "http://127.0.0.1:4318".
    pub otlp_endpoint: Located<String>,
    /// The service's name in traces.
    pub service_name: String,
    /// The share of traces begun here that are sent, from 0 to 1. A client's own decision, in `traceparent`, is kept.
    pub sample_ratio: f64,
}

impl Default for Telemetry {
    fn default() -> Self {
        Self { otlp_endpoint: Located::default(), service_name: "http-wasm".to_owned(), sample_ratio: 1.0 }
    }
}

const OTLP_ENDPOINT: (&str, &str) = ("otlp_endpoint", r#"otlp_endpoint = "http://127.0.0.1:4318""#);

section! { Telemetry { otlp_endpoint, service_name, sample_ratio } need [OTLP_ENDPOINT] }

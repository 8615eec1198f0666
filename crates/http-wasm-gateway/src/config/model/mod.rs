//! The settings of a configuration, section by section.

mod address;
mod code_cache;
mod guest;
mod identity;
mod listen;
mod matching;
mod record;
mod redirect;
mod route;
mod server;
mod upstream;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use super::read::{Located, NonEmpty, section};

pub use self::address::Address;
pub use self::code_cache::CodeCache;
pub use self::guest::{
    Allowed, Backtraces, Bodies, Decoding, Guest, GuestConfig, GuestLimits, GuestSource, MountPoint,
    OnFailure, Pool, Snapshot, Stream, Undecodable,
};
pub use self::identity::{FieldName, FieldPattern, Underscores};
pub use self::listen::{
    Certificate, ClientLimits, Listen, ListenEntry, ListenHttp, ListenTls, ProxyProtocol, TlsVersion,
    TrustedNet,
};
pub use self::matching::{ExactPath, HeaderMatch, HostPattern, MethodName, PathPattern, PathPrefix};
pub use self::record::{Record, RecordedExchanges, Substituted};
pub use self::redirect::{Redirect, RedirectTarget};
pub use self::route::{Backend, Concurrency, EscapedSlashes, ExtProc, Respond, Route, RouteScheme, Strip};
pub use self::server::{AccessLog, AccessLogFormat, Admin, Log, LogFormat, RequestId, Server, Telemetry};
pub use self::upstream::{
    ActiveHealth, Balance, ForwardedHost, Health, PassiveHealth, Upstream, UpstreamHttp, UpstreamTls,
};

pub(crate) use self::redirect::Requested;

/// The complete configuration of the gateway.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
#[schemars(extend("required" = ["listen", "routes"]))]
pub struct Config {
    /// Where to listen: each entry is an address, such as "127.0.0.1:8080", or a table with an address and further
    /// settings.
    pub listen: NonEmpty<Located<ListenEntry>>,
    /// The guests, by name.
    pub guests: BTreeMap<String, Located<Guest>>,
    /// The servers behind the gateway, by name.
    pub upstreams: BTreeMap<String, Located<Upstream>>,
    /// Which requests go through which guests, and where. The first matching route handles a request; a request without
    /// a matching route gets 404.
    pub routes: Vec<Located<Route>>,
    /// The listener for operators. If not set, there is none.
    pub admin: Option<Admin>,
    /// The log of the gateway and its guests, on stderr.
    pub log: Log,
    /// A unique ID for each request. If not set, requests have one only if there is an access log.
    pub request_id: Option<RequestId>,
    /// One log line per request. If not set, nothing is written.
    pub access_log: Option<AccessLog>,
    /// Traces. If not set, none are recorded.
    pub telemetry: Option<Telemetry>,
    /// Recordings of exchanges. If not set, nothing is recorded.
    pub record: Option<Record>,
    /// Settings of the gateway as a whole.
    pub server: Server,
    /// What the references in the configuration were replaced with, which recordings must not show.
    #[serde(skip)]
    pub substituted: Vec<Substituted>,
}

section! {
    Config {
        listen, guests, upstreams, routes, admin, log, request_id, access_log, telemetry, record, server
    }
    besides substituted
    need [("listen", r#"listen = ["127.0.0.1:8080"]"#), ("routes", r#"[[routes]], and below it backend = "echo""#)]
}

impl Config {
    /// The connections of clients that all listeners together are told to admit; those that aren't told choose a
    /// number that fits.
    pub(crate) fn max_connections(&self) -> u64 {
        let set = self.listen.iter().filter_map(|listen| listen.limits.max_connections);
        set.map(|max| u64::from(max.get())).sum()
    }
}

//! What a configuration can say, section by section.

mod address;
mod guest;
mod identity;
mod listen;
mod matching;
mod route;
mod server;
mod upstream;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use super::read::{Located, NonEmpty, section};

pub use self::address::Address;
pub use self::guest::{Guest, GuestConfig, GuestLimits, GuestSource, MountPoint, OnFailure, Pool, Snapshot};
pub use self::identity::{FieldName, FieldPattern, Underscores};
pub use self::listen::{
    Certificate, ClientLimits, Listen, ListenEntry, ListenHttp, ListenTls, ProxyProtocol, TlsVersion,
    TrustedNet,
};
pub use self::matching::{ExactPath, HeaderMatch, HostPattern, MethodName, PathPattern, PathPrefix};
pub use self::route::{Backend, Concurrency, EscapedSlashes, Redirect, Respond, Route};
pub use self::server::{AccessLog, AccessLogFormat, Admin, Log, LogFormat, RequestId, Server, Telemetry};
pub use self::upstream::{
    ActiveHealth, Balance, ForwardedHost, Health, PassiveHealth, Upstream, UpstreamHttp, UpstreamTls,
};

/// The whole configuration of the gateway.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
#[schemars(extend("required" = ["listen", "routes"]))]
pub struct Config {
    /// Where to listen: each an address, as in "127.0.0.1:8080", or a table with an address and more.
    pub listen: NonEmpty<Located<ListenEntry>>,
    /// The guests, by name.
    pub guests: BTreeMap<String, Located<Guest>>,
    /// The servers behind the gateway, by name.
    pub upstreams: BTreeMap<String, Located<Upstream>>,
    /// Which requests go where, and through which guests. The first route that fits a request takes it; a request that
    /// fits none is answered with 404.
    pub routes: Vec<Located<Route>>,
    /// The listener for operators; absent, there is none.
    pub admin: Option<Admin>,
    /// The log of the gateway and its guests, on stderr.
    pub log: Log,
    /// The name of each request; absent, there is one only if there is an access log.
    pub request_id: Option<RequestId>,
    /// A line per request; absent, there is none.
    pub access_log: Option<AccessLog>,
    /// Traces; absent, there are none.
    pub telemetry: Option<Telemetry>,
    /// What concerns the gateway as a whole.
    pub server: Server,
}

section! {
    Config { listen, guests, upstreams, routes, admin, log, request_id, access_log, telemetry, server }
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

//! The configuration: one TOML file, or the same value built in code.
//!
//! A file is read in two steps, each of which finds all faults and not only the first: `read` converts the document
//! into the `model`, value by value, and `check` checks the values in context and the files that they name.

mod check;
mod draft;
mod fault;
mod files;
mod json;
mod model;
mod permissions;
mod read;
mod references;
mod schema;

use std::path::Path;

pub(crate) use self::draft::Draft;
pub use self::fault::{Fault, Faults};
pub use self::files::ConfigFile;
pub use self::json::guests_from_json;
pub(crate) use self::model::Requested;
pub use self::model::{
    AccessLog, AccessLogFormat, ActiveHealth, Address, Admin, Allowed, Backend, Backtraces, Balance, Bodies,
    Certificate, ClientLimits, CodeCache, Concurrency, Config, Decoding, EscapedSlashes, ExactPath, ExtProc,
    FieldName, FieldPattern, ForwardedHost, Guest, GuestConfig, GuestLimits, GuestSource, HeaderMatch,
    Health, HostPattern, Listen, ListenEntry, ListenHttp, ListenTls, Log, LogFormat, MethodName, MountPoint,
    OnFailure, PassiveHealth, PathPattern, PathPrefix, Pool, ProxyProtocol, Record, RecordedExchanges,
    Redirect, RedirectTarget, RequestId, Respond, Route, RouteScheme, Server, Snapshot, Stream, Strip,
    Substituted, Telemetry, TlsVersion, TrustedNet, Undecodable, Underscores, Upstream, UpstreamHttp,
    UpstreamTls,
};
pub use self::read::{AnyTime, Located, NonEmpty, OneOrMany, Size, Time, TimeOrOff};
pub use self::schema::schema;

impl Config {
    /// Reads and checks a file. Relative paths in it are relative to its directory.
    ///
    /// # Errors
    /// All faults in it.
    pub fn load(path: &Path) -> Result<Self, Faults> {
        Draft::read(path).finish().map(|(config, _)| config)
    }

    /// Reads and checks the text of a file. `path` is where it comes from.
    ///
    /// # Errors
    /// All faults in it.
    pub fn parse(path: &Path, text: String) -> Result<Self, Faults> {
        Draft::parse(path, text).finish().map(|(config, _)| config)
    }
}

//! The configuration: one TOML file, or the same value built in code.
//!
//! A file is read in two steps, each of which finds all that is wrong and not only the first: `read` turns the
//! document into the `model`, value by value, and `check` looks at what the values mean together and at the files
//! that they name.

mod check;
mod fault;
mod files;
mod json;
mod model;
mod permissions;
mod read;
mod schema;

use std::path::{Path, PathBuf};

use toml::de::DeTable;

pub use self::fault::{Fault, Faults};
pub use self::files::ConfigFile;
pub use self::json::guests_from_json;
pub use self::model::{
    AccessLog, AccessLogFormat, ActiveHealth, Address, Admin, Allowed, Backend, Backtraces, Balance,
    Certificate, ClientLimits, Concurrency, Config, EscapedSlashes, ExactPath, ExtProc, FieldName,
    FieldPattern, ForwardedHost, Guest, GuestConfig, GuestLimits, GuestSource, HeaderMatch, Health,
    HostPattern, Listen, ListenEntry, ListenHttp, ListenTls, Log, LogFormat, MethodName, MountPoint,
    OnFailure, PassiveHealth, PathPattern, PathPrefix, Pool, ProxyProtocol, Redirect, RequestId, Respond,
    Route, Server, Snapshot, Telemetry, TlsVersion, TrustedNet, Underscores, Upstream, UpstreamHttp,
    UpstreamTls,
};
pub use self::read::{AnyTime, Located, NonEmpty, OneOrMany, Size, Time, TimeOrOff};
pub use self::schema::schema;

use self::read::{Context, Value as _};

impl Config {
    /// Reads and checks a file. Relative paths in it are relative to its directory.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn load(path: &Path) -> Result<Self, Faults> {
        match std::fs::read_to_string(path) {
            Ok(text) => Self::parse(path, text),
            Err(error) => Err(Faults::unreadable(path, &error)),
        }
    }

    /// Reads and checks the text of a file; `path` says where it is from.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn parse(path: &Path, text: String) -> Result<Self, Faults> {
        let (document, syntax) = DeTable::parse_recoverable(&text);
        if let Some(first) = syntax.iter().min_by_key(|error| error.span().map(|span| span.start)) {
            // What stands around a place that can't be read isn't known, so all further faults could be wrong.
            let fault = Fault::syntax(first, syntax.len());
            return Err(Faults::new(path, text, vec![fault]));
        }
        let base = path.parent().map_or_else(PathBuf::new, Path::to_path_buf);
        let mut context = Context::new(base);
        let span = document.span();
        let document = toml::Spanned::new(span, toml::de::DeValue::Table(document.into_inner()));
        let config = Self::read(&document, &mut context);
        if let Some(config) = &config {
            check::check(config, &mut context);
        }
        let faults = context.into_faults();
        match config {
            Some(config) if faults.is_empty() => Ok(config),
            _ => Err(Faults::new(path, text, faults)),
        }
    }
}

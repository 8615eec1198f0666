//! Recording exchanges.

use std::fmt;
use std::num::NonZeroU32;
use std::path::PathBuf;

use http_wasm_tower::choices;
use schemars::JsonSchema;
use serde::Serialize;

use crate::config::read::{Context, Located, Node, Size, Value, choice, section};

/// Recordings of exchanges on routes with guests, except `ext_proc`, for `http-wasm replay`: HAR files that also
/// contain what the guests did. Each file contains everything since the creation of the guests' instances, and so also
/// other clients' data.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
#[schemars(extend("required" = ["dir"]))]
pub struct Record {
    /// The directory for the files, which is created if it doesn't exist. Other users must not have access to it.
    pub dir: Located<PathBuf>,
    /// Which exchanges are kept: those in which a guest failed or whose response has a status of 500 or above, or all.
    pub exchanges: RecordedExchanges,
    /// The share of requests that are observed, from 0 to 1. They are served by separate instances, whose calls are
    /// followed from their creation on; others have no overhead. An exchange that isn't observed is not kept, even if
    /// it fails.
    pub sample: f64,
    /// Maximum number of files. The oldest are removed.
    pub max_files: NonZeroU32,
    /// Maximum size of all files together. The oldest are removed.
    pub max_bytes: Size,
    /// Maximum number of bytes written per second. If exchanges end faster, some are not recorded, and the log says so.
    pub bytes_per_second: Size,
    /// How much of each body is kept: the client's and the next handler's, of the request and of the response. Bytes
    /// that a guest reads or writes are part of what it did, and count as `log_bytes`.
    pub body_bytes: Size,
    /// Maximum memory for the log of one instance: its calls since its creation. At half of it, the instance is
    /// replaced with a new one after its request. If a single exchange exceeds it, its recording can't be replayed.
    pub log_bytes: Size,
    /// Maximum memory for the logs of all instances, and for bodies, together. Above this, recordings are incomplete,
    /// and say so.
    pub memory: Size,
    /// Names of further headers whose values are redacted. `authorization`, `cookie`, `set-cookie`,
    /// `proxy-authorization` and `x-api-key` always are.
    pub redact_headers: Vec<Located<String>>,
    /// Whether recordings contain secrets as they are. By default, the values of the headers above, everything that
    /// references such as `${NAME}` were replaced with, and the guests' configuration, arguments and environment are
    /// replaced with other values of the same length. Not replaced are the contents of mounted files that a guest
    /// reads, which recordings contain, the path of a guest's file, and values that a guest derives from secrets, such
    /// as the decoded text of Basic credentials.
    pub unredacted: bool,
}

impl Default for Record {
    fn default() -> Self {
        Self {
            dir: Located::default(),
            exchanges: RecordedExchanges::default(),
            sample: 1.0,
            max_files: NonZeroU32::new(1000).expect("1000 is not 0"),
            max_bytes: Size(256 * 1024 * 1024),
            bytes_per_second: Size(8 * 1024 * 1024),
            body_bytes: Size(64 * 1024),
            log_bytes: Size(2 * 1024 * 1024),
            memory: Size(64 * 1024 * 1024),
            redact_headers: Vec::new(),
            unredacted: false,
        }
    }
}

section! {
    Record {
        dir, exchanges, sample, max_files, max_bytes, bytes_per_second, body_bytes, log_bytes, memory,
        redact_headers, unredacted
    }
    need [("dir", r#"dir = "recordings""#)]
}

/// Which exchanges are kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RecordedExchanges {
    /// Those that failed.
    #[default]
    Failures,
    /// All.
    All,
}

choices! { RecordedExchanges { Failures = "failures", All = "all" } }

impl Value for RecordedExchanges {
    fn read(node: &Node<'_>, context: &mut Context) -> Option<Self> {
        choice(node, context)
    }
}

/// What a reference in the configuration was replaced with. It isn't shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Substituted(String);

impl Substituted {
    pub(in crate::config) fn new(value: String) -> Self {
        Self(value)
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl fmt::Debug for Substituted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

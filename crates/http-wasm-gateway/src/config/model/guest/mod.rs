//! Guests and their settings.

mod bodies;
mod limits;
mod lint;
mod mount;
mod policy;
mod source;

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Serialize;

use crate::config::read::{Located, section};

pub use self::bodies::{Bodies, Decoding, Stream, Undecodable};
pub use self::limits::GuestLimits;
pub use self::lint::Allowed;
pub use self::mount::MountPoint;
pub use self::policy::{Backtraces, OnFailure, Pool, Snapshot};
pub use self::source::{GuestConfig, GuestSource};

/// A guest. Routes refer to it by its name.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
#[schemars(extend("required" = ["path"]))]
pub struct Guest {
    /// The `.wasm` or `.wat` file.
    pub path: Located<GuestSource>,
    /// SHA-256 of the file, as printed by `sha256sum`. A file with a different hash is rejected.
    pub sha256: Option<Located<String>>,
    /// What `get_config` returns to the guest: a string is passed as it is, a table as JSON. If not set, it is empty.
    pub config: Option<Located<GuestConfig>>,
    /// File whose content `get_config` returns to the guest.
    pub config_file: Option<Located<PathBuf>>,
    /// Command-line arguments of the guest, after its name.
    pub args: Vec<Located<String>>,
    /// Environment variables of the guest. It doesn't inherit the gateway's.
    pub env: BTreeMap<String, Located<String>>,
    /// Directories that the guest can access: "HOST" or "HOST:GUEST", with ":ro" appended for read-only access.
    pub mounts: Vec<Located<MountPoint>>,
    /// Limits on what the guest may use.
    pub limits: GuestLimits,
    /// How many instances are kept.
    pub pool: Pool,
    /// What happens to a request if the guest fails.
    pub on_failure: OnFailure,
    /// How the guest gets bodies with a content coding, such as gzip. With "as-received", a guest that inspects or
    /// rewrites them gets compressed bytes.
    pub bodies: Bodies,
    /// Settings for `bodies = "decoded"`.
    pub decoding: Decoding,
    /// Which bodies the guest may rewrite while they are sent, as for event streams, long downloads and uploads. With
    /// "response", the first byte that it writes in `handle_response` sends the response's status and headers, which
    /// can't be changed after that; what it writes is sent at once, and `read_body` returns as soon as there is a byte.
    /// "request" is the same for requests: the first byte that the guest writes in `handle_request` sends method, URI
    /// and headers to the upstream. An instance is pinned to the message until it ends, for up to
    /// `limits.stream_total`, so each stream needs an instance with its memory. A failure of the guest aborts a message
    /// that has begun, even with `on_failure = "open"`. The guest must declare that it can stream, with a custom
    /// section `http-wasm-stream`, unless `allow` has "undeclared-stream".
    pub stream: Stream,
    /// Whether new instances start from a snapshot of an initialised one.
    pub snapshot: Snapshot,
    /// Whether the file may be the output of `http-wasm compile`. Such a file contains machine code, which is run
    /// without verification: use this only for files that nobody else can write to.
    pub trust_precompiled: bool,
    /// Checks of how the guest was built that it is allowed to fail: "unregistered" (its start-up code is never
    /// called), "command-exports" (its constructors run before each handler), "late-buffering" (`buffer_response` isn't
    /// enabled in time), "default-parameters" (a handler has a default parameter), "undeclared-stream" (`stream` is
    /// set, but the guest doesn't declare that it can stream). A guest that does nothing because of the first is
    /// refused, and so is one with the last; the others are warnings in the log.
    pub allow: Vec<Allowed>,
    /// Whether warnings about how the guest was built are errors, so that it is refused.
    pub strict: bool,
    /// How much of the guest's stack the log shows if the guest fails.
    pub backtraces: Backtraces,
    /// Whether the gateway starts even if the guest can't be loaded. Requests to its routes then get 503. A reload
    /// never removes an optional guest that is loaded.
    pub optional: bool,
}

section! {
    Guest {
        path, sha256, config, config_file, args, env, mounts, limits, pool, on_failure, bodies, decoding, stream,
        snapshot, trust_precompiled, allow, strict, backtraces, optional
    }
    need [("path", r#"path = "guest.wasm""#)]
    at_most_one_of ["config", "config_file"]
}

//! Guests, and what they may use.

mod limits;
mod mount;
mod policy;
mod source;

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Serialize;

use crate::config::read::{Located, section};

pub use self::limits::GuestLimits;
pub use self::mount::MountPoint;
pub use self::policy::{OnFailure, Pool, Snapshot};
pub use self::source::{GuestConfig, GuestSource};

/// One guest, which routes refer to by its name.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
#[schemars(extend("required" = ["path"]))]
pub struct Guest {
    /// Its `.wasm` or `.wat` file.
    pub path: Located<GuestSource>,
    /// SHA-256 of the file, as `sha256sum` prints it. Any other file is refused.
    pub sha256: Option<Located<String>>,
    /// What the guest gets from `get_config`: a text as it is, a table as JSON. Absent, nothing.
    pub config: Option<GuestConfig>,
    /// A file with what the guest gets from `get_config`.
    pub config_file: Option<Located<PathBuf>>,
    /// Arguments that the guest sees. The first is its own name by custom.
    pub args: Vec<String>,
    /// Environment variables that the guest sees. It sees none of the gateway's own.
    pub env: BTreeMap<String, Located<String>>,
    /// Directories that the guest may open: "HOST", "HOST:GUEST", and either with ":ro" for reading alone.
    pub mounts: Vec<Located<MountPoint>>,
    /// What it may use.
    pub limits: GuestLimits,
    /// How many of its instances are kept.
    pub pool: Pool,
    /// What becomes of a request when the guest fails on it.
    pub on_failure: OnFailure,
    /// Whether new instances start from a picture of an initialised one.
    pub snapshot: Snapshot,
    /// Whether its file may be one of `http-wasm compile`. That holds machine code, which is run as it is: only for a
    /// file that nobody else can write to.
    pub trust_precompiled: bool,
    /// Whether the gateway starts without it when it can't be loaded. Its routes are answered with 503 then. A reload
    /// never takes one away that is up.
    pub optional: bool,
}

section! {
    Guest {
        path, sha256, config, config_file, args, env, mounts, limits, pool, on_failure, snapshot,
        trust_precompiled, optional
    }
    need [("path", r#"path = "guest.wasm""#)]
    at_most_one_of ["config", "config_file"]
}

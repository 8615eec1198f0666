//! The guest, and what it is given, in commands that take one guest.

use std::path::PathBuf;

use http_wasm_gateway::plain;
use http_wasm_tower::{Limits, Snapshot};

use super::error::ArgsError;
use super::grants::{GrantArgs, Grants};
use super::lints::LintArgs;

/// What a guest is given, in commands that take one guest.
#[derive(Debug, clap::Args)]
pub(crate) struct GivenArgs {
    /// Configuration handed to the guest: text, or @FILE for a file's bytes [default: empty]
    #[arg(long, value_name = "TEXT|@FILE", allow_hyphen_values = true)]
    guest_config: Option<String>,

    #[command(flatten)]
    grants: GrantArgs,
}

impl GivenArgs {
    /// Reads the configuration if it is in a file, but not the guest at `path`.
    ///
    /// # Errors
    /// When that file can't be read, or a directory can't be granted.
    pub(crate) fn resolve(self, path: PathBuf) -> Result<GuestSpec, ArgsError> {
        GuestSpec::resolve(path, self.guest_config, self.grants.resolve()?)
    }
}

/// A guest and its settings. Its file is not read yet.
#[derive(Debug)]
pub(crate) struct GuestSpec {
    pub(crate) path: PathBuf,
    /// The bytes that `get_config` returns.
    pub(crate) config: Vec<u8>,
    pub(crate) grants: Grants,
    pub(crate) snapshot: Snapshot,
    pub(crate) lints: LintArgs,
    pub(crate) limits: Limits,
}

impl GuestSpec {
    /// Reads the configuration if it is in a file.
    ///
    /// # Errors
    /// When that file can't be read.
    pub(crate) fn resolve(path: PathBuf, config: Option<String>, grants: Grants) -> Result<Self, ArgsError> {
        let config = guest_config(config.unwrap_or_default())?;
        let (lints, limits) = Default::default();
        Ok(Self { path, config, grants, snapshot: Snapshot::Off, lints, limits })
    }
}

/// The configuration of a guest: the text, or the bytes of the file after `@`.
///
/// # Errors
/// When the file can't be read.
pub(crate) fn guest_config(value: String) -> Result<Vec<u8>, ArgsError> {
    match value.strip_prefix('@') {
        None => Ok(value.into_bytes()),
        Some(path) => std::fs::read(path)
            .map_err(|error| ArgsError::ConfigFile { path: path.into(), reason: plain(&error) }),
    }
}

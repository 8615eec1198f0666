//! The guest and its settings, for commands that take one guest.

use std::path::PathBuf;

use http_wasm_gateway::plain;
use http_wasm_tower::{Limits, Snapshot};

use super::error::ArgsError;
use super::grants::{GrantArgs, Grants};
use super::lints::LintArgs;

/// Configuration and access of the guest, for commands that take one guest.
#[derive(Debug, clap::Args)]
pub(crate) struct GivenArgs {
    /// Configuration of the guest: text, or @FILE for the content of a file [default: empty]
    #[arg(long, value_name = "TEXT|@FILE", allow_hyphen_values = true)]
    guest_config: Option<String>,

    #[command(flatten)]
    grants: GrantArgs,
}

impl GivenArgs {
    /// Reads the configuration if it is in a file. Doesn't read the guest at `path`.
    ///
    /// # Errors
    /// If that file or a granted directory can't be read.
    pub(crate) fn resolve(self, path: PathBuf) -> Result<GuestSpec, ArgsError> {
        GuestSpec::resolve(path, self.guest_config, self.grants.resolve()?)
    }
}

/// A guest and its settings. Its file hasn't been read yet.
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
    /// If that file can't be read.
    pub(crate) fn resolve(path: PathBuf, config: Option<String>, grants: Grants) -> Result<Self, ArgsError> {
        let config = guest_config(config.unwrap_or_default())?;
        let (lints, limits) = Default::default();
        Ok(Self { path, config, grants, snapshot: Snapshot::Off, lints, limits })
    }
}

/// The configuration of a guest: the text, or the bytes of the file after `@`.
///
/// # Errors
/// If the file can't be read.
pub(crate) fn guest_config(value: String) -> Result<Vec<u8>, ArgsError> {
    match value.strip_prefix('@') {
        None => Ok(value.into_bytes()),
        Some(path) => std::fs::read(path)
            .map_err(|error| ArgsError::ConfigFile { path: path.into(), reason: plain(&error) }),
    }
}

//! The guest argument of `check` and `bench`.

use std::path::PathBuf;

use http_wasm_gateway::plain;
use http_wasm_tower::{Limits, Snapshot};

use super::error::ArgsError;
use super::grants::Grants;
use super::lints::LintArgs;

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

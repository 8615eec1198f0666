//! The configuration file, and the files that it refers to.

use std::path::{Path, PathBuf};

use super::model::{Config, Guest, GuestSource, Listen, Upstream};
use super::{Draft, Faults};
use crate::fingerprint::Fingerprints;

/// The file of a configuration, with its state when it was read, and that of the files that its strings refer to: so
/// that a gateway that watches them misses no change.
#[derive(Debug, Clone)]
pub struct ConfigFile {
    pub(crate) path: PathBuf,
    pub(crate) fingerprints: Fingerprints,
    /// One line for each warning about it.
    pub(crate) warnings: Vec<String>,
}

impl ConfigFile {
    /// Reads and checks a file. Relative paths in it are relative to its directory.
    ///
    /// # Errors
    /// All errors in the file.
    pub fn load(path: &Path) -> Result<(Config, Self), Faults> {
        let own = Fingerprints::of([path.to_owned()]);
        let draft = Draft::read(path);
        let fingerprints = own.and(draft.references().clone());
        let (config, warnings) = draft.finish()?;
        let warnings = warnings.lines().collect();
        Ok((config, Self { path: path.to_owned(), fingerprints, warnings }))
    }
}

impl Config {
    /// The files that this configuration was built from, besides its own: guests and their configuration, certificates,
    /// keys and CA certificates. Directories for guests aren't included.
    pub fn files(&self) -> impl Iterator<Item = &PathBuf> {
        let guests = self.guests.values().flat_map(|guest| guest.files());
        let listeners = self.listen.iter().flat_map(|listen| listen.files());
        guests.chain(listeners).chain(self.upstreams.values().flat_map(|upstream| upstream.files()))
    }
}

impl Guest {
    fn files(&self) -> impl Iterator<Item = &PathBuf> {
        let module = match &self.path.value {
            GuestSource::File(path) => Some(path),
            GuestSource::Embedded(..) => None,
        };
        module.into_iter().chain(self.config_file.as_ref().map(|path| &path.value))
    }
}

impl Listen {
    pub(crate) fn files(&self) -> impl Iterator<Item = &PathBuf> {
        let pairs = self.tls.iter().flat_map(|tls| tls.certificates.iter());
        pairs.flat_map(|pair| [&pair.certificate.value, &pair.key.value])
    }
}

impl Upstream {
    pub(crate) fn files(&self) -> impl Iterator<Item = &PathBuf> {
        self.tls.iter().flat_map(|tls| {
            let identity = tls.identity.iter().flat_map(|pair| [&pair.certificate.value, &pair.key.value]);
            tls.ca.iter().map(|ca| &ca.value).chain(identity)
        })
    }
}

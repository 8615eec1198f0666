//! The files that a configuration names.

use std::path::PathBuf;

use super::model::{Config, Guest, GuestSource, Listen, Upstream};

impl Config {
    /// The files that this configuration was made from, beside its own: guests, what they are configured with,
    /// certificates, keys and authorities. Directories for guests are not among them.
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

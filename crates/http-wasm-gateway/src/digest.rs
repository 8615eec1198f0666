//! Digests, for detecting changes.

use std::path::PathBuf;

use serde::Serialize;
use sha2::{Digest as _, Sha256};

use crate::redaction::revealed;

/// A digest of settings and the contents of files. It doesn't keep its input, which may be secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Digest([u8; 32]);

impl Digest {
    /// The digest of these parts, in their order.
    pub(crate) fn of<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut all = Sha256::new();
        for part in parts {
            // The length is included, so that bytes can't move from one part to the next unnoticed.
            all.update((part.len() as u64).to_le_bytes());
            all.update(part);
        }
        Self(all.finalize().into())
    }

    /// The digest itself.
    pub(crate) fn bytes(self) -> [u8; 32] {
        self.0
    }

    /// The digest of settings and of the files that they name. A file that can't be read counts as empty, since code
    /// that needs it reports the error.
    pub(crate) fn of_settings<'a>(
        settings: &impl Serialize,
        files: impl IntoIterator<Item = &'a PathBuf>,
    ) -> Self {
        let settings = json(settings);
        let files: Vec<_> = files.into_iter().map(|path| std::fs::read(path).unwrap_or_default()).collect();
        Self::of(std::iter::once(&*settings).chain(files.iter().map(|file| &**file)))
    }
}

/// Settings in a form that can be compared.
pub(crate) fn json(settings: &impl Serialize) -> Vec<u8> {
    // All keys of the configuration's maps are text, and nothing else can make this fail.
    revealed(|| serde_json::to_vec(settings).unwrap_or_default())
}

/// The SHA-256 of these bytes, as `sha256sum` prints it.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::{Digest, sha256};

    #[test]
    fn a_digest_depends_on_the_boundaries_between_parts() {
        assert_eq!(Digest::of([&b"ab"[..], b"c"]), Digest::of([&b"ab"[..], b"c"]));
        assert_ne!(Digest::of([&b"ab"[..], b"c"]), Digest::of([&b"a"[..], b"bc"]));
    }

    #[test]
    fn a_sha256_is_printed_as_sha256sum_does() {
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(sha256(b""), empty);
    }
}

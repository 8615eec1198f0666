//! The key of a snapshot.

use std::hash::{Hash, Hasher};

use sha2::{Digest, Sha256};

use super::Snapshot;
use crate::engine::ImageKey;
use crate::limits::Limits;
use crate::run::wasi::WasiConfig;

/// A hash of everything that distinguishes snapshots. Of the limits, only these two are visible to a guest.
pub(super) fn key(
    wasm: &[u8],
    snapshot: Snapshot,
    config: &[u8],
    wasi: &WasiConfig,
    limits: &Limits,
) -> ImageKey {
    let mut sha = Sha(Sha256::new());
    (wasm, snapshot, config, wasi, limits.memory_bytes, limits.table_elements).hash(&mut sha);
    sha.0.finalize().into()
}

/// Feeds `Hash` implementations into SHA-256.
struct Sha(Sha256);

impl Hasher for Sha {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Unused: the whole digest is used.
    fn finish(&self) -> u64 {
        let hash: ImageKey = self.0.clone().finalize().into();
        hash.iter().take(8).fold(0, |sum, byte| sum << 8 | u64::from(*byte))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::run::wasi::Mount;

    #[test]
    fn each_setting_visible_to_a_guest_changes_the_snapshot_key() {
        let (limits, plain) = (Limits::default(), WasiConfig::default());
        let wasi = |arg: &[&str], env: &[(&str, &str)], mounts: &[Mount]| WasiConfig {
            args: arg.iter().map(ToString::to_string).collect(),
            env: env.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect(),
            mounts: mounts.to_vec(),
        };
        let of =
            |wasm: &[u8], config: &[u8], wasi: &WasiConfig| key(wasm, Snapshot::On, config, wasi, &limits);
        let keys = [
            of(b"a", b"b", &plain),
            of(b"ab", b"", &plain),
            of(b"", b"ab", &plain),
            of(b"a", b"b", &wasi(&["x"], &[], &[])),
            of(b"a", b"b", &wasi(&["x", ""], &[], &[])),
            of(b"a", b"b", &wasi(&[], &[("x", "y")], &[])),
            of(b"a", b"b", &wasi(&[], &[("xy", "")], &[])),
            of(b"a", b"b", &wasi(&[], &[], &[Mount::read_only("/x", "/y")])),
            of(b"a", b"b", &wasi(&[], &[], &[Mount::read_write("/x", "/y")])),
            key(b"a", Snapshot::SharedSeed, b"b", &plain, &limits),
            key(b"a", Snapshot::On, b"b", &plain, &Limits { memory_bytes: 1, ..limits.clone() }),
            key(b"a", Snapshot::On, b"b", &plain, &Limits { table_elements: 1, ..limits.clone() }),
        ];
        assert_eq!(HashSet::from(keys).len(), 12);
        let other = Limits { log_line_bytes: 1, ..limits.clone() };
        assert_eq!(key(b"a", Snapshot::On, b"b", &plain, &other), keys[0]);
    }
}

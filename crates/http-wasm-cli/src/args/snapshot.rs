//! `--snapshot`.

use clap::ValueEnum;
use http_wasm_tower::Snapshot;

/// What a snapshot may contain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum SnapshotMode {
    /// Nothing that should differ between instances
    On,
    /// Random bytes and times as well
    SharedSeed,
}

impl From<SnapshotMode> for Snapshot {
    fn from(mode: SnapshotMode) -> Self {
        match mode {
            SnapshotMode::On => Self::On,
            SnapshotMode::SharedSeed => Self::SharedSeed,
        }
    }
}

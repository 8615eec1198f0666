//! Snapshots of initialised guests, so that loading the same guest again doesn't initialise it again.

use std::time::Duration;

use super::code::SharedCode;
use super::single_flight::SingleFlight;
use crate::abi::Features;

/// Everything that a snapshot depends on. Guests are untrusted, so it is a collision-resistant hash.
pub(crate) type ImageKey = [u8; 32];

/// The snapshots in use.
pub(super) type Images = SingleFlight<ImageKey, Image>;

/// A module that starts where the start-up of another one ended, and what the host must know about it.
pub(crate) struct Image {
    pub(crate) code: SharedCode,
    /// Enabled during start-up.
    pub(crate) features: Features,
    /// The monotonic clock at its end.
    pub(crate) clock: Duration,
    pub(crate) facts: SnapshotFacts,
}

/// Information about a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SnapshotFacts {
    /// How long the guest's start-up took, which new instances skip.
    pub start_time: Duration,
    /// Size of the module including the snapshot, in bytes.
    pub module_bytes: usize,
}

//! Snapshots of initialised guests. Loading the same guest again reuses its snapshot.

use std::time::Duration;

use super::code::SharedCode;
use super::single_flight::SingleFlight;
use crate::abi::Features;

/// A hash of everything that a snapshot depends on. It is collision-resistant, since guests are untrusted.
pub(crate) type ImageKey = [u8; 32];

/// The snapshots in use.
pub(super) type Images = SingleFlight<ImageKey, Image>;

/// A module that begins where the start-up of another one ended, and the state that the host keeps for it.
pub(crate) struct Image {
    pub(crate) code: SharedCode,
    /// The features enabled during start-up.
    pub(crate) features: Features,
    /// The time of the monotonic clock at the end of the start-up.
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

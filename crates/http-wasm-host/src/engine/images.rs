//! Snapshots of initialised guests, so that loading the same guest again doesn't initialise it again.

use std::time::Duration;

use super::code::SharedCode;
use super::single_flight::SingleFlight;
use crate::abi::Features;

/// All that a snapshot depends on. Guests are untrusted, so it is a hash for which nobody finds two that collide.
pub(crate) type ImageKey = [u8; 32];

/// The snapshots in use.
pub(super) type Images = SingleFlight<ImageKey, Image>;

/// A module that begins where the start-up of another ended, and what the host must know of that.
pub(crate) struct Image {
    pub(crate) code: SharedCode,
    /// Enabled during start-up.
    pub(crate) features: Features,
    /// What the monotonic clock showed at its end.
    pub(crate) clock: Duration,
    pub(crate) facts: SnapshotFacts,
}

/// What is known of a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SnapshotFacts {
    /// How long the guest's start-up took, which no instance has to do again.
    pub start_time: Duration,
    /// Size of the module with the snapshot in it, in bytes.
    pub module_bytes: usize,
}

//! The part of a recording that isn't HTTP messages.

use serde::{Deserialize, Serialize};

use super::event::Event;
use crate::digest::sha256;

/// What the guests did.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Recorded {
    /// The version of this format.
    pub version: u32,
    /// Whether secrets were replaced with other values of the same length.
    pub redacted: bool,
    /// The instances that served the exchanges.
    pub guests: Vec<GuestRecord>,
}

/// What one instance of a guest did.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GuestRecord {
    /// The guest's name in the configuration.
    pub name: String,
    /// The number of the instance, unique within the guest.
    pub instance: u64,
    /// The file that it was loaded from, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// SHA-256 of that file, in hexadecimal digits.
    pub sha256: String,
    /// The time limit for computing per call, in milliseconds.
    pub deadline_ms: u64,
    /// Why the instance can't be replayed, if so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_replayable: Option<String>,
    /// The events of the instance, from its creation to the end of the last of these exchanges.
    pub events: Vec<Event>,
}

/// The version of the format that is written.
pub(super) const VERSION: u32 = 2;

impl GuestRecord {
    /// Whether a file with this content is the one that the guest was loaded from.
    pub fn is_loaded_from(&self, content: &[u8]) -> bool {
        sha256(content) == self.sha256
    }
}

impl Recorded {
    /// Checks that this version can read the recording.
    ///
    /// # Errors
    /// If it can't.
    pub fn check(&self) -> Result<(), String> {
        match self.version {
            VERSION => Ok(()),
            other => Err(format!("the recording has version {other}; this program reads version {VERSION}")),
        }
    }
}

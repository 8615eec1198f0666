//! The bodies that are sent and expected.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::text::{hash, shown};

/// A body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Payload {
    /// These bytes.
    Text(String),
    /// So many bytes of a pattern that shows which ones are missing or come twice.
    Pattern(usize),
}

impl Payload {
    /// No byte.
    pub const EMPTY: Self = Self::Pattern(0);

    /// All of it.
    pub fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Text(text) => text.clone().into_bytes(),
            Self::Pattern(len) => pattern(*len),
        }
    }

    /// The number of bytes.
    pub fn len(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Pattern(len) => *len,
        }
    }

    /// Whether there is no byte.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Length and hash as the guest packs them after reading a body to its end.
    pub(crate) fn digest(&self) -> u64 {
        let bytes = self.bytes();
        u64::from(hash(&bytes)) << 32 | bytes.len() as u64
    }
}

impl From<&str> for Payload {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl fmt::Display for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(&shown(text.as_bytes())),
            Self::Pattern(len) => write!(f, "{len} bytes"),
        }
    }
}

/// The guest has the same pattern.
pub(crate) fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i.wrapping_mul(167).wrapping_add(i >> 8) & 0xff) as u8).collect()
}

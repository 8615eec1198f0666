//! Bodies that are sent and expected.

use std::fmt;
use std::io::{self, Write as _};

use flate2::Compression;
use flate2::write::GzEncoder;
use serde::{Deserialize, Serialize};

use crate::text::{hash, shown};

/// A body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Payload {
    /// These bytes.
    Text(String),
    /// This many bytes of a pattern in which missing or repeated bytes can be detected.
    Pattern(usize),
    /// The bytes of another one, coded with gzip in such a way that every few bytes can be decoded as they arrive.
    Gzip(Box<Self>),
}

impl Payload {
    /// The empty body.
    pub const EMPTY: Self = Self::Pattern(0);

    /// This body, coded with gzip.
    pub fn gzip(self) -> Self {
        Self::Gzip(Box::new(self))
    }

    /// The bytes of the body.
    pub fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Text(text) => text.clone().into_bytes(),
            Self::Pattern(len) => pattern(*len),
            Self::Gzip(plain) => gzip(&plain.bytes()).unwrap_or_default(),
        }
    }

    /// The number of bytes.
    pub fn len(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Pattern(len) => *len,
            Self::Gzip(_) => self.bytes().len(),
        }
    }

    /// Whether the body is empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Length and hash, packed as the guest reports them after reading a body to the end.
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
            Self::Gzip(plain) => write!(f, "{plain}, coded with gzip"),
        }
    }
}

fn gzip(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    for piece in bytes.chunks(bytes.len().div_ceil(GZIP_PIECES).max(1)) {
        encoder.write_all(piece)?;
        encoder.flush()?;
    }
    encoder.finish()
}

/// The number of pieces of a coded body that can be decoded as they arrive.
const GZIP_PIECES: usize = 10;

/// The first `len` bytes of the pattern. The guest has the same pattern.
pub(crate) fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i.wrapping_mul(167).wrapping_add(i >> 8) & 0xff) as u8).collect()
}

//! Decoders for single codings.

mod brotli;
mod inflate;
mod step;
mod zstd;

use self::brotli::Brotli;
use self::inflate::Inflate;
use self::step::Step;
use self::zstd::Zstd;
use super::{Coding, DecodeError};

/// A decoder for one coding.
pub(super) enum Stage {
    Inflate(Box<Inflate>),
    Brotli(Box<Brotli>),
    Zstd(Box<Zstd>),
}

impl Stage {
    pub(super) fn new(coding: Coding) -> Self {
        match coding {
            Coding::Gzip | Coding::Deflate => Self::Inflate(Box::new(Inflate::new(coding))),
            Coding::Brotli => Self::Brotli(Box::default()),
            Coding::Zstd => Self::Zstd(Box::default()),
        }
    }

    pub(super) fn coding(&self) -> Coding {
        match self {
            Self::Inflate(inflate) => inflate.coding(),
            Self::Brotli(_) => Coding::Brotli,
            Self::Zstd(_) => Coding::Zstd,
        }
    }

    /// Decodes a part of `input` into `output`, which must not be empty. All output for the input so far is produced
    /// before a step that writes nothing. A step that neither reads nor writes needs more input.
    pub(super) fn step(&mut self, input: &[u8], output: &mut [u8]) -> Result<Step, DecodeError> {
        match self {
            Self::Inflate(inflate) => inflate.step(input, output),
            Self::Brotli(brotli) => brotli.step(input, output),
            Self::Zstd(zstd) => zstd.step(input, output),
        }
    }

    /// Whether the input may end here. An empty body is valid in every coding, since all clients accept it.
    pub(super) fn may_end(&self) -> bool {
        match self {
            Self::Inflate(inflate) => inflate.may_end(),
            Self::Brotli(brotli) => brotli.may_end(),
            Self::Zstd(zstd) => zstd.may_end(),
        }
    }

    /// The memory it uses, in bytes.
    pub(super) fn memory(&self) -> usize {
        match self {
            Self::Inflate(_) => Inflate::MEMORY,
            Self::Brotli(brotli) => brotli.memory(),
            Self::Zstd(zstd) => zstd.memory(),
        }
    }
}

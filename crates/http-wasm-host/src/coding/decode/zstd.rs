//! A decoder for zstd.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use zrip::FrameDecoder;

use super::step::Step;
use crate::coding::{Coding, DecodeError};

/// The largest window that recipients of zstd over HTTP have to support (RFC 9659).
const MAX_WINDOW: u64 = 8 * 1024 * 1024;

/// The maximum size of a block, coded or not.
const MAX_BLOCK: usize = 128 * 1024;

/// Decodes consecutive zstd frames. They are parsed here, since the crate's decoder reads from a source that must have
/// the whole block.
pub(in crate::coding) struct Zstd {
    decoder: FrameDecoder<Source>,
    source: Source,
    /// The bytes of the next part received so far.
    pending: Vec<u8>,
    next: Part,
    /// The output of the last block, and how much of it has been passed on.
    output: Vec<u8>,
    passed: usize,
    frame: Frame,
    is_empty: bool,
}

/// The current frame.
#[derive(Clone, Copy, Default)]
struct Frame {
    has_checksum: bool,
    window: u64,
    produced: u64,
}

/// A part of the format. It is parsed once it has been received completely.
#[derive(Clone, Copy)]
enum Part {
    /// The magic number and the byte after it.
    Magic,
    /// The header of a frame, with its length.
    FrameHeader(usize),
    /// The size of a skippable frame.
    SkippableHeader,
    /// The number of bytes to skip.
    Skipped(u64),
    BlockHeader,
    /// A block with its header, and the checksum if it is the last one.
    Block {
        len: usize,
        is_last: bool,
    },
}

/// The source of the crate's decoder, which always has a whole block. Shared, because the decoder owns its source.
#[derive(Clone, Default)]
struct Source(Arc<Mutex<VecDeque<u8>>>);

impl Source {
    fn queue(&self) -> MutexGuard<'_, VecDeque<u8>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Read for Source {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.queue().read(buf)
    }
}

impl Default for Zstd {
    fn default() -> Self {
        let source = Source::default();
        Self {
            decoder: FrameDecoder::with_limit(source.clone(), usize::MAX),
            source,
            pending: Vec::new(),
            next: Part::Magic,
            output: Vec::new(),
            passed: 0,
            frame: Frame::default(),
            is_empty: true,
        }
    }
}

impl Zstd {
    pub(super) fn may_end(&self) -> bool {
        let is_between_frames = matches!(self.next, Part::Magic) && self.pending.is_empty();
        is_between_frames && self.passed == self.output.len()
    }

    /// The tables, the buffers, and the history, of which the crate keeps up to two windows.
    pub(super) fn memory(&self) -> usize {
        const TABLES: usize = 64 * 1024;
        let history = (2 * self.frame.window).min(2 * self.frame.produced);
        TABLES + self.pending.capacity() + 3 * self.output.capacity() + history as usize
    }

    pub(super) fn step(&mut self, input: &[u8], output: &mut [u8]) -> Result<Step, DecodeError> {
        let mut read = 0;
        loop {
            let left = &self.output[self.passed..];
            if !left.is_empty() {
                let written = left.len().min(output.len());
                output[..written].copy_from_slice(&left[..written]);
                self.passed += written;
                return Ok(Step { read, written });
            }
            let rest = &input[read..];
            if let Part::Skipped(left) = &mut self.next {
                let skipped = rest.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                (*left, read) = (*left - skipped as u64, read + skipped);
                if *left > 0 {
                    return Ok(Step { read, written: 0 });
                }
                self.next = Part::Magic;
                continue;
            }
            let missing = self.next.len() - self.pending.len();
            let (now, later) = rest.split_at(missing.min(rest.len()));
            self.pending.extend_from_slice(now);
            read += now.len();
            if now.len() < missing {
                debug_assert!(later.is_empty());
                return Ok(Step { read, written: 0 });
            }
            self.take_part()?;
        }
    }

    /// Parses the next part, which is complete.
    fn take_part(&mut self) -> Result<(), DecodeError> {
        const CORRUPT: DecodeError = DecodeError::Corrupt(Coding::Zstd);
        let pending = &self.pending;
        self.next = match self.next {
            Part::Magic => match u32::from_le_bytes([pending[0], pending[1], pending[2], pending[3]]) {
                0xfd2f_b528 => Part::FrameHeader(frame_header_len(pending[4])),
                0x184d_2a50..=0x184d_2a5f => Part::SkippableHeader,
                _ if self.is_empty => return Err(CORRUPT),
                _ => return Err(DecodeError::TrailingBytes(Coding::Zstd)),
            },
            Part::SkippableHeader => {
                let size = u32::from_le_bytes([pending[4], pending[5], pending[6], pending[7]]);
                self.pending.clear();
                Part::Skipped(size.into())
            }
            Part::FrameHeader(_) => {
                let frame = frame(pending).ok_or(CORRUPT)?;
                let (window, max) = (frame.window, MAX_WINDOW);
                if window > max {
                    return Err(DecodeError::Window { coding: Coding::Zstd, window, max });
                }
                self.frame = frame;
                drop(self.decoder.reset(self.source.clone()));
                self.source.queue().extend(self.pending.drain(..));
                Part::BlockHeader
            }
            Part::BlockHeader => {
                let header = u32::from_le_bytes([pending[0], pending[1], pending[2], 0]);
                let (is_last, kind, size) = (header & 1 == 1, header >> 1 & 3, (header >> 3) as usize);
                let content = match kind {
                    // A single byte that is repeated.
                    1 => 1,
                    0 | 2 => size,
                    _ => return Err(CORRUPT),
                };
                if size > MAX_BLOCK {
                    return Err(CORRUPT);
                }
                let checksum = if is_last && self.frame.has_checksum { 4 } else { 0 };
                Part::Block { len: 3 + content + checksum, is_last }
            }
            Part::Block { is_last, .. } => {
                self.decode(is_last)?;
                if is_last { Part::Magic } else { Part::BlockHeader }
            }
            Part::Skipped(_) => Part::Magic,
        };
        self.is_empty = false;
        Ok(())
    }

    /// Decodes a whole block.
    fn decode(&mut self, is_last: bool) -> Result<(), DecodeError> {
        const CORRUPT: DecodeError = DecodeError::Corrupt(Coding::Zstd);
        self.passed = 0;
        // One byte more than a block can have, so that the decoder isn't called again afterwards.
        self.output.resize(MAX_BLOCK + 1, 0);
        let size = u32::from_le_bytes([self.pending[0], self.pending[1], self.pending[2], 0]) >> 3;
        let is_compressed = self.pending[0] >> 1 & 3 == 2;
        let written = if size == 0 && !is_compressed && !is_last {
            // The block changes nothing, and the crate's decoder would read on to the next one.
            self.pending.clear();
            0
        } else {
            self.source.queue().extend(&self.pending);
            self.pending.clear();
            let written = self.decoder.read(&mut self.output).map_err(|_| CORRUPT)?;
            if is_last && written > 0 && self.decoder.read(&mut [0]).map_err(|_| CORRUPT)? > 0 {
                return Err(CORRUPT);
            }
            written
        };
        self.output.truncate(written);
        self.frame.produced += written as u64;
        Ok(())
    }
}

impl Part {
    /// The number of bytes in the part.
    fn len(self) -> usize {
        match self {
            Self::Magic => 5,
            Self::FrameHeader(len) => len,
            Self::SkippableHeader => 8,
            Self::Skipped(_) => 0,
            Self::BlockHeader => 3,
            Self::Block { len, .. } => len,
        }
    }
}

/// The length of a frame's header with this descriptor, including the magic number.
fn frame_header_len(descriptor: u8) -> usize {
    let is_single_segment = descriptor & 0x20 != 0;
    let dictionary = [0, 1, 2, 4][usize::from(descriptor & 3)];
    let content_size = [usize::from(is_single_segment), 2, 4, 8][usize::from(descriptor >> 6)];
    5 + usize::from(!is_single_segment) + dictionary + content_size
}

/// Parses a frame's header. Returns `None` if it is invalid or requires a dictionary.
fn frame(header: &[u8]) -> Option<Frame> {
    let descriptor = *header.get(4)?;
    let content_size = || {
        let len = [1, 2, 4, 8][usize::from(descriptor >> 6)];
        let bytes = header.get(header.len() - len..)?;
        let size = bytes.iter().rev().fold(0, |size, &byte| size << 8 | u64::from(byte));
        Some(if len == 2 { size + 256 } else { size })
    };
    let window = if descriptor & 0x20 != 0 {
        content_size()?
    } else {
        let window = *header.get(5)?;
        let base = 1u64 << (10 + (window >> 3));
        base + base / 8 * u64::from(window & 7)
    };
    Some(Frame { has_checksum: descriptor & 4 != 0, window, produced: 0 })
}

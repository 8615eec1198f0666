//! Chunked bodies.

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use memchr::memchr;

use super::field::field;

/// The longest chunk-size line. It may contain extensions, which are ignored.
const MAX_SIZE_LINE: usize = 256;

/// The state of reading a chunked body.
#[derive(Debug)]
pub(crate) struct Chunks {
    next: Next,
    padding: Padding,
    max_trailer_bytes: usize,
    max_trailer_fields: usize,
    /// The number of bytes of trailers so far.
    trailer_bytes: usize,
    trailer_fields: usize,
    /// The trailers read so far.
    trailers: Option<Box<HeaderMap>>,
}

/// A part of a chunked body.
#[derive(Debug)]
pub(crate) enum ChunkPart {
    /// Content, never empty.
    Data(Bytes),
    Trailers(HeaderMap),
    End,
}

/// Why the rest of a chunked body is rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ChunkFault {
    Malformed(&'static str),
    /// Trailers exceed their limits.
    TooLarge(&'static str),
}

impl From<&'static str> for ChunkFault {
    fn from(reason: &'static str) -> Self {
        Self::Malformed(reason)
    }
}

impl ChunkFault {
    /// The error as a message.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Self::Malformed(reason) | Self::TooLarge(reason) => reason,
        }
    }
}

/// Whether whitespace may follow a chunk size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Padding {
    Refused,
    /// Old servers pad sizes, which all parsers interpret in the same way.
    Allowed,
}

#[derive(Debug, Default)]
enum Next {
    #[default]
    Size,
    Data {
        left: u64,
    },
    /// The end of a chunk's data.
    DataEnd,
    Trailer,
    End,
}

impl Chunks {
    /// A body from its start, with these limits for its trailers.
    pub(crate) fn new(padding: Padding, max_trailer_bytes: usize, max_trailer_fields: usize) -> Self {
        Self {
            next: Next::Size,
            padding,
            max_trailer_bytes,
            max_trailer_fields,
            trailer_bytes: 0,
            trailer_fields: 0,
            trailers: None,
        }
    }

    /// Takes the next part from `input`. Returns `None` if it needs more.
    pub(crate) fn take(&mut self, input: &mut BytesMut) -> Result<Option<ChunkPart>, ChunkFault> {
        loop {
            if self.is_end() {
                return Ok(Some(match self.trailers.take() {
                    Some(trailers) => ChunkPart::Trailers(*trailers),
                    None => ChunkPart::End,
                }));
            }
            let (is_data, is_trailer) =
                (matches!(self.next, Next::Data { .. }), matches!(self.next, Next::Trailer));
            let passed = self.step(input)?;
            if passed == 0 {
                return Ok(None);
            }
            let piece = input.split_to(passed);
            if is_data {
                return Ok(Some(ChunkPart::Data(piece.freeze())));
            }
            if is_trailer && !self.is_end() {
                let line = piece.freeze();
                let (name, value) = field(&line[..passed - 2], &line)?;
                let trailers = self.trailers.get_or_insert_default();
                trailers.try_append(name, value).map_err(|_| ChunkFault::TooLarge("too many trailers"))?;
            }
        }
    }

    /// Whether the body has ended.
    pub(crate) fn is_end(&self) -> bool {
        matches!(self.next, Next::End)
    }

    /// The length of the next piece of `input`, or 0 if more is needed to determine it.
    fn step(&mut self, input: &[u8]) -> Result<usize, ChunkFault> {
        match &mut self.next {
            Next::Size => {
                let too_long = ChunkFault::Malformed("a chunk size line is too long");
                let Some(line) = line(input, MAX_SIZE_LINE, too_long)? else {
                    return Ok(0);
                };
                let left = size(line, self.padding).ok_or("an invalid chunk size")?;
                self.next = if left == 0 { Next::Trailer } else { Next::Data { left } };
                Ok(line.len() + 2)
            }
            Next::Data { left } => {
                let passed = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len());
                *left -= passed as u64;
                if *left == 0 {
                    self.next = Next::DataEnd;
                }
                Ok(passed)
            }
            Next::DataEnd => match input {
                [b'\r', b'\n', ..] => {
                    self.next = Next::Size;
                    Ok(2)
                }
                [] | [b'\r'] => Ok(0),
                _ => Err("a chunk is longer than its size".into()),
            },
            Next::Trailer => {
                let too_large = ChunkFault::TooLarge("the trailers are too large");
                let left = self.max_trailer_bytes.saturating_sub(self.trailer_bytes);
                let Some(line) = line(input, left, too_large)? else { return Ok(0) };
                let bytes = line.len() + 2;
                if line.is_empty() {
                    self.next = Next::End;
                } else {
                    if bytes > left {
                        return Err(too_large);
                    }
                    if self.trailer_fields == self.max_trailer_fields {
                        return Err(ChunkFault::TooLarge("too many trailers"));
                    }
                    self.trailer_fields += 1;
                    self.trailer_bytes += bytes;
                }
                Ok(bytes)
            }
            Next::End => Ok(0),
        }
    }
}

/// The first line, without its line end.
fn line(input: &[u8], max: usize, too_long: ChunkFault) -> Result<Option<&[u8]>, ChunkFault> {
    let found = memchr(b'\n', input);
    if found.unwrap_or(input.len()) > max.saturating_add(1) {
        return Err(too_long);
    }
    let Some(end) = found else { return Ok(None) };
    match input[..end].strip_suffix(b"\r") {
        Some(line) if !line.contains(&b'\r') => Ok(Some(line)),
        _ => Err("a line doesn't end with CR LF".into()),
    }
}

/// The size in a line. Anything after a semicolon is an extension.
fn size(line: &[u8], padding: Padding) -> Option<u64> {
    let mut digits = line.split(|&byte| byte == b';').next().unwrap_or_default();
    if padding == Padding::Allowed {
        while let [rest @ .., b' ' | b'\t'] = digits {
            digits = rest;
        }
    }
    let hex = (1..=16).contains(&digits.len()) && digits.iter().all(u8::is_ascii_hexdigit);
    let extension = &line[digits.len()..];
    let control = extension.iter().any(|&byte| byte < b' ' && byte != b'\t' || byte == 0x7f);
    u64::from_str_radix(str::from_utf8(digits).ok().filter(|_| hex && !control)?, 16).ok()
}

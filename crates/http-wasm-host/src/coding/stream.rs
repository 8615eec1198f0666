//! Decodes a body as it streams.

use bytes::{Bytes, BytesMut};

use super::decode::Stage;
use super::{Coding, DecodeError, List};

/// The most decoded bytes per piece.
const PIECE: usize = 32 * 1024;

/// The ratio isn't checked below this many decoded bytes, since short repetitive texts expand a lot.
pub(crate) const RATIO_FREE: u64 = 1024 * 1024;

/// Decodes a body with any number of codings.
///
/// Push bytes when [`pull`](Self::pull) needs input, and pull until it does again. Decoded bytes are returned as early
/// as possible: after a flush by the sender, all bytes up to it are returned.
pub(crate) struct Decoder {
    /// The first stage takes the body as received.
    stages: Vec<Decoding>,
    output: Box<[u8]>,
    received: u64,
    has_ended: bool,
    max_ratio: u32,
}

struct Decoding {
    stage: Stage,
    input: Bytes,
    produced: u64,
}

/// The result of [`Decoder::pull`].
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Pulled {
    /// The next decoded bytes, at least one.
    Data(Bytes),
    /// Everything that was pushed is decoded.
    NeedsInput,
    /// The body is complete.
    Ended,
}

impl Decoder {
    /// A decoder for a body with these codings, which may expand to up to `max_ratio` times its size.
    pub(crate) fn new(codings: &List, max_ratio: u32) -> Self {
        // The codings are undone from the last to the first.
        let stages = codings.as_slice().iter().rev().map(|&coding| Decoding {
            stage: Stage::new(coding),
            input: Bytes::new(),
            produced: 0,
        });
        Self {
            stages: stages.collect(),
            output: vec![0; PIECE].into(),
            received: 0,
            has_ended: false,
            max_ratio,
        }
    }

    /// Adds the next bytes as received.
    pub(crate) fn push(&mut self, bytes: Bytes) {
        self.received += bytes.len() as u64;
        let input = &mut self.stages[0].input;
        if input.is_empty() {
            *input = bytes;
        } else if !bytes.is_empty() {
            let mut both = BytesMut::with_capacity(input.len() + bytes.len());
            both.extend_from_slice(input);
            both.extend_from_slice(&bytes);
            *input = both.freeze();
        }
    }

    /// Marks the end of the received bytes.
    pub(crate) fn end(&mut self) {
        self.has_ended = true;
    }

    /// Returns the next decoded bytes.
    ///
    /// # Errors
    /// When the body is invalid in one of its codings, or is a decompression bomb. The rest can't be decoded then.
    pub(crate) fn pull(&mut self) -> Result<Pulled, DecodeError> {
        let Self { stages, output, received, has_ended, max_ratio } = self;
        let limit = received.saturating_mul(u64::from(*max_ratio)).max(RATIO_FREE);
        let check = |coding: Coding, produced: u64| match produced > limit {
            true => Err(DecodeError::Ratio { coding, ratio: *max_ratio }),
            false => Ok(()),
        };
        pull(stages, output, *has_ended, &check)
    }

    /// The memory that it uses, in bytes, including input that isn't decoded yet.
    pub(crate) fn memory(&self) -> usize {
        let stages = self.stages.iter().map(|decoding| decoding.stage.memory() + decoding.input.len());
        stages.sum::<usize>() + self.output.len()
    }
}

/// Returns the next bytes from the last of `stages`.
fn pull(
    stages: &mut [Decoding],
    output: &mut [u8],
    has_ended: bool,
    check: &impl Fn(Coding, u64) -> Result<(), DecodeError>,
) -> Result<Pulled, DecodeError> {
    let Some((last, earlier)) = stages.split_last_mut() else {
        return Ok(if has_ended { Pulled::Ended } else { Pulled::NeedsInput });
    };
    loop {
        let step = last.stage.step(&last.input, output)?;
        let _taken = last.input.split_to(step.read);
        if step.written > 0 {
            last.produced += step.written as u64;
            check(last.stage.coding(), last.produced)?;
            return Ok(Pulled::Data(Bytes::copy_from_slice(&output[..step.written])));
        }
        if !last.input.is_empty() {
            if step.read == 0 {
                return Err(DecodeError::Corrupt(last.stage.coding()));
            }
            continue;
        }
        match pull(earlier, output, has_ended, check)? {
            Pulled::Data(bytes) => last.input = bytes,
            Pulled::Ended if !last.stage.may_end() => {
                return Err(DecodeError::Truncated(last.stage.coding()));
            }
            other => return Ok(other),
        }
    }
}

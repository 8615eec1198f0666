//! Decoders for gzip and deflate.

use flate2::{Decompress, FlushDecompress, Status};

use super::step::Step;
use crate::coding::{Coding, DecodeError};

/// The largest window of the format, 32 KiB, as a power of two.
const WINDOW_BITS: u8 = 15;

/// Decodes gzip, with concatenated members and zero padding, and deflate with or without the zlib wrapper.
pub(in crate::coding) struct Inflate {
    state: State,
    gzip: bool,
}

enum State {
    /// Nothing has been received.
    Start,
    /// The first byte of deflate data has been received. The second one shows its format.
    First(u8),
    Data(Decompress),
    /// The data is complete. In gzip, another member or padding may follow.
    Complete(Decompress),
    /// Zeros follow the last gzip member.
    Padding,
}

impl Inflate {
    /// The memory of a decoder for its window and state.
    pub(super) const MEMORY: usize = 64 * 1024;

    pub(super) fn new(coding: Coding) -> Self {
        Self { state: State::Start, gzip: coding == Coding::Gzip }
    }

    pub(super) fn coding(&self) -> Coding {
        if self.gzip { Coding::Gzip } else { Coding::Deflate }
    }

    pub(super) fn may_end(&self) -> bool {
        matches!(self.state, State::Start | State::Complete(_) | State::Padding)
    }

    pub(super) fn step(&mut self, input: &[u8], output: &mut [u8]) -> Result<Step, DecodeError> {
        let trailing = DecodeError::TrailingBytes(self.coding());
        match (&mut self.state, input) {
            (State::Start | State::First(_) | State::Complete(_) | State::Padding, []) => Ok(Step::default()),
            (State::Data(decoder), _) => {
                let step =
                    inflate(decoder, input, output).map_err(|()| DecodeError::Corrupt(self.coding()))?;
                if step.1 {
                    self.complete();
                }
                Ok(step.0)
            }
            (State::Start, _) if self.gzip => {
                self.state = State::Data(Decompress::new_gzip(WINDOW_BITS));
                self.step(input, output)
            }
            (State::Start, [first, ..]) => {
                self.state = State::First(*first);
                Ok(Step { read: 1, written: 0 })
            }
            (&mut State::First(first), &[second, ..]) => self.start_deflate([first, second], output),
            (State::Complete(_), [0, ..]) if self.gzip => {
                self.state = State::Padding;
                self.step(input, output)
            }
            (State::Complete(_), [0x1f, ..]) if self.gzip => {
                self.next_member();
                self.step(input, output)
            }
            (State::Padding, _) if input.iter().all(|&byte| byte == 0) => {
                Ok(Step { read: input.len(), written: 0 })
            }
            (State::Complete(_) | State::Padding, _) => Err(trailing),
        }
    }

    /// Detects the zlib wrapper by its first two bytes, which are a method and a check of both.
    fn start_deflate(&mut self, head: [u8; 2], output: &mut [u8]) -> Result<Step, DecodeError> {
        let is_wrapped = head[0] & 0x0f == 8 && u16::from_be_bytes(head).is_multiple_of(31);
        let mut decoder = Decompress::new(is_wrapped);
        // Two bytes can be the whole of the shortest deflate data, but produce no output.
        let (step, is_complete) =
            inflate(&mut decoder, &head, output).map_err(|()| DecodeError::Corrupt(Coding::Deflate))?;
        if step.read != head.len() {
            return Err(DecodeError::Corrupt(Coding::Deflate));
        }
        self.state = State::Data(decoder);
        if is_complete {
            self.complete();
        }
        // The first byte was taken before.
        Ok(Step { read: 1, ..step })
    }

    fn complete(&mut self) {
        if let State::Data(decoder) = std::mem::replace(&mut self.state, State::Padding) {
            self.state = State::Complete(decoder);
        }
    }

    fn next_member(&mut self) {
        if let State::Complete(mut decoder) = std::mem::replace(&mut self.state, State::Padding) {
            // The reset keeps the gzip format.
            decoder.reset(true);
            self.state = State::Data(decoder);
        }
    }
}

/// Runs one step. Returns it, and whether the data is complete.
fn inflate(decoder: &mut Decompress, input: &[u8], output: &mut [u8]) -> Result<(Step, bool), ()> {
    let (read, written) = (decoder.total_in(), decoder.total_out());
    let status = decoder.decompress(input, output, FlushDecompress::None).map_err(drop)?;
    let step = Step {
        read: (decoder.total_in() - read) as usize,
        written: (decoder.total_out() - written) as usize,
    };
    Ok((step, status == Status::StreamEnd))
}

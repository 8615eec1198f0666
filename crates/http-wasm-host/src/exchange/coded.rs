//! A body that is decoded while a guest reads it, and kept as received.

use std::task::{Context, Poll, ready};

use super::budget::Budget;
use super::retention::{Retention, reserve};
use crate::abi::BodyKind;
use crate::coding::{DecodeError, Decoder, List, Pulled};
use crate::error::Reason;
use crate::host::{BodyState, Host};
use crate::message::body_budget::{BodyAccount, NoBodyMemory, Reservation};
use crate::message::{Chunks, Frame, Recode, Trailers};

/// The coded form of a body whose content the guest reads.
pub(super) struct Coded {
    codings: List,
    /// `None` until the guest reads.
    decoder: Option<Box<Decoder>>,
    /// Reserved for the decoder.
    decoder_memory: Reservation,
    /// The body as received so far. It is forwarded unless the guest changes the body.
    raw: Chunks,
    /// Reserved for bytes that have yet to arrive.
    ahead: Reservation,
    /// Whether `raw` lacks bytes that were received.
    pub(super) is_raw_lost: bool,
    /// Whether the end of the body has been received.
    is_raw_complete: bool,
    /// Whether the whole body has been decoded.
    has_ended: bool,
}

impl Coded {
    pub(super) fn new(codings: List) -> Self {
        Self {
            codings,
            decoder: None,
            decoder_memory: Reservation::default(),
            raw: Chunks::default(),
            ahead: Reservation::default(),
            is_raw_lost: false,
            is_raw_complete: false,
            has_ended: false,
        }
    }

    /// The state of the content, given the state of the host's body.
    pub(super) fn state(&self, rest: BodyState) -> BodyState {
        match rest {
            _ if self.has_ended => BodyState::Ended,
            BodyState::Ended => BodyState::Buffered,
            other => other,
        }
    }

    /// The next piece of the content, or `None` at its end. Trailers are added to `trailers`.
    #[expect(clippy::too_many_arguments, reason = "they are parts of one exchange")]
    pub(super) fn poll<H: Host>(
        &mut self,
        host: &mut H,
        kind: BodyKind,
        keep: Retention,
        budget: &Budget,
        account: Option<&BodyAccount>,
        trailers: &mut Trailers,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Frame>, Reason>> {
        loop {
            let decoder = self
                .decoder
                .get_or_insert_with(|| Box::new(Decoder::new(&self.codings, budget.decoded_ratio)));
            let pulled = decoder.pull().map_err(|error| undecodable(kind, error))?;
            if let Some(account) = account {
                let (used, reserved) = (decoder.memory(), self.decoder_memory.bytes());
                if used > reserved {
                    self.decoder_memory.merge(account.reserve(used - reserved)?);
                }
            }
            match pulled {
                Pulled::Data(data) => return Poll::Ready(Ok(Some(Frame::Data(data)))),
                Pulled::Ended => {
                    (self.has_ended, self.decoder) = (true, None);
                    (self.decoder_memory, self.ahead) = Default::default();
                    return Poll::Ready(Ok(None));
                }
                Pulled::NeedsInput => {}
            }
            match ready!(host.poll_body(kind, cx))
                .transpose()
                .map_err(|source| Reason::Body { kind, source })?
            {
                Some(Frame::Data(data)) => {
                    decoder.push(data.clone());
                    self.keep(data, kind, keep, budget, account)?;
                }
                last => {
                    if let Some(fields) = last.and_then(Frame::into_trailers) {
                        trailers.arrive(fields);
                    }
                    decoder.end();
                    self.is_raw_complete = true;
                }
            }
        }
    }

    /// Keeps bytes as received.
    fn keep(
        &mut self,
        data: bytes::Bytes,
        kind: BodyKind,
        keep: Retention,
        budget: &Budget,
        account: Option<&BodyAccount>,
    ) -> Result<(), Reason> {
        if keep == Retention::Nothing {
            self.lose_raw();
        }
        if self.is_raw_lost {
            return Ok(());
        }
        let room = budget.check_kept(kind, self.raw.len() + data.len());
        let reserved = room.and_then(|()| match account {
            None => Ok(Reservation::default()),
            Some(account) => {
                account.moved(data.len());
                reserve(&mut self.ahead, account, data.len()).map_err(|NoBodyMemory| Reason::BodyMemory)
            }
        });
        match reserved {
            Ok(reserved) => self.raw.push_reserved(data, reserved),
            // The bytes are only for undoing, which most guests never need.
            Err(_) if keep == Retention::Undo && account.is_none_or(|account| account.check().is_ok()) => {
                self.lose_raw();
            }
            Err(reason) => return Err(reason),
        }
        Ok(())
    }

    /// Drops the body as received, since it won't be forwarded.
    pub(super) fn lose_raw(&mut self) {
        (self.raw, self.ahead) = Default::default();
        self.is_raw_lost |= self.decoder.is_some() || self.has_ended;
    }

    /// The body as received so far, and whether more of it follows.
    pub(super) fn take_raw(&mut self) -> (Chunks, bool) {
        (std::mem::take(&mut self.raw), !self.is_raw_complete)
    }

    /// The decoder for the rest of the body.
    pub(super) fn take_decoder(&mut self, max_ratio: u32) -> Recode {
        let decoder = self.decoder.take().unwrap_or_else(|| Box::new(Decoder::new(&self.codings, max_ratio)));
        Recode::decoder(decoder, std::mem::take(&mut self.decoder_memory))
    }
}

fn undecodable(kind: BodyKind, error: DecodeError) -> Reason {
    match error {
        DecodeError::Ratio { .. } => Reason::Bomb { kind, error },
        _ => Reason::Body { kind, source: error.into() },
    }
}

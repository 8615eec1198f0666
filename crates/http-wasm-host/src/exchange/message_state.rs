//! One message's body and trailers: what was read of them, what must be kept, and what was written in their place.

use super::accessed::Accessed;
use crate::abi::EofLen;
use crate::message::body_budget::Reservation;
use crate::message::trailers::UNKNOWN;
use crate::message::{Chunks, Fields, Outgoing, Rest, Trailers};

/// The state of one message's body and trailers. Most exchanges never touch either.
#[derive(Default)]
pub(super) struct MessageState {
    // Not in boxes: an instance's exchanges share one state, and fill it where it is.
    /// What the guest has written in place of the body.
    pub(super) written: Option<Written>,
    pub(super) accessed: Option<Accessed>,
}

#[derive(Default)]
pub(super) struct Written {
    pub(super) bytes: Chunks,
    /// Reserved for bytes that the guest has yet to write in this phase.
    pub(super) ahead: Reservation,
}

/// The result of a read at the end of a body.
pub(super) const AT_END: EofLen = EofLen { eof: true, len: 0 };

impl MessageState {
    #[inline]
    pub(super) fn access(&mut self) -> &mut Accessed {
        self.accessed.get_or_insert_default()
    }

    #[inline]
    pub(super) fn clear(&mut self) {
        if self.is_touched() {
            (self.written, self.accessed) = (None, None);
        }
    }

    /// Whether anything of the body or its trailers was read, written or changed.
    #[inline]
    pub(super) fn is_touched(&self) -> bool {
        self.written.is_some() || self.accessed.is_some()
    }

    pub(super) fn trailers(&self) -> &Fields {
        self.known_trailers().current()
    }

    pub(super) fn known_trailers(&self) -> &Trailers {
        self.accessed.as_ref().map_or(&UNKNOWN, |accessed| &accessed.trailers)
    }

    pub(super) fn trailers_mut(&mut self) -> &mut Trailers {
        &mut self.access().trailers
    }

    pub(super) fn replayed_bytes(&self) -> usize {
        self.accessed.as_ref().map_or(0, |accessed| accessed.replayed)
    }

    /// Called when the next handler's response arrives. What the guest has written so far precedes its body.
    #[inline]
    pub(super) fn begin_response(&mut self) {
        if let Some(written) = self.written.take().filter(|written| !written.bytes.is_empty()) {
            let accessed = self.access();
            accessed.early = written.bytes.len();
            accessed.started = true;
            accessed.unread = written.bytes;
        }
    }

    #[inline]
    pub(super) fn is_written(&self) -> bool {
        self.written.is_some()
    }

    /// Whether the end of the original body has arrived, including its trailers.
    #[inline]
    pub(super) fn has_ended(&self) -> bool {
        self.accessed.as_ref().is_some_and(|accessed| accessed.ended)
    }

    /// Whether the outgoing body differs from the host's.
    #[inline]
    pub(super) fn is_changed(&self) -> bool {
        self.is_written()
            || self.accessed.as_ref().is_some_and(|accessed| {
                accessed.consumed
                    || accessed.early > 0
                    || accessed.coded.as_ref().is_some_and(|coded| coded.is_raw_lost)
            })
    }

    /// Whether the body is decoded while it is read.
    pub(super) fn is_coded(&self) -> bool {
        self.accessed.as_ref().is_some_and(|accessed| accessed.coded.is_some())
    }

    pub(super) fn drop_trailers(&mut self) {
        if let Some(accessed) = &mut self.accessed {
            accessed.trailers = Trailers::default();
        }
    }

    #[inline]
    pub(super) fn has_trailers(&self) -> bool {
        self.accessed.as_ref().is_some_and(|accessed| !accessed.trailers.is_untouched())
    }

    /// Takes what the guest has written, if it has done nothing else to the body or its trailers.
    #[inline]
    pub(super) fn take_written(&mut self) -> Option<Chunks> {
        if self.accessed.is_some() {
            return None;
        }
        self.written.take().map(|written| written.bytes)
    }

    /// The outgoing body, or `None` if it is the host's, unchanged. `rest` follows a body that the guest has written.
    #[inline]
    pub(super) fn take_outgoing(&mut self, rest: Rest, decoded_ratio: u32) -> Option<Outgoing> {
        if let Some(written) = self.written.take() {
            let trailers = self.accessed.as_mut().map_or_else(Trailers::default, |accessed| {
                // The guest hasn't failed, so the original is no longer needed.
                drop(accessed.take_received());
                accessed.trailers.clone()
            });
            return Some(Outgoing { first: written.bytes, rest, trailers, ..Outgoing::default() });
        }
        let accessed = self.accessed.as_mut()?;
        accessed.ahead = Reservation::default();
        if accessed.coded.is_some() {
            return self.take_coded(decoded_ratio);
        }
        if !accessed.started && accessed.trailers.is_untouched() {
            return None;
        }
        accessed.forget_undo();
        accessed.replayed = accessed.kept_len();
        let (first, rest) = (accessed.take_received(), accessed.rest());
        Some(Outgoing { first, rest, trailers: accessed.trailers.clone(), ..Outgoing::default() })
    }

    /// The same for a body that is decoded and that the guest hasn't replaced.
    fn take_coded(&mut self, decoded_ratio: u32) -> Option<Outgoing> {
        let is_changed = self.is_changed();
        let accessed = self.accessed.as_mut()?;
        let trailers = accessed.trailers.clone();
        if !accessed.started && trailers.is_untouched() {
            return None;
        }
        accessed.forget_undo();
        accessed.replayed = accessed.kept_len();
        let coded = accessed.coded.as_mut()?;
        if !is_changed {
            let (first, more) = coded.take_raw();
            drop(accessed.take_received());
            let rest = if more { Rest::Follows } else { Rest::Dropped };
            return Some(Outgoing { first, rest, trailers, ..Outgoing::default() });
        }
        let decode = (!accessed.ended).then(|| Box::new(coded.take_decoder(decoded_ratio)));
        let (first, rest) = (accessed.take_received(), accessed.rest());
        Some(Outgoing { first, rest, trailers, decode, encode: None })
    }

    /// Reads what the guest itself has written, from where the last read stopped.
    pub(super) fn read_own(&mut self, buf: &mut [u8]) -> EofLen {
        let Self { written, accessed } = self;
        let own_read = &mut accessed.get_or_insert_default().own_read;
        let Some(written) = written else { return AT_END };
        let len = written.bytes.copy_to(*own_read, buf);
        *own_read += len;
        // A write of length 0 may have removed bytes that were read before.
        EofLen { eof: *own_read >= written.bytes.len(), len: len as u32 }
    }

    /// Whether bytes of the original body have been lost.
    pub(super) fn is_original_lost(&self) -> bool {
        self.accessed.as_ref().is_some_and(|accessed| {
            accessed.lost || accessed.coded.as_ref().is_some_and(|coded| coded.is_raw_lost)
        })
    }

    /// The original body, or `None` if it is the host's, unchanged.
    pub(super) fn take_original(&mut self) -> Option<Outgoing> {
        let mut accessed = self.accessed.take().filter(|accessed| accessed.started)?;
        let (first, rest) = match &mut accessed.coded {
            Some(coded) => {
                let (first, more) = coded.take_raw();
                (first, if more { Rest::Follows } else { Rest::Dropped })
            }
            None => {
                let mut first = accessed.take_received();
                first.skip(accessed.early);
                (first, accessed.rest())
            }
        };
        Some(Outgoing { first, rest, trailers: accessed.trailers.into_original(), ..Outgoing::default() })
    }
}

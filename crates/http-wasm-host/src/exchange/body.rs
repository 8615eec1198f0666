//! Bodies: streams that a guest reads, what must be kept of them, and what it writes in their place.

use std::task::{Context, Poll, ready};

use bytes::Bytes;

use super::trailers::NO_FIELDS;
use super::{Budget, Chunks, Exchange, Trailers};
use crate::abi::{BodyKind, EofLen, Features, HeaderKind, Phase};
use crate::error::Reason;
use crate::fields::Fields;
use crate::host::{Frame, Host, Outgoing};

/// What an exchange knows of one message's body and trailers. Most exchanges never touch either.
#[derive(Default)]
pub(super) struct Side {
    /// What the guest has written in place of the body.
    written: Option<Vec<u8>>,
    touched: Option<Box<Touched>>,
}

#[derive(Default)]
struct Touched {
    /// Received, but not yet read by the guest.
    unread: Chunks,
    /// Read by the guest, and to be sent again.
    kept: Chunks,
    /// How many bytes at the front of `kept` are sent again only if the guest fails.
    kept_for_undo: usize,
    /// Not all that was read is in `kept`.
    lost: bool,
    /// Bytes that the next handler doesn't get: read without being kept for it.
    consumed: bool,
    /// Bytes of the current read that are in the guest's memory already, should it have to wait for more.
    filled: usize,
    /// Whether anything has been taken out of the host's body, or put before it.
    started: bool,
    ended: bool,
    /// Where the guest is in reading what it wrote itself.
    own_read: usize,
    /// The guest's bytes that come before the next handler's body.
    early: usize,
    /// Bytes that were kept and have been handed on.
    replayed: usize,
    trailers: Trailers,
}

/// Why what a guest reads is kept.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Keep {
    /// The next handler, or the client, gets it again.
    Replay,
    /// They get it again if the guest fails.
    Undo,
    Nothing,
}

impl Side {
    fn touch(&mut self) -> &mut Touched {
        self.touched.get_or_insert_default()
    }

    /// Whether anything of the body or its trailers was read, written or changed.
    #[inline]
    pub(super) fn is_touched(&self) -> bool {
        self.written.is_some() || self.touched.is_some()
    }

    pub(super) fn trailers(&self) -> &Fields {
        self.touched.as_ref().map_or(&NO_FIELDS, |touched| touched.trailers.current())
    }

    pub(super) fn trailers_mut(&mut self) -> &mut Trailers {
        &mut self.touch().trailers
    }

    pub(super) fn replayed_bytes(&self) -> usize {
        self.touched.as_ref().map_or(0, |touched| touched.replayed)
    }

    /// The next handler's response is there; what the guest has written so far goes before its body.
    #[inline]
    pub(super) fn begin_response(&mut self) {
        if let Some(written) = self.written.take().filter(|written| !written.is_empty()) {
            let touched = self.touch();
            touched.early = written.len();
            touched.started = true;
            touched.unread = Chunks::from(Bytes::from(written));
        }
    }

    fn is_written(&self) -> bool {
        self.written.is_some()
    }

    /// Whether the body that goes out is another one than the host's.
    pub(super) fn is_changed(&self) -> bool {
        self.is_written()
            || self.touched.as_ref().is_some_and(|touched| touched.consumed || touched.early > 0)
    }

    pub(super) fn drop_trailers(&mut self) {
        if let Some(touched) = &mut self.touched {
            touched.trailers = Trailers::default();
        }
    }

    pub(super) fn has_trailers(&self) -> bool {
        self.touched.as_ref().is_some_and(|touched| !touched.trailers.is_untouched())
    }

    pub(super) fn edits_trailers(&self) -> bool {
        self.touched.as_ref().is_some_and(|touched| touched.trailers.edited())
    }

    #[cfg(feature = "mutations")]
    pub(super) fn forget_kept(&mut self) {
        let touched = self.touch();
        (touched.kept, touched.kept_for_undo) = Default::default();
        (touched.consumed, touched.lost) = (true, true);
    }

    #[cfg(feature = "mutations")]
    pub(super) fn forget_written(&mut self) {
        self.written = None;
    }

    /// The body that goes out, if it isn't simply the host's.
    pub(super) fn take_outgoing(&mut self) -> Option<Outgoing> {
        let trailers =
            || self.touched.as_ref().map_or_else(Trailers::default, |touched| touched.trailers.clone());
        if let Some(written) = self.written.take() {
            return Some(Outgoing { first: Bytes::from(written).into(), rest: false, trailers: trailers() });
        }
        let trailers = trailers();
        let touched = self.touched.as_mut()?;
        if !touched.started && trailers.is_untouched() {
            return None;
        }
        touched.forget_undo();
        touched.replayed = touched.kept.len();
        Some(Outgoing { first: touched.take_received(), rest: !touched.ended, trailers })
    }

    /// What the guest itself has written so far, from where it last stopped reading that.
    fn read_own(&mut self, buf: &mut [u8]) -> EofLen {
        let Self { written, touched } = self;
        let own_read = &mut touched.get_or_insert_default().own_read;
        let written = written.as_deref().unwrap_or_default();
        // A write of length 0 may have emptied what was read before.
        let rest = written.get(*own_read..).unwrap_or_default();
        let len = rest.len().min(buf.len());
        buf[..len].copy_from_slice(&rest[..len]);
        *own_read += len;
        EofLen { eof: len == rest.len(), len: len as u32 }
    }

    /// Whether bytes are gone that came with the original body.
    pub(super) fn is_original_lost(&self) -> bool {
        self.touched.as_ref().is_some_and(|touched| touched.lost)
    }

    /// The body as it came, if it isn't simply the host's.
    pub(super) fn take_original(&mut self) -> Option<Outgoing> {
        let mut touched = self.touched.take().filter(|touched| touched.started)?;
        let mut first = touched.take_received();
        first.skip(touched.early);
        Some(Outgoing { first, rest: !touched.ended, trailers: touched.trailers.into_original() })
    }
}

impl Touched {
    /// Takes the next piece from the host's body; `Ready(false)` at its end.
    fn receive<H: Host>(
        &mut self,
        host: &mut H,
        kind: BodyKind,
        cx: &mut Context<'_>,
    ) -> Poll<Result<bool, Reason>> {
        self.started = true;
        match ready!(host.poll_body(kind, cx)) {
            Some(Ok(Frame::Data(data))) => {
                self.unread.push(data);
                return Poll::Ready(Ok(true));
            }
            Some(Ok(Frame::Trailers(fields))) => self.trailers.arrive(fields),
            Some(Err(source)) => return Poll::Ready(Err(Reason::Body { kind, source })),
            None => {}
        }
        self.ended = true;
        Poll::Ready(Ok(false))
    }

    /// Fills `buf`, or reads to the end.
    fn read<H: Host>(
        &mut self,
        host: &mut H,
        kind: BodyKind,
        keep: Keep,
        budget: &Budget,
        buf: &mut [u8],
        cx: &mut Context<'_>,
    ) -> Poll<Result<EofLen, Reason>> {
        self.started = true;
        loop {
            let room = &mut buf[self.filled..];
            let len = room.len().min(self.unread.len());
            let keep = self.make_room(keep, budget, kind, len)?;
            match keep {
                Keep::Nothing => self.unread.read(room, drop),
                Keep::Replay | Keep::Undo => self.unread.read(room, |piece| self.kept.push(piece)),
            }
            self.consumed |= len > 0 && keep != Keep::Replay;
            self.lost |= len > 0 && keep == Keep::Nothing;
            self.kept_for_undo += if keep == Keep::Undo { len } else { 0 };
            self.filled += len;
            if self.filled == buf.len() || self.ended {
                break;
            }
            ready!(self.receive(host, kind, cx))?;
        }
        // Guests take a full buffer without EOF for an error as often as not, so the end is reported with the last
        // byte wherever it can be known by now.
        if self.unread.is_empty() && !self.ended {
            self.ended = host.body_ended(kind);
            if !self.ended
                && let Poll::Ready(broken @ Err(_)) = self.receive(host, kind, cx)
            {
                broken?;
            }
        }
        let len = std::mem::take(&mut self.filled) as u32;
        Poll::Ready(Ok(EofLen { eof: self.ended && self.unread.is_empty(), len }))
    }

    /// Makes room for `len` bytes more of the body, and says whether these can be kept. What is kept only to undo the
    /// guest's doing gives way: most guests never fail.
    fn make_room(&mut self, keep: Keep, budget: &Budget, kind: BodyKind, len: usize) -> Result<Keep, Reason> {
        match keep {
            Keep::Replay => {
                if budget.check_kept(kind, self.kept.len() + len).is_err() {
                    self.forget_undo();
                }
                budget.check_kept(kind, self.kept.len() + len).map(|()| keep)
            }
            Keep::Undo if self.lost || budget.check_kept(kind, self.kept.len() + len).is_err() => {
                self.forget_undo();
                Ok(Keep::Nothing)
            }
            Keep::Undo | Keep::Nothing => Ok(keep),
        }
    }

    /// Keeps only what the next handler gets again.
    fn forget_undo(&mut self) {
        self.kept.skip(self.kept_for_undo);
        self.lost |= self.kept_for_undo > 0;
        self.kept_for_undo = 0;
    }

    /// The guest replaces the body. What was kept of it for the next handler may serve to undo that.
    fn stop_replay(&mut self, undoable: bool) {
        if undoable && !self.lost {
            self.kept_for_undo = self.kept.len();
        } else {
            self.kept = Chunks::default();
        }
    }

    /// All that is kept or unread of the body, in order.
    fn take_received(&mut self) -> Chunks {
        let mut all = std::mem::take(&mut self.kept);
        while let Some(piece) = self.unread.pop() {
            all.push(piece);
        }
        all
    }
}

impl<H: Host> Exchange<H> {
    /// Reads on where the last read of this body stopped, until `buf` is full or the body has ended.
    pub(crate) fn read_body(
        &mut self,
        kind: BodyKind,
        buf: &mut [u8],
        cx: &mut Context<'_>,
    ) -> Poll<Result<EofLen, Reason>> {
        const AT_END: EofLen = EofLen { eof: true, len: 0 };
        match (self.phase, kind) {
            (Phase::Request, BodyKind::Request) => {
                let keep = self.keep(kind);
                self.request.touch().read(&mut *self.host, kind, keep, &self.budget, buf, cx)
            }
            (Phase::Request, BodyKind::Response) => Poll::Ready(Ok(self.response.read_own(buf))),
            (Phase::Response, BodyKind::Request) if self.features.contains(Features::BUFFER_REQUEST) => {
                Poll::Ready(Ok(AT_END))
            }
            (Phase::Response, BodyKind::Request) => Poll::Ready(Err(Reason::WrongPhase(
                "the request body can be read in handle_response only with the feature buffer_request",
            ))),
            (Phase::Response, BodyKind::Response) => {
                if !self.features.contains(Features::BUFFER_RESPONSE) {
                    return Poll::Ready(Err(Reason::WrongPhase(
                        "the response body can be read in handle_response only with the feature buffer_response",
                    )));
                }
                if self.is_upgrade() {
                    return Poll::Ready(Ok(AT_END));
                }
                let keep = self.keep(kind);
                self.response.touch().read(&mut *self.host, kind, keep, &self.budget, buf, cx)
            }
        }
    }

    /// Why what the guest reads of a message now is kept.
    fn keep(&self, message: BodyKind) -> Keep {
        let (feature, side) = match message {
            BodyKind::Request => (Features::BUFFER_REQUEST, &self.request),
            BodyKind::Response => (Features::BUFFER_RESPONSE, &self.response),
        };
        // Once the guest has written, the original goes nowhere.
        if self.features.contains(feature) && !side.is_written() {
            Keep::Replay
        } else if self.is_undoable() {
            Keep::Undo
        } else {
            Keep::Nothing
        }
    }

    /// Appends to the body that goes out; the first write of a phase starts a new one.
    pub(crate) fn write_body(&mut self, kind: BodyKind, data: &[u8]) -> Result<(), Reason> {
        self.check_content_mutable(kind)?;
        self.budget.spend_written(data.len())?;
        let undoable = self.is_undoable();
        let side = self.side_mut(kind);
        if let Some(touched) = &mut side.touched {
            touched.stop_replay(undoable);
        }
        // A first write of length 0 makes the body empty; a later one, as copy loops end with, appends nothing.
        side.written.get_or_insert_default().extend_from_slice(data);
        Ok(())
    }

    /// Makes the body that goes out empty.
    pub(crate) fn empty_body(&mut self, kind: BodyKind) -> Result<(), Reason> {
        self.check_content_mutable(kind)?;
        let undoable = self.is_undoable();
        let side = self.side_mut(kind);
        if let Some(touched) = &mut side.touched {
            touched.stop_replay(undoable);
            touched.own_read = 0;
        }
        side.written = Some(Vec::new());
        Ok(())
    }

    /// Waits until trailers are known, as far as this guest may: pulls the rest of the body, which is kept for
    /// replay. Without the feature that allows that, trailers that have not arrived read as empty.
    pub(crate) fn await_trailers(
        &mut self,
        kind: HeaderKind,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Reason>> {
        let message = kind.message();
        let feature = match (self.phase, kind) {
            (Phase::Request, HeaderKind::RequestTrailers) => Features::BUFFER_REQUEST,
            (Phase::Response, HeaderKind::ResponseTrailers) if !self.is_upgrade() => {
                Features::BUFFER_RESPONSE
            }
            _ => return Poll::Ready(Ok(())),
        };
        if !self.features.contains(feature) {
            return Poll::Ready(Ok(()));
        }
        let side = match message {
            BodyKind::Request => &mut self.request,
            BodyKind::Response => &mut self.response,
        };
        let ended = side.touched.as_ref().is_some_and(|touched| touched.ended);
        if ended || self.host.body_ended(message) {
            return Poll::Ready(Ok(()));
        }
        let touched = side.touch();
        while ready!(touched.receive(&mut *self.host, message, cx))? {
            touched.make_room(Keep::Replay, &self.budget, message, touched.unread.len())?;
        }
        Poll::Ready(Ok(()))
    }
}

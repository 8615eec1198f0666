//! What was read of one message's body, and what of it is kept.

use std::task::{Context, Poll, ready};

use super::budget::Budget;
use super::coded::Coded;
use super::retention::{Retention, reserve};
use crate::abi::{BodyKind, EofLen};
use crate::error::Reason;
use crate::host::{BodyState, Host};
use crate::message::body_budget::{BodyAccount, NoBodyMemory, Reservation};
use crate::message::{Chunks, Frame, Rest, Trailers};

/// What was read of a body, its trailers, and what is kept of both.
#[derive(Default)]
pub(super) struct Accessed {
    /// Decodes the body, and keeps it as it was received.
    pub(super) coded: Option<Box<Coded>>,
    /// Received, and not yet read by the guest, except for `partly_read` bytes at the front.
    pub(super) unread: Chunks,
    /// Pieces that the guest has read, and that are to be forwarded.
    kept: Chunks,
    /// How many bytes of the first piece of `unread` the guest has read. They are kept too, but the piece moves to
    /// `kept` only when the next one is read: otherwise, a guest that reads in small steps would cut it up, and a body
    /// of one piece would be moved twice.
    partly_read: usize,
    /// Whether the guest may read on in that piece, because what it reads is kept for replay.
    may_read_on: bool,
    /// How many of the kept bytes, counted from the first, are forwarded only if the guest fails.
    kept_for_undo: usize,
    /// Whether bytes that were read are missing in `kept`.
    pub(super) lost: bool,
    /// Whether bytes were read without being kept for the next handler.
    pub(super) consumed: bool,
    /// The number of bytes that the current read has put into the guest's memory so far, in case it has to wait for
    /// more.
    filled: usize,
    /// Whether anything was taken out of the host's body, or put before it.
    pub(super) started: bool,
    pub(super) ended: bool,
    /// How much the guest has read of what it has written itself.
    pub(super) own_read: usize,
    /// The number of the guest's bytes that precede the next handler's body.
    pub(super) early: usize,
    /// The number of kept bytes that have been passed on.
    pub(super) replayed: usize,
    pub(super) trailers: Trailers,
    /// Reserved for bytes that have yet to arrive in this phase.
    pub(super) ahead: Reservation,
    /// Whether room has been requested.
    pub(super) reservation_attempted: bool,
    /// Whether there was no room for bytes that are kept only for undoing.
    pub(super) undo_reservation_failed: bool,
}

impl Accessed {
    /// Whether the host has more of a body that isn't replaced.
    pub(super) fn rest(&self) -> Rest {
        if self.ended { Rest::Dropped } else { Rest::Follows }
    }

    /// Takes the next piece of the host's body. Returns `Ready(false)` at its end. Bytes to be kept are charged to
    /// `account`, if there is one.
    pub(super) fn receive<H: Host>(
        &mut self,
        host: &mut H,
        kind: BodyKind,
        keep: Retention,
        budget: &Budget,
        account: Option<&BodyAccount>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<bool, Reason>> {
        self.started = true;
        let frame = match &mut self.coded {
            None => host
                .poll_body(kind, cx)
                .map(|frame| frame.transpose().map_err(|source| Reason::Body { kind, source })),
            Some(coded) => coded.poll(host, kind, keep, budget, account, &mut self.trailers, cx),
        };
        let Poll::Ready(frame) = frame else {
            return BodyAccount::wait(account, cx).map_err(Reason::from);
        };
        match frame? {
            Some(Frame::Data(data)) => {
                let reserved = match account.filter(|_| keep != Retention::Nothing) {
                    None => Reservation::default(),
                    Some(account) => {
                        account.moved(data.len());
                        match reserve(&mut self.ahead, account, data.len()) {
                            Ok(reserved) => reserved,
                            Err(NoBodyMemory) if keep == Retention::Undo && account.check().is_ok() => {
                                self.undo_reservation_failed = true;
                                Reservation::default()
                            }
                            Err(none) => return Poll::Ready(Err(none.into())),
                        }
                    }
                };
                if self.unread_len() == 0 {
                    self.keep_partly_read();
                }
                self.unread.push_reserved(data, reserved);
                return Poll::Ready(Ok(true));
            }
            Some(Frame::Trailers(fields)) => self.trailers.arrive(fields),
            None => {}
        }
        self.end();
        Poll::Ready(Ok(false))
    }

    /// Reads on in a piece that the guest has begun to read and that is longer than `buf`: most guests that read in
    /// small steps do nothing else. `None` if this is anything else, for [`read`](Self::read) to do.
    #[inline]
    pub(super) fn read_on(&mut self, budget: &Budget, buf: &mut [u8]) -> Option<EofLen> {
        let (piece, read) = (self.unread.front(), self.partly_read + buf.len());
        // The last byte of a piece may be the body's.
        if !self.may_read_on || read >= piece.len() || self.kept.len() + read > budget.kept_limit() {
            return None;
        }
        buf.copy_from_slice(&piece[self.partly_read..read]);
        self.partly_read = read;
        Some(EofLen { eof: false, len: buf.len() as u32 })
    }

    /// Reads until `buf` is full or the body has ended; with `at_once`, returns as soon as there is a byte.
    #[expect(clippy::too_many_arguments, reason = "they are parts of one exchange")]
    pub(super) fn read<H: Host>(
        &mut self,
        host: &mut H,
        kind: BodyKind,
        keep: Retention,
        budget: &Budget,
        account: Option<&BodyAccount>,
        (buf, at_once): (&mut [u8], bool),
        cx: &mut Context<'_>,
    ) -> Poll<Result<EofLen, Reason>> {
        self.started = true;
        loop {
            let room = &mut buf[self.filled..];
            let len = room.len().min(self.unread_len());
            let keep = self.reserve(keep, budget, kind, len)?;
            if len > 0 {
                self.filled += len;
                match keep {
                    Retention::Replay => self.read_kept(&mut room[..len]),
                    Retention::Undo => {
                        self.read_kept(&mut room[..len]);
                        self.consumed = true;
                        self.kept_for_undo += len;
                    }
                    Retention::Nothing => {
                        self.keep_partly_read();
                        self.unread.read(room);
                        (self.consumed, self.lost) = (true, true);
                    }
                }
            }
            if self.filled == buf.len() || self.ended || at_once && self.filled > 0 {
                break;
            }
            if ready!(self.receive(host, kind, keep, budget, account, cx))? && self.has_ended(host, kind) {
                self.end();
            }
        }
        // Many guests treat a full buffer without EOF as an error, so EOF is reported with the last byte if it is
        // already known.
        if self.unread_len() == 0 && !self.ended {
            self.ended = self.has_ended(host, kind);
            if !self.ended
                && let Poll::Ready(broken @ Err(_)) = self.receive(host, kind, keep, budget, account, cx)
            {
                broken?;
            }
        }
        self.may_read_on = keep == Retention::Replay;
        let len = std::mem::take(&mut self.filled) as u32;
        Poll::Ready(Ok(EofLen { eof: self.ended && self.unread_len() == 0, len }))
    }

    /// Whether the host has no more of the body, and no trailers.
    fn has_ended<H: Host>(&self, host: &H, kind: BodyKind) -> bool {
        let state = host.body_state(kind);
        let state = self.coded.as_ref().map_or(state, |coded| coded.state(state));
        state == BodyState::Ended
    }

    fn end(&mut self) {
        self.ended = true;
        self.ahead = Reservation::default();
    }

    /// Makes room for `len` more bytes of the body, and returns how they can be kept. Bytes kept only for undoing are
    /// dropped if necessary, since most guests never fail.
    #[inline]
    pub(super) fn reserve(
        &mut self,
        keep: Retention,
        budget: &Budget,
        kind: BodyKind,
        len: usize,
    ) -> Result<Retention, Reason> {
        match keep {
            Retention::Replay => {
                if self.kept_len() + len > budget.kept_limit() {
                    self.forget_undo();
                }
                budget.check_kept(kind, self.kept_len() + len).map(|()| keep)
            }
            Retention::Undo
                if self.lost
                    || self.undo_reservation_failed
                    || budget.check_kept(kind, self.kept_len() + len).is_err() =>
            {
                self.forget_undo();
                Ok(Retention::Nothing)
            }
            Retention::Undo | Retention::Nothing => Ok(keep),
        }
    }

    /// Drops the bytes that are kept only for undoing.
    #[inline]
    pub(super) fn forget_undo(&mut self) {
        if self.kept_for_undo > 0 {
            self.drop_undo();
        }
    }

    fn drop_undo(&mut self) {
        let len = std::mem::take(&mut self.kept_for_undo);
        let partly_read = len.saturating_sub(self.kept.len());
        self.kept.skip(len - partly_read);
        self.unread.skip(partly_read);
        self.partly_read -= partly_read;
        self.lost = true;
        self.coded.iter_mut().for_each(|coded| coded.lose_raw());
    }

    /// Called when the guest replaces the body. What was kept for the next handler can be used for undoing.
    pub(super) fn stop_replay(&mut self, undoable: bool) {
        self.may_read_on = false;
        if undoable && !self.lost {
            self.kept_for_undo = self.kept_len();
        } else {
            self.kept = Chunks::default();
            self.unread.skip(std::mem::take(&mut self.partly_read));
            self.ahead = Reservation::default();
            self.coded.iter_mut().for_each(|coded| coded.lose_raw());
        }
    }

    /// How many bytes the guest has read that are kept.
    #[inline]
    pub(super) fn kept_len(&self) -> usize {
        self.kept.len() + self.partly_read
    }

    /// How many bytes the guest can read now.
    #[inline]
    pub(super) fn unread_len(&self) -> usize {
        self.unread.len() - self.partly_read
    }

    /// Fills `buf` with unread bytes, which are kept. There must be enough of them.
    fn read_kept(&mut self, mut buf: &mut [u8]) {
        while !buf.is_empty() {
            if self.partly_read == self.unread.front().len() {
                self.keep_partly_read();
            }
            let rest = &self.unread.front()[self.partly_read..];
            let (now, later) = buf.split_at_mut(buf.len().min(rest.len()));
            now.copy_from_slice(&rest[..now.len()]);
            self.partly_read += now.len();
            buf = later;
        }
    }

    /// Moves the bytes that the guest has read out of `unread`.
    fn keep_partly_read(&mut self) {
        if self.partly_read > 0 {
            self.unread.move_to(&mut self.kept, std::mem::take(&mut self.partly_read));
        }
    }

    /// Takes everything of the body that is kept or unread, in order.
    #[inline]
    pub(super) fn take_received(&mut self) -> Chunks {
        (self.partly_read, self.may_read_on) = (0, false);
        let unread = std::mem::take(&mut self.unread);
        if self.kept.is_empty() {
            return unread;
        }
        let mut all = std::mem::take(&mut self.kept);
        all.append(unread);
        all
    }
}

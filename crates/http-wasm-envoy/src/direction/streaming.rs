//! Messages that are sent while guests write them.

use std::fmt;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use http_wasm_host::{BodyKind, BoxError, Feed, Frame};

use super::{Direction, Hook, MAX_HELD, Stage};
use crate::filter::Filter;
use crate::memory;
use crate::sending::WRITES_AT_ONCE;
use crate::wake::StreamWaker;

/// The number of bytes after which the writes of a guest that streams are sent while it computes on another thread.
/// Each time, Envoy receives one more piece, which is hardly larger.
const FLUSH_BYTES: usize = 1 << 20;

/// The result of [`Direction::send_on`].
pub(crate) enum SendResult {
    Nothing,
    /// Envoy should send what it holds.
    Continues,
    /// These are the last bytes of the message.
    Ends(Vec<Bytes>),
}

/// A guest writes more than can be held, and Envoy can't send it yet.
#[derive(Debug)]
pub(crate) struct TooMuch;

impl fmt::Display for TooMuch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a guest has written more than {} MiB that Envoy can't send yet", MAX_HELD >> 20)
    }
}

impl std::error::Error for TooMuch {}

impl Direction {
    /// Whether this hook can send a guest's writes. If not, [`send_on`](Self::send_on) or another hook does.
    pub(super) fn may_send(&mut self, filter: &Filter, at: Hook, waker: &StreamWaker) -> bool {
        if self.ended {
            // Envoy ends the message after what is sent now.
            if self.discards {
                self.drop_left(filter, at);
            }
            return self.discards;
        }
        // A response can end here, a request only with the original.
        let ends = self.discards && self.kind == BodyKind::Response;
        if self.discards && !ends {
            self.drop_left(filter, at);
        }
        let is_ready = if self.discards { !ends && !self.out.is_empty() } else { self.is_idle };
        let can_send = matches!(at, Hook::Body { .. }) && is_ready && !self.left;
        if !can_send && (ends || !self.out.is_empty()) {
            waker.schedule(|| filter.scheduler());
        }
        can_send
    }

    /// Drops what was left in Envoy's buffer or by this hook.
    pub(super) fn drop_left(&mut self, filter: &Filter, at: Hook) {
        if self.left && self.feed.is_some() {
            self.take_buffered(filter);
            if matches!(at, Hook::Body { .. }) {
                filter.take_body(self.received(), usize::MAX);
            }
        }
    }

    /// Sends what a guest has written, outside of the hooks for the original's pieces.
    ///
    /// Envoy sends what it holds only once for each piece that a hook has stopped. So nothing is sent until the guest
    /// waits for the next piece, or has written a lot. A guest that doesn't wait continues in a later event.
    pub(crate) fn send_on(&mut self, filter: &Filter, waker: &StreamWaker) -> Result<SendResult, BoxError> {
        self.refill(filter, Hook::Scheduled, waker);
        self.pull(filter, waker)?;
        if self.discards {
            self.drop_left(filter, Hook::Scheduled);
            if self.kind == BodyKind::Response {
                return Ok(SendResult::Ends(self.out.drain(..).collect()));
            }
        }
        let is_idle = self.is_idle || self.discards;
        let written = self.held();
        let is_due = match &self.stage {
            _ if is_idle => written > 0,
            Stage::Sending(body) if body.is_on_worker() => written >= MAX_HELD,
            _ => written >= FLUSH_BYTES,
        };
        if !self.is_held || !is_due {
            return Ok(SendResult::Nothing);
        }
        // More of the original would have to be held too.
        if !is_idle && self.feed.as_ref().map_or(0, Feed::unread) > FLUSH_BYTES {
            return if written >= MAX_HELD { Err(TooMuch.into()) } else { Ok(SendResult::Nothing) };
        }
        if self.left {
            // Envoy would send this too.
            let bytes = self.take_buffered(filter);
            if let Some(feed) = &self.feed {
                feed.push(bytes);
            }
        }
        self.set_aside(filter);
        let buffered = self.buffered();
        for bytes in self.out.drain(..) {
            filter.append_body(buffered, &bytes);
        }
        (self.has_begun, self.is_held) = (true, false);
        if !is_idle {
            waker.schedule(|| filter.scheduler());
        }
        Ok(SendResult::Continues)
    }

    /// Takes out of Envoy's buffer what others keep there of a request, as Envoy's router does to be able to repeat it:
    /// Envoy would pass it on again together with what is appended to it.
    pub(super) fn set_aside(&mut self, filter: &Filter) {
        if self.has_foreign(filter) {
            self.set_aside = (filter.take_body(self.buffered(), usize::MAX), !self.out.is_empty());
        }
    }

    /// Called when Envoy has passed on a part of the message: puts back what was set aside, unless nobody keeps the
    /// message any more.
    pub(crate) fn passed_on(&mut self, filter: &Filter) {
        let (set_aside, has_more) = std::mem::take(&mut self.set_aside);
        let part = self.buffered();
        if !set_aside.is_empty() && (!has_more || filter.body_size(part) > 0) {
            let passed_on = filter.take_body(part, usize::MAX);
            filter.append_body(part, &set_aside);
            filter.append_body(part, &passed_on);
        }
    }

    /// Whether others keep parts of a request in Envoy's buffer that guests are writing.
    pub(super) fn has_foreign(&self, filter: &Filter) -> bool {
        let is_sent = self.kind == BodyKind::Request && self.streams && self.has_begun;
        is_sent && !self.left && filter.body_size(self.buffered()) > 0
    }

    /// The number of bytes written by guests that Envoy doesn't have yet.
    pub(super) fn held(&self) -> usize {
        self.out.iter().map(Bytes::len).sum()
    }

    /// Whether guests are suspended until some of what they have written of a request is sent.
    pub(crate) fn is_full(&self) -> bool {
        self.streams && !self.ended && !self.discards && self.held() >= MAX_HELD
    }

    /// Takes the available part of the guests' body. A guest that is still writing it runs during this call.
    pub(super) fn pull(&mut self, filter: &Filter, waker: &StreamWaker) -> Result<(), BoxError> {
        if !matches!(self.stage, Stage::Sending(_)) {
            return Ok(());
        }
        let mut held = self.held();
        let is_limited = memory::is_limited();
        let wakes = waker.waker();
        let mut cx = Context::from_waker(&wakes);
        let began = self.streams.then(Instant::now);
        let receives = self.kind == BodyKind::Response;
        self.is_idle = false;
        while !self.discards {
            let Stage::Sending(body) = &mut self.stage else { return Ok(()) };
            // The hook for the low watermark continues, or the one that sends these bytes.
            if self.streams && !self.ended && (receives && filter.watermarks.is_full() || held >= MAX_HELD) {
                return Ok(());
            }
            match body.poll_next(&mut cx, waker) {
                Poll::Pending => {
                    self.is_idle = body.is_idle();
                    if self.streams && !waker.arm(|| filter.scheduler()) {
                        waker.schedule(|| filter.scheduler());
                    }
                    return Ok(());
                }
                Poll::Ready(None) => self.discards = true,
                Poll::Ready(Some(Err(error))) => return Err(error),
                Poll::Ready(Some(Ok(Frame::Data(bytes)))) => {
                    held += bytes.len();
                    self.out.push(bytes);
                    if is_limited {
                        self.charge_with(filter, held)?;
                    }
                }
                Poll::Ready(Some(Ok(Frame::Trailers(fields)))) => self.wanted = Some(fields),
            }
            if self.streams && self.ended && held > MAX_HELD {
                return Err(TooMuch.into());
            }
            if began.is_some_and(|began| began.elapsed() >= WRITES_AT_ONCE) {
                waker.schedule(|| filter.scheduler());
                return Ok(());
            }
        }
        Ok(())
    }
}

//! One direction of a stream: moves its body from Envoy to the guests and back.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_wasm_host::{BodyKind, BoxError, Feed, Fields, Frame, Message};

use crate::ffi::{BodyPart, Map};
use crate::filter::Filter;
use crate::heads;
use crate::outbound::Outbound;
use crate::wake::StreamWaker;
use crate::watermarks::Pace;

/// How many bytes are taken out of Envoy's buffers ahead of a guest. Beyond that, they stay there and Envoy stops
/// reading.
const READ_AHEAD: usize = 256 * 1024;
/// The number of bytes after which the writes of a guest that streams are sent while it computes on another thread.
/// Each time, Envoy receives one more piece, which is hardly larger.
const FLUSH_BYTES: usize = 1 << 20;
/// The maximum number of bytes written by a guest that streams to hold. After that, it is suspended until they are
/// sent.
const MAX_HELD: usize = 16 << 20;
/// How long a guest that streams writes in one hook before the worker's other streams get their turn.
const WRITES_AT_ONCE: Duration = Duration::from_millis(4);

/// Which hook is running.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hook {
    Headers { end: bool },
    Body { end: bool },
    Trailers,
    Scheduled,
}

/// The state of a message.
pub(crate) enum Stage {
    /// The message passes through; no guest handles it.
    Passing,
    /// The message is held while guests handle it.
    Working,
    /// The message is sent with the body that guests have produced.
    Sending(Outbound),
    /// The message was replaced by a response and isn't sent.
    Answered,
}

/// The result of [`Direction::send_on`].
pub(crate) enum SendResult {
    Nothing,
    /// Envoy should send what it holds.
    Continues,
    /// These are the last bytes of the message.
    Ends(Vec<Bytes>),
}

/// One direction of a stream.
pub(crate) struct Direction {
    kind: BodyKind,
    pub(crate) stage: Stage,
    /// Whether a guest may be writing the message while it is sent.
    may_stream: bool,
    /// Whether a guest is doing so.
    streams: bool,
    /// Whether Envoy has passed on the head.
    has_begun: bool,
    /// Whether the guest that writes it waits for more of the original, or has returned.
    is_idle: bool,
    /// Whether Envoy waits for `continue_decoding` or `continue_encoding`.
    pub(crate) is_held: bool,
    /// Passes the body to the guests. `None` if there is no body.
    feed: Option<Feed>,
    /// Whether bytes were left in Envoy's buffer.
    left: bool,
    /// Whether Envoy has reported the end of the message.
    ended: bool,
    /// Whether the end has been passed to the feed.
    finished: bool,
    /// Whether the rest of the body is discarded.
    discards: bool,
    /// The trailers that Envoy has.
    trailers: Option<Fields>,
    /// The trailers after the guests' changes.
    wanted: Option<Fields>,
    /// Data to be appended to Envoy's body.
    out: Vec<Bytes>,
}

impl Direction {
    pub(crate) fn new(kind: BodyKind) -> Self {
        Self {
            kind,
            stage: Stage::Passing,
            may_stream: false,
            streams: false,
            has_begun: false,
            is_idle: false,
            is_held: false,
            feed: None,
            left: false,
            ended: false,
            finished: false,
            discards: false,
            trailers: None,
            wanted: None,
            out: Vec::new(),
        }
    }

    /// Starts handling a message. Its body is still to come unless the message has `ended`.
    pub(crate) fn begin(&mut self, filter: &Filter, ended: bool, may_stream: bool) -> Message {
        *self = Self { stage: Stage::Working, may_stream, ended, finished: ended, ..Self::new(self.kind) };
        if may_stream {
            filter.pace(Pace::Runs);
        }
        let mut message = Message::default();
        if !ended {
            self.feed = Some(message.feed_body());
        }
        message
    }

    /// Whether a body follows the head.
    pub(crate) fn has_body(&self) -> bool {
        self.feed.is_some()
    }

    pub(crate) fn is_left(&self) -> bool {
        self.left
    }

    /// Whether part of the message may already have reached its receiver.
    pub(crate) fn has_begun(&self) -> bool {
        self.has_begun
    }

    /// Whether a guest is writing the message and its writes can be sent: when the original has ended, Envoy ends a
    /// message that continues.
    pub(crate) fn is_streaming(&self) -> bool {
        self.streams && !self.ended && matches!(self.stage, Stage::Sending(_))
    }

    /// Continues the message with this body. `streams` is whether a guest is still writing it.
    pub(crate) fn goes(&mut self, filter: &Filter, body: Message, streams: bool) {
        self.streams = streams;
        if self.may_stream && !streams {
            filter.pace(Pace::Normal);
        }
        let is_as_it_came = match &self.feed {
            // If nothing follows the head, or what follows isn't a body, only the guests' own body is sent.
            None => body.has_ended(),
            Some(feed) => !self.finished && feed.unread() == 0 && body.is_only_fed(),
        };
        self.stage = match is_as_it_came {
            true => Stage::Passing,
            false => Stage::Sending(Outbound::new(self.kind, body)),
        };
    }

    fn received(&self) -> BodyPart {
        match self.kind {
            BodyKind::Request => BodyPart::ReceivedRequest,
            BodyKind::Response => BodyPart::ReceivedResponse,
        }
    }

    fn buffered(&self) -> BodyPart {
        match self.kind {
            BodyKind::Request => BodyPart::BufferedRequest,
            BodyKind::Response => BodyPart::BufferedResponse,
        }
    }

    fn trailer_map(&self) -> Map {
        match self.kind {
            BodyKind::Request => Map::RequestTrailers,
            BodyKind::Response => Map::ResponseTrailers,
        }
    }

    /// Takes in what the current hook has received.
    pub(crate) fn take_in(&mut self, filter: &Filter, at: Hook, waker: &Arc<StreamWaker>) {
        if matches!(self.stage, Stage::Passing) {
            return;
        }
        match at {
            Hook::Headers { .. } => return,
            Hook::Body { end } => self.ended |= end,
            Hook::Trailers => {
                self.ended = true;
                self.trailers = Some(filter.copy(self.trailer_map()));
            }
            Hook::Scheduled => {}
        }
        let Some(feed) = &self.feed else {
            // What follows the head isn't a body: it stays in Envoy until the head continues.
            self.left = true;
            return;
        };
        let is_unwanted = self.discards || matches!(self.stage, Stage::Answered);
        let is_awaited = self.streams || matches!(self.stage, Stage::Working);
        let lags = is_awaited && feed.unread() >= READ_AHEAD && at != Hook::Trailers;
        if lags && !is_unwanted && self.leave(filter, at) {
            if let Some(feed) = &self.feed {
                feed.wake_when_empty(waker.waker());
            }
            return;
        }
        // Once the message has begun, the buffer also contains what another filter holds and Envoy's last piece.
        let is_buffered = self.left || !self.has_begun || at == Hook::Body { end: true };
        // Only body hooks have received data; all others have what is buffered.
        let is_received = matches!(at, Hook::Body { .. });
        for (part, has_bytes) in [(self.buffered(), is_buffered), (self.received(), is_received)] {
            if !has_bytes {
                continue;
            }
            let bytes = filter.take_body(part, usize::MAX);
            if let Some(feed) = &self.feed
                && !bytes.is_empty()
                && !is_unwanted
            {
                feed.push(bytes);
            }
        }
        self.take_leave(filter);
        if !is_unwanted {
            self.finish();
        }
    }

    /// Leaves the hook's data in Envoy's buffer, so that Envoy stops reading. Returns whether that is possible.
    fn leave(&mut self, filter: &Filter, at: Hook) -> bool {
        if self.left {
            return true;
        }
        // One byte would not stop Envoy, and nothing comes after the end.
        if !matches!(at, Hook::Body { end: false }) || filter.body_size(self.received()) < 2 {
            return false;
        }
        if self.may_stream {
            filter.pace(Pace::Stops);
        }
        self.left = true;
        true
    }

    /// Notes that nothing is left in Envoy's buffer.
    fn take_leave(&mut self, filter: &Filter) {
        if std::mem::take(&mut self.left) && self.may_stream {
            filter.pace(Pace::Runs);
        }
    }

    /// Takes in what was left in Envoy's buffer, if the feed has room. Returns whether there was anything.
    pub(crate) fn refill(&mut self, filter: &Filter, waker: &Arc<StreamWaker>) -> bool {
        let has_room = self.feed.as_ref().is_some_and(|feed| feed.unread() < READ_AHEAD);
        if !self.left || !has_room {
            return false;
        }
        let before = filter.body_size(self.buffered());
        self.take_in(filter, Hook::Scheduled, waker);
        before > 0
    }

    fn finish(&mut self) {
        if self.ended
            && !self.finished
            && let Some(feed) = &self.feed
        {
            self.finished = true;
            feed.finish(self.trailers.clone());
        }
    }

    /// Passes the guests' body to Envoy. Returns whether the message may continue.
    pub(crate) fn send(
        &mut self,
        filter: &Filter,
        at: Hook,
        waker: &Arc<StreamWaker>,
    ) -> Result<bool, BoxError> {
        match &self.stage {
            Stage::Passing => return Ok(true),
            Stage::Working | Stage::Answered => return Ok(false),
            Stage::Sending(_) => {}
        }
        self.pull(filter, waker)?;
        if self.streams && !self.may_send(filter, at, waker) {
            return Ok(false);
        }
        let part = match at {
            Hook::Body { .. } => self.received(),
            _ => self.buffered(),
        };
        if at == (Hook::Headers { end: false }) && !self.out.is_empty() {
            // Here, Envoy accepts a body only if no other follows. The scheduled hook can send it.
            waker.schedule(|| filter.scheduler());
            return Ok(false);
        }
        if part == self.buffered() && !self.out.is_empty() {
            // Envoy fails a held message that exceeds its buffer limit.
            let held = filter.body_size(part) + self.held();
            filter.raise_buffer_limit(held);
        }
        self.has_begun = true;
        for bytes in self.out.drain(..) {
            filter.append_body(part, &bytes);
        }
        // Trailers can be changed and removed, but not added.
        if self.trailers.is_some() && (self.wanted.is_some() || self.discards) {
            let map = self.trailer_map();
            heads::apply_fields(filter, map, &filter.copy(map), &self.wanted.take().unwrap_or_default());
            self.trailers = None;
        }
        Ok(true)
    }

    /// Whether this hook can send a guest's writes. If not, [`send_on`](Self::send_on) or another hook does.
    fn may_send(&mut self, filter: &Filter, at: Hook, waker: &Arc<StreamWaker>) -> bool {
        if self.ended {
            // Envoy ends the message after what is sent now.
            if self.discards {
                self.drop_left(filter);
            }
            return self.discards;
        }
        let can_send = matches!(at, Hook::Body { .. }) && self.is_idle && !self.left && !self.discards;
        if !can_send && (self.discards || !self.out.is_empty()) {
            waker.schedule(|| filter.scheduler());
        }
        can_send
    }

    fn drop_left(&mut self, filter: &Filter) {
        if self.left {
            filter.take_body(self.buffered(), usize::MAX);
            self.take_leave(filter);
        }
    }

    /// Sends what a guest has written, outside of the hooks for the original's pieces.
    ///
    /// Envoy sends what it holds only once for each piece that a hook has stopped. So nothing is sent until the guest
    /// waits for the next piece, or has written a lot. A guest that goes on without waiting continues in a later event.
    pub(crate) fn send_on(
        &mut self,
        filter: &Filter,
        waker: &Arc<StreamWaker>,
    ) -> Result<SendResult, BoxError> {
        self.refill(filter, waker);
        self.pull(filter, waker)?;
        if self.discards {
            self.drop_left(filter);
            return Ok(SendResult::Ends(self.out.drain(..).collect()));
        }
        let written = self.held();
        let is_due = match &self.stage {
            _ if self.is_idle => written > 0,
            Stage::Sending(body) if body.is_here() => written >= MAX_HELD,
            _ => written >= FLUSH_BYTES,
        };
        if !self.is_held || !is_due {
            return Ok(SendResult::Nothing);
        }
        // More of the original would have to be held too.
        if !self.is_idle && self.feed.as_ref().map_or(0, Feed::unread) > FLUSH_BYTES {
            return if written >= MAX_HELD { Err(too_much()) } else { Ok(SendResult::Nothing) };
        }
        if self.left {
            // Envoy would send this too.
            let bytes = filter.take_body(self.buffered(), usize::MAX);
            if let Some(feed) = &self.feed {
                feed.push(bytes);
            }
            self.take_leave(filter);
        }
        let buffered = self.buffered();
        for bytes in self.out.drain(..) {
            filter.append_body(buffered, &bytes);
        }
        (self.has_begun, self.is_held) = (true, false);
        if !self.is_idle {
            waker.schedule(|| filter.scheduler());
        }
        Ok(SendResult::Continues)
    }

    /// The number of bytes written by guests that Envoy doesn't have yet.
    fn held(&self) -> usize {
        self.out.iter().map(Bytes::len).sum()
    }

    /// Takes the available part of the guests' body. A guest that is still writing it runs during this call.
    fn pull(&mut self, filter: &Filter, waker: &Arc<StreamWaker>) -> Result<(), BoxError> {
        let mut held = self.held();
        let Stage::Sending(body) = &mut self.stage else { return Ok(()) };
        let wakes = waker.waker();
        let mut cx = Context::from_waker(&wakes);
        let began = self.streams.then(Instant::now);
        self.is_idle = false;
        while !self.discards {
            // The hook for the low watermark continues, or the one that sends these bytes.
            if self.streams && !self.ended && (filter.watermarks.is_full() || held >= MAX_HELD) {
                return Ok(());
            }
            match body.poll_frame(&mut cx) {
                Poll::Pending => {
                    self.is_idle = body.is_here();
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
                }
                Poll::Ready(Some(Ok(Frame::Trailers(fields)))) => self.wanted = Some(fields),
            }
            if self.streams && self.ended && held > MAX_HELD {
                return Err(too_much());
            }
            if began.is_some_and(|began| began.elapsed() >= WRITES_AT_ONCE) {
                waker.schedule(|| filter.scheduler());
                return Ok(());
            }
        }
        Ok(())
    }
}

fn too_much() -> BoxError {
    format!("a guest writes more than {} MiB that Envoy can't send yet", MAX_HELD >> 20).into()
}

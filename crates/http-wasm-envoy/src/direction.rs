//! One direction of a stream: moves its body from Envoy to the guests and back.

mod streaming;

use std::rc::Rc;

use bytes::Bytes;
use http_wasm_host::{BodyKind, BoxError, Feed, Fields, Message, NoBodyMemory};

pub(crate) use self::streaming::{SendResult, TooMuch};
use crate::exchange::Exchange;
use crate::ffi::{BodyPart, Map};
use crate::filter::Filter;
use crate::heads;
use crate::memory::{self, Charge};
use crate::sending::SendingBody;
use crate::wake::StreamWaker;
use crate::watermarks::Pace;

/// How many bytes are taken out of Envoy's buffers ahead of a guest. Beyond that, they stay there and Envoy stops
/// reading.
const READ_AHEAD: usize = 256 * 1024;
/// The maximum number of bytes written by a guest that streams to hold. After that, it is suspended until they are
/// sent. Also the maximum number of bytes of a response that waits for a guest to write the request.
pub(crate) const MAX_HELD: usize = 16 << 20;

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
    Sending(SendingBody),
    /// The message was replaced by a response and isn't sent.
    Discarded,
}

/// One direction of a stream.
pub(crate) struct Direction {
    kind: BodyKind,
    /// Whether it handles a message, or has done so.
    is_used: bool,
    pub(crate) stage: Stage,
    /// Whether a guest may be writing the message while it is sent.
    may_stream: bool,
    /// Whether a guest is doing so.
    streams: bool,
    /// Whether Envoy has passed on the head.
    has_begun: bool,
    /// Whether the guest that writes it waits for more of the original, or has returned.
    is_idle: bool,
    /// Whether this is a response that waits for guests that write the request.
    pub(crate) waits: bool,
    /// Whether Envoy waits for `continue_decoding` or `continue_encoding`.
    pub(crate) is_held: bool,
    /// Passes the body to the guests. `None` if there is no body.
    feed: Option<Feed>,
    /// Whether bytes were left in Envoy's buffer.
    left: bool,
    /// How much others keep in Envoy's buffer in front of that.
    foreign: usize,
    /// What others keep in Envoy's buffer, while this filter uses it, and whether it passes something on in it.
    set_aside: (Bytes, bool),
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
    /// For what is held of the body.
    charge: Charge,
}

impl Direction {
    pub(crate) fn new(kind: BodyKind) -> Self {
        Self {
            kind,
            is_used: false,
            stage: Stage::Passing,
            may_stream: false,
            streams: false,
            has_begun: false,
            is_idle: false,
            waits: false,
            is_held: false,
            feed: None,
            left: false,
            foreign: 0,
            set_aside: (Bytes::new(), false),
            ended: false,
            finished: false,
            discards: false,
            trailers: None,
            wanted: None,
            out: Vec::new(),
            charge: Charge::default(),
        }
    }

    /// Starts handling a message. Its body is still to come unless the message has `ended`.
    pub(crate) fn begin(&mut self, filter: &Filter, ended: bool, may_stream: bool) -> Message {
        if std::mem::replace(&mut self.is_used, true) {
            *self = Self { is_used: true, ..Self::new(self.kind) };
        }
        self.stage = Stage::Working;
        (self.may_stream, self.ended, self.finished) = (may_stream, ended, ended);
        if may_stream {
            filter.pace(self.kind, Pace::Runs);
        }
        let mut message = Message::default();
        if !ended {
            self.feed = Some(message.feed_body());
        }
        message
    }

    /// Whether no guest handles the message.
    pub(crate) fn is_passing(&self) -> bool {
        matches!(self.stage, Stage::Passing)
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

    /// Whether Envoy has reported the end of the message.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended
    }

    /// Whether more of what guests write is to be sent.
    pub(crate) fn has_unsent(&self) -> bool {
        self.streams && matches!(self.stage, Stage::Sending(_)) && !(self.discards && self.out.is_empty())
    }

    /// Continues the message with this body. `streams` is whether a guest is still writing it; `writing` is the
    /// exchange whose guests do so, if it is a request.
    pub(crate) fn continue_with(
        &mut self,
        filter: &Filter,
        body: Message,
        streams: bool,
        writing: Option<Rc<Exchange>>,
    ) {
        self.streams = streams;
        if !streams {
            self.pace_normally(filter);
        }
        let is_as_it_came = match &self.feed {
            // If nothing follows the head, or what follows isn't a body, only the guests' own body is sent.
            None => body.has_ended(),
            Some(feed) => !self.finished && feed.unread() == 0 && body.is_only_fed(),
        };
        self.stage = match is_as_it_came {
            true => Stage::Passing,
            false => Stage::Sending(SendingBody::new(self.kind, body, writing)),
        };
    }

    /// What may call back when it is dropped, at the end of the stream.
    #[must_use = "it is dropped when nothing is borrowed"]
    pub(crate) fn end(&mut self) -> (Stage, Option<Feed>) {
        (std::mem::replace(&mut self.stage, Stage::Passing), self.feed.take())
    }

    /// Discards the rest of the message, which isn't sent any more. The stage that is returned may call back when it is
    /// dropped.
    #[must_use = "it is dropped when nothing is borrowed"]
    pub(crate) fn stop(&mut self, filter: &Filter) -> Stage {
        self.drop_left(filter, Hook::Scheduled);
        self.pace_normally(filter);
        self.out.clear();
        std::mem::replace(&mut self.stage, Stage::Discarded)
    }

    /// The message doesn't stream any more.
    pub(crate) fn pace_normally(&mut self, filter: &Filter) {
        if std::mem::take(&mut self.may_stream) {
            filter.pace(self.kind, Pace::Normal);
        }
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
    pub(crate) fn take_in(&mut self, filter: &Filter, at: Hook, waker: &StreamWaker) {
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
        let is_unwanted = self.discards || matches!(self.stage, Stage::Discarded);
        let is_awaited = self.streams || matches!(self.stage, Stage::Working);
        let lags = is_awaited && feed.unread() >= self.read_ahead() && at != Hook::Trailers;
        if lags && !is_unwanted && self.leave(filter, at) {
            if let Some(feed) = &self.feed {
                feed.wake_when_empty(waker.waker());
            }
            return;
        }
        // Once the message has begun, the buffer also contains what another filter holds and, in Envoy 1.38, the last
        // piece.
        let is_last = at == Hook::Body { end: true } && !(self.streams && self.kind == BodyKind::Request);
        let is_buffered = self.left || !self.has_begun || is_last;
        let buffered = is_buffered.then(|| self.take_buffered(filter));
        // Only body hooks have received data; all others have what is buffered.
        let received = matches!(at, Hook::Body { .. }).then(|| filter.take_body(self.received(), usize::MAX));
        for bytes in [buffered, received].into_iter().flatten() {
            if let Some(feed) = &self.feed
                && !bytes.is_empty()
                && !is_unwanted
            {
                feed.push(bytes);
            }
        }
        if !is_unwanted {
            self.finish();
        }
    }

    /// Charges for what is held of the body now.
    ///
    /// # Errors
    /// If there is no memory for it.
    pub(crate) fn charge(&mut self, filter: &Filter, waker: &StreamWaker) -> Result<(), NoBodyMemory> {
        if !memory::is_limited() {
            return Ok(());
        }
        if matches!(self.stage, Stage::Passing | Stage::Discarded) {
            // What is left of it is dropped with the stream.
            self.charge = Charge::default();
            return Ok(());
        }
        self.charge_with(filter, self.held())?;
        self.charge.watch(filter, waker);
        Ok(())
    }

    /// The same, when guests have written `written` bytes.
    fn charge_with(&mut self, filter: &Filter, written: usize) -> Result<(), NoBodyMemory> {
        let unread = self.feed.as_ref().map_or(0, Feed::unread);
        self.charge.set(filter, unread + self.set_aside.0.len() + written)
    }

    fn read_ahead(&self) -> usize {
        if self.waits { MAX_HELD } else { READ_AHEAD }
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
        self.foreign = if self.has_foreign(filter) { filter.body_size(self.buffered()) } else { 0 };
        if self.may_stream {
            filter.pace(self.kind, Pace::Stops(self.foreign));
        }
        self.left = true;
        true
    }

    /// Takes what this filter has left in Envoy's buffer, and what others hold there of a message that hasn't begun.
    fn take_buffered(&mut self, filter: &Filter) -> Bytes {
        let mut bytes = filter.take_body(self.buffered(), usize::MAX);
        if std::mem::take(&mut self.left) && self.may_stream {
            filter.pace(self.kind, Pace::Runs);
        }
        let foreign = bytes.split_to(std::mem::take(&mut self.foreign).min(bytes.len()));
        filter.append_body(self.buffered(), &foreign);
        bytes
    }

    /// Takes in what was left in Envoy's buffer or by this hook, if the feed has room. Returns whether there was
    /// anything.
    pub(crate) fn refill(&mut self, filter: &Filter, at: Hook, waker: &StreamWaker) -> bool {
        let has_room = self.feed.as_ref().is_some_and(|feed| feed.unread() < self.read_ahead());
        if !self.left || !has_room {
            return false;
        }
        self.take_in(filter, at, waker);
        true
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
    pub(crate) fn send(&mut self, filter: &Filter, at: Hook, waker: &StreamWaker) -> Result<bool, BoxError> {
        match &self.stage {
            Stage::Passing => return Ok(true),
            Stage::Working | Stage::Discarded => return Ok(false),
            Stage::Sending(_) => {}
        }
        if self.left && !self.streams {
            // It follows what the guests have been given.
            self.take_in(filter, at, waker);
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
        if self.is_held && at != Hook::Scheduled && self.has_foreign(filter) {
            waker.schedule(|| filter.scheduler());
            return Ok(false);
        }
        if at == Hook::Scheduled {
            self.set_aside(filter);
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
}

//! One direction of a stream: moves its body from Envoy to the guests and back.

use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_wasm_host::{BodyKind, BoxError, Feed, Fields, Frame, InMemoryHost, LocalHost as _, Message};

use crate::ffi::{BodyPart, Map};
use crate::filter::Filter;
use crate::heads;
use crate::wake::StreamWaker;

/// How many bytes are taken out of Envoy's buffers ahead of a guest. Beyond that, they stay there and Envoy stops
/// reading.
const AHEAD: usize = 256 * 1024;

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
    Sending(Box<InMemoryHost>),
    /// The message was replaced by a response and isn't sent.
    Answered,
}

/// One direction of a stream.
pub(crate) struct Half {
    kind: BodyKind,
    pub(crate) stage: Stage,
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

impl Half {
    pub(crate) fn new(kind: BodyKind) -> Self {
        Self {
            kind,
            stage: Stage::Passing,
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
    pub(crate) fn begin(&mut self, ended: bool) -> Message {
        *self = Self { stage: Stage::Working, ended, finished: ended, ..Self::new(self.kind) };
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

    /// Continues the message, with this body.
    pub(crate) fn goes(&mut self, body: Message) {
        let is_as_it_came = match &self.feed {
            // If nothing follows the head, or what follows isn't a body, only the guests' own body is sent.
            None => body.has_ended(),
            Some(feed) => !self.finished && feed.unread() == 0 && body.is_only_fed(),
        };
        self.stage = match is_as_it_came {
            true => Stage::Passing,
            false => {
                let mut host = Box::new(InMemoryHost::new("", ""));
                *part_of(&mut host, self.kind) = body;
                Stage::Sending(host)
            }
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
        if self.discards || matches!(self.stage, Stage::Answered) {
            for part in [self.buffered(), self.received()] {
                filter.take_body(part, usize::MAX);
            }
            self.left = false;
            return;
        }
        if matches!(self.stage, Stage::Working) && feed.unread() >= AHEAD && at != Hook::Trailers {
            self.left = true;
            feed.wake_when_empty(waker.waker());
            return;
        }
        for part in [self.buffered(), self.received()] {
            // Only body hooks have received data; all others have what is buffered.
            if part == self.received() && !matches!(at, Hook::Body { .. }) {
                continue;
            }
            let bytes = filter.take_body(part, usize::MAX);
            if !bytes.is_empty() {
                feed.push(bytes);
            }
        }
        self.left = false;
        self.finish();
    }

    /// Takes in what was left in Envoy's buffer, if the feed has room. Returns whether there was anything.
    pub(crate) fn refill(&mut self, filter: &Filter, waker: &Arc<StreamWaker>) -> bool {
        let has_room = self.feed.as_ref().is_some_and(|feed| feed.unread() < AHEAD);
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
        self.pull(waker)?;
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
            let held = filter.body_size(part) + self.out.iter().map(Bytes::len).sum::<usize>();
            filter.raise_buffer_limit(held);
        }
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

    /// Takes what is available of the guests' body.
    fn pull(&mut self, waker: &Arc<StreamWaker>) -> Result<(), BoxError> {
        let Stage::Sending(host) = &mut self.stage else { return Ok(()) };
        let waker = waker.waker();
        let mut cx = Context::from_waker(&waker);
        loop {
            match host.poll_body(self.kind, &mut cx) {
                Poll::Pending => return Ok(()),
                Poll::Ready(None) => {
                    self.discards = true;
                    return Ok(());
                }
                Poll::Ready(Some(Err(error))) => return Err(error),
                Poll::Ready(Some(Ok(Frame::Data(bytes)))) => self.out.push(bytes),
                Poll::Ready(Some(Ok(Frame::Trailers(fields)))) => self.wanted = Some(fields),
            }
        }
    }
}

fn part_of(host: &mut InMemoryHost, kind: BodyKind) -> &mut Message {
    match kind {
        BodyKind::Request => &mut host.request,
        BodyKind::Response => &mut host.response,
    }
}

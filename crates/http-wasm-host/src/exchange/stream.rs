//! A response that is sent while the guest writes it.

use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;

use super::Exchange;
use super::framing::frame_streamed;
use super::streaming::{Committed, Open, Streaming};
use crate::abi::{BodyKind, Phase};
use crate::error::Reason;
use crate::host::Host;
use crate::message::body_budget::BodyBudget;
use crate::message::{Outgoing, Rest, streamed};
use crate::runtime::Background;
use crate::text::is_bodyless;

/// The most that is taken of a write at once, and so the most that is held of a stream, in bytes.
const PIECE: usize = 64 * 1024;

impl<H: Host> Exchange<H> {
    /// The guest may write the response while it is sent.
    pub(crate) fn stream_response(&mut self) {
        self.streaming = Some(Box::new(Streaming::new()));
    }

    /// Where a message is left as soon as its head can be sent, if the guest streams.
    pub(crate) fn committed(&self) -> Option<&Arc<Committed<H>>> {
        self.streaming.as_ref().map(|streaming| &streaming.committed)
    }

    /// Whether the guest reads this body as it arrives, rather than filling its buffer.
    pub(super) fn reads_at_once(&self, kind: BodyKind) -> bool {
        self.streaming.is_some() && self.phase == Phase::Response && kind == BodyKind::Response
    }

    /// Whether the response streams, and nobody receives it any more: there is nothing more to read then.
    pub(super) fn is_closed(&self) -> bool {
        let open = self.streaming.as_ref().and_then(|streaming| streaming.open.as_ref());
        open.is_some_and(|open| open.writer.is_closed())
    }

    /// Before the guest changes the head of the response.
    pub(super) fn check_uncommitted(&self) -> Result<(), Reason> {
        match &self.streaming {
            Some(streaming) if streaming.open.is_some() => Err(Reason::WrongPhase(
                "the head of the response was sent with the first write_body, as the guest streams (`stream`): set \
                 status and headers before",
            )),
            _ => Ok(()),
        }
    }

    /// Like [`write_body`](Self::write_body), but a response goes out as it is written. Pending until the receiver has
    /// taken all of `data` and asks for more; then it is called again.
    pub(crate) fn write_streamed(
        &mut self,
        kind: BodyKind,
        data: &[u8],
        memory: &BodyBudget,
        background: &Background,
    ) -> Poll<Result<(), Reason>> {
        if kind != BodyKind::Response || !self.is_streaming(data) {
            return Poll::Ready(self.write_body(kind, data, memory));
        }
        if self.streaming.as_ref().is_some_and(|streaming| streaming.open.is_none()) {
            self.commit(memory, background)?;
        }
        self.check_memory()?;
        let account = self.account.clone();
        let Some(open) = self.streaming.as_mut().and_then(|streaming| streaming.open.as_mut()) else {
            return Poll::Ready(Err(Reason::Internal("a stream that was opened is not open")));
        };
        // Nobody is left to read the rest.
        if open.writer.is_closed() {
            open.taken = 0;
            return Poll::Ready(Ok(()));
        }
        if !open.writer.is_taken() {
            return Poll::Pending;
        }
        let rest = &data[open.taken..];
        if rest.is_empty() {
            open.taken = 0;
            return Poll::Ready(Ok(()));
        }
        let piece = &rest[..rest.len().min(PIECE)];
        if let Some(account) = account {
            account.moved(piece.len());
        }
        open.writer.write(Bytes::copy_from_slice(piece));
        open.taken += piece.len();
        Poll::Pending
    }

    /// Whether a write of the response streams: there is a response for a client that can have a body, and something to
    /// send.
    fn is_streaming(&self, data: &[u8]) -> bool {
        let Some(streaming) = &self.streaming else { return false };
        let may_begin = self.phase == Phase::Response
            && self.answered
            && !self.client_sent_head
            && !is_bodyless(self.host.status())
            && !data.is_empty();
        streaming.open.is_some() || may_begin
    }

    /// The response's head is final.
    fn commit(&mut self, memory: &BodyBudget, background: &Background) -> Result<(), Reason> {
        const RESPONSE: BodyKind = BodyKind::Response;
        self.check_content_mutable(RESPONSE)?;
        self.check_transformable(RESPONSE)?;
        let account = self.account(memory);
        let room = account.map(|account| account.reserve(PIECE)).transpose()?;
        // Nothing can be undone any more.
        self.originals = None;
        if let Some(accessed) = &mut self.response.accessed {
            accessed.stop_replay(false);
        }
        self.response.written = Some(Box::default());
        let (writer, body) = streamed();
        let mut outgoing = Outgoing { rest: Rest::Streamed(body), ..Outgoing::default() };
        let rest = frame_streamed(self, &mut outgoing, background);
        let Some(mut host) = self.host.split_response() else {
            return Err(Reason::Internal("this server can't send a response while it is written"));
        };
        host.set_body(RESPONSE, outgoing);
        let Some(streaming) = &mut self.streaming else { return Ok(()) };
        let open = Open { writer: writer.clone(), taken: 0, rest, _memory: room.unwrap_or_default() };
        streaming.open = Some(open);
        streaming.committed.set(host, writer);
        Ok(())
    }

    /// The guest has returned. Leaves what follows its body in the host: trailers. `false` if the response didn't
    /// stream.
    pub(super) fn finish_stream(&mut self) -> bool {
        const RESPONSE: BodyKind = BodyKind::Response;
        let Some(open) = self.streaming.as_mut().and_then(|streaming| streaming.open.as_mut()) else {
            return false;
        };
        let rest = std::mem::take(&mut open.rest);
        if self.host.protocol_version() == "HTTP/1.0" {
            self.response.drop_trailers();
        }
        self.remove_digest_trailers(RESPONSE);
        let ratio = self.budget.decoded_ratio;
        let end = self.response.take_outgoing(rest, ratio).unwrap_or_default();
        self.host.set_body(RESPONSE, end);
        true
    }
}

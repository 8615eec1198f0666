//! Messages that are sent while the guest writes them.

use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;

use super::Exchange;
use super::framing::frame_streamed;
use super::message_state::Written;
use super::streaming::{Committed, Open, Side, Streaming};
use crate::abi::BodyKind;
use crate::bodies::Stream;
use crate::error::Reason;
use crate::host::Host;
use crate::message::body_budget::{BodyAccount, BodyBudget};
use crate::message::{Outgoing, Rest, StreamWriter, driven_by_receiver, driven_separately};
use crate::runtime::Background;
use crate::text::is_bodyless;

/// The most that is taken of a write at once, and so the most that is held of a stream, in bytes.
const PIECE: usize = 64 * 1024;

impl<H: Host> Exchange<H> {
    /// The guest may write these messages while they are sent.
    pub(crate) fn stream(&mut self, stream: Stream) {
        self.streaming = Some(Box::new(Streaming::new(stream)));
    }

    /// The message of this kind, if the guest streams it.
    fn side(&self, kind: BodyKind) -> Option<&Side<H>> {
        self.streaming.as_ref()?.side(kind)
    }

    /// The message of this kind, once its head is sent.
    fn open(&self, kind: BodyKind) -> Option<&Open> {
        self.side(kind)?.open.as_ref()
    }

    fn open_mut(&mut self, kind: BodyKind) -> Option<&mut Open> {
        self.streaming.as_mut()?.side_mut(kind)?.open.as_mut()
    }

    /// Where the phase's message is left as soon as its head can be sent, if the guest streams it.
    pub(crate) fn committed(&self) -> Option<&Arc<Committed<H>>> {
        self.side(self.phase.message()).map(|side| &side.committed)
    }

    /// Whether the head of this message is sent, though the guest still writes its body.
    pub(super) fn is_committed(&self, kind: BodyKind) -> bool {
        self.open(kind).is_some()
    }

    /// Whether the guest reads this body as it arrives, rather than filling its buffer.
    pub(super) fn reads_at_once(&self, kind: BodyKind) -> bool {
        self.side(kind).is_some()
    }

    /// Whether the message streams, and its receiver is gone: the guest's reads end then.
    pub(super) fn is_closed(&self, kind: BodyKind) -> bool {
        self.open(kind).is_some_and(|open| open.writer.is_closed())
    }

    /// Before the guest changes the head of a message.
    pub(super) fn check_uncommitted(&self, kind: BodyKind) -> Result<(), Reason> {
        if !self.is_committed(kind) {
            return Ok(());
        }
        Err(Reason::WrongPhase(match kind {
            BodyKind::Request => {
                "the head of the request was sent with the first write_body, because the guest streams (`stream`): \
                 set method, URI and headers before that"
            }
            BodyKind::Response => {
                "the head of the response was sent with the first write_body, because the guest streams (`stream`): \
                 set status and headers before that"
            }
        }))
    }

    /// Like [`write_body`](Self::write_body), but a message that streams is sent as it is written. Pending until the
    /// receiver has taken all of `data` and is ready for more; then it is called again. It fails if the request is
    /// evicted meanwhile.
    pub(crate) fn write_streamed(
        &mut self,
        kind: BodyKind,
        data: &[u8],
        memory: &BodyBudget,
        background: &Background,
        cx: &Context<'_>,
    ) -> Poll<Result<(), Reason>> {
        if !self.is_streaming(kind, data) {
            return Poll::Ready(self.write_body(kind, data, memory));
        }
        if !self.is_committed(kind) {
            self.commit(kind, memory, background)?;
        }
        self.check_memory()?;
        let account = self.account.clone();
        let Some(open) = self.open_mut(kind) else {
            return Poll::Ready(Err(Reason::Internal("a stream that was opened is not open")));
        };
        let rest = &data[open.taken..];
        let is_wanted = open.writer.is_wanted();
        // After the receiver is gone, the rest is discarded.
        if open.writer.is_closed() || is_wanted && rest.is_empty() {
            open.taken = 0;
            return Poll::Ready(Ok(()));
        }
        if is_wanted {
            let piece = &rest[..rest.len().min(PIECE)];
            if let Some(account) = &account {
                account.moved(piece.len());
            }
            open.writer.write(Bytes::copy_from_slice(piece));
            open.taken += piece.len();
        }
        BodyAccount::wait(account.as_ref(), cx).map_err(Reason::from)
    }

    /// Whether a write streams: it is of the phase's message, which has a receiver and can have a body, and there is
    /// something to send.
    fn is_streaming(&self, kind: BodyKind, data: &[u8]) -> bool {
        let Some(side) = self.side(kind) else { return false };
        if self.phase.message() != kind {
            return false;
        }
        // HTTP/1.0 has no framing for a body whose length isn't known: a broken-off one would look whole.
        let is_framed = self.host.protocol_version() != "HTTP/1.0";
        let may_begin = match kind {
            // What follows the head of CONNECT isn't an HTTP body.
            BodyKind::Request => self.host.method() != b"CONNECT",
            BodyKind::Response => self.answered && !self.client_sent_head && !is_bodyless(self.host.status()),
        };
        side.open.is_some() || is_framed && may_begin && !data.is_empty()
    }

    /// The message's head is final.
    fn commit(&mut self, kind: BodyKind, memory: &BodyBudget, background: &Background) -> Result<(), Reason> {
        self.check_content_mutable(kind)?;
        self.check_transformable(kind)?;
        let room = self.account(memory).map(|account| account.reserve(PIECE)).transpose()?;
        if let Some(accessed) = &mut self.state_mut(kind).accessed {
            accessed.stop_replay(false);
        }
        self.state_mut(kind).written = Some(Written::default());
        let (writer, body) = match kind {
            BodyKind::Request => {
                self.request_decodable();
                driven_separately()
            }
            BodyKind::Response => driven_by_receiver(),
        };
        let mut outgoing = Outgoing { rest: Rest::Streamed(Box::new(body)), ..Outgoing::default() };
        let rest = frame_streamed(self, kind, &mut outgoing, background);
        let Some(mut host) = self.host.split(kind) else {
            return Err(Reason::Internal("this server can't send a message while it is being written"));
        };
        host.set_body(kind, outgoing);
        if let Some(room) = room {
            writer.hold(room);
        }
        let open = Open { writer: writer.clone(), taken: 0, rest };
        if let Some(side) = self.streaming.as_mut().and_then(|streaming| streaming.side_mut(kind)) {
            side.open = Some(open);
            side.committed.set(host, writer);
        }
        Ok(())
    }

    /// The guest has returned. Leaves what follows its body in the host: trailers. `false` if the message didn't
    /// stream.
    pub(super) fn finish_stream(&mut self, kind: BodyKind) -> bool {
        let Some(open) = self.open_mut(kind) else { return false };
        open.writer.release();
        let rest = std::mem::take(&mut open.rest);
        if self.host.protocol_version() == "HTTP/1.0" {
            self.state_mut(kind).drop_trailers();
        }
        self.remove_digest_trailers(kind);
        let ratio = self.budget.decoded_ratio;
        let end = self.state_mut(kind).take_outgoing(rest, ratio).unwrap_or_default();
        self.host.set_body(kind, end);
        true
    }

    /// The guest's end of the request's body, if that has been sent while the guest wrote it.
    pub(crate) fn streamed_request(&self) -> Option<StreamWriter> {
        self.open(BodyKind::Request).map(|open| open.writer.clone())
    }
}

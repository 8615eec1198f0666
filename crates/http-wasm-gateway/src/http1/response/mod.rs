//! Responses of an HTTP/1.1 upstream, read strictly before hyper's client sees them.
//!
//! hyper accepts more than one reading of some responses: a length beside chunks, codings other than `chunked`, bare line feeds. It
//! passes the fields on as they came, so that a client, or whoever stands between, could find the end of the message elsewhere than hyper
//! did. Such responses are refused here. Those with a length that says nothing new go on with one length or none.
//!
//! Heads are passed on whole, bodies as they come; nothing passes behind the end of a response.

mod head;
#[cfg(test)]
mod tests;

use std::error::Error;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, BytesMut};
use http::Method;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};

use self::head::{Body, Head};
use super::{ChunkFault, Chunks, HeadEnd, HeadScan, Padding};

/// What is read from the connection at once while a head is expected.
const READ_BYTES: usize = 8 * 1024;

/// Informational responses that may precede a response. One is usual; a server that works for long on a request may send one every
/// few seconds.
const MAX_INFORMATIONAL: usize = 100;

/// How large heads and trailers may be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Bytes of a head, those of informational responses before it included; and bytes of trailers.
    pub(crate) bytes: usize,
    /// Fields of a head; and of trailers.
    pub(crate) fields: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { bytes: 64 * 1024, fields: 256 }
    }
}

/// Why a response is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(crate) enum Refused {
    /// It is malformed, or its end can be read in two ways.
    #[error("malformed response: {0}")]
    Malformed(&'static str),
    /// Its head or its trailers are beyond the limits.
    #[error("response too large: {0}")]
    TooLarge(&'static str),
    /// It ended before its end.
    #[error("incomplete response: {0}")]
    Incomplete(&'static str),
    /// Bytes came that belong to no response.
    #[error("unexpected bytes: {0}")]
    Surplus(&'static str),
}

const SURPLUS: Refused = Refused::Surplus("no response is expected");

impl Refused {
    /// The refusal that caused an error, if one did.
    pub(crate) fn cause_of<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a Self> {
        let mut next = Some(error);
        while let Some(error) = next {
            // An I/O error names the source of what it wraps as its own.
            let wrapped = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
            if let Some(refused) = wrapped.and_then(|inner| inner.downcast_ref()) {
                return Some(refused);
            }
            next = error.source();
        }
        None
    }
}

impl From<ChunkFault> for Refused {
    fn from(fault: ChunkFault) -> Self {
        match fault {
            ChunkFault::Malformed(reason) => Self::Malformed(reason),
            ChunkFault::TooLarge(reason) => Self::TooLarge(reason),
        }
    }
}

impl From<Refused> for io::Error {
    fn from(refused: Refused) -> Self {
        let kind = match refused {
            Refused::Incomplete(_) => io::ErrorKind::UnexpectedEof,
            _ => io::ErrorKind::InvalidData,
        };
        Self::new(kind, refused)
    }
}

/// A connection to an upstream.
#[derive(Debug)]
pub(crate) struct ResponseReader<S> {
    io: S,
    /// What was read and not yet passed on: a head, and what came with it; of chunks, a line that is incomplete.
    input: BytesMut,
    /// How much of `input` may be passed on.
    ready: usize,
    state: State,
    limits: Limits,
    /// Method of the request that is being answered.
    request: Request,
    /// Informational responses to it, and their bytes.
    informational: usize,
    informational_bytes: usize,
    shared: Arc<Shared>,
}

#[derive(Debug)]
enum State {
    /// No response is expected.
    Idle,
    Head(HeadScan),
    Body {
        left: u64,
    },
    Chunked(Chunks),
    /// A body that ends with the connection.
    UntilClose,
    /// Another protocol's bytes.
    Opaque,
    /// The last response on this connection has ended.
    Ended,
    Refused(Refused),
}

/// What a response's body depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Request {
    Ordinary = 1,
    Head,
    Connect,
}

/// What the reader and its [`Handle`]s share.
#[derive(Debug, Default)]
struct Shared {
    /// The [`Request`] that will be written next; 0 for none.
    next: AtomicU8,
    /// The connection must not be used again.
    spent: AtomicBool,
    informational: AtomicU64,
}

impl Shared {
    fn take_next(&self) -> Option<Request> {
        match self.next.swap(0, Ordering::AcqRel) {
            1 => Some(Request::Ordinary),
            2 => Some(Request::Head),
            3 => Some(Request::Connect),
            _ => None,
        }
    }
}

/// The side of a [`ResponseReader`] that sends requests.
#[derive(Debug, Clone)]
pub(crate) struct Handle(Arc<Shared>);

impl Handle {
    /// Announces a request with this method, before anything of it is written and while no other is in flight.
    pub(crate) fn begin(&self, method: &Method) {
        let next = match *method {
            Method::HEAD => Request::Head,
            Method::CONNECT => Request::Connect,
            _ => Request::Ordinary,
        };
        self.0.next.store(next as u8, Ordering::Release);
    }

    /// Whether the connection may carry another request, as far as responses tell.
    pub(crate) fn may_reuse(&self) -> bool {
        !self.0.spent.load(Ordering::Acquire)
    }

    /// How many informational responses (1xx but 101) have been received.
    pub(crate) fn informational(&self) -> u64 {
        self.0.informational.load(Ordering::Relaxed)
    }
}

impl<S> ResponseReader<S> {
    /// Reads responses from `io`, a connection on which no request was sent yet.
    pub(crate) fn new(io: S, limits: Limits) -> (Self, Handle) {
        let shared = Arc::new(Shared::default());
        let reader = Self {
            io,
            input: BytesMut::new(),
            ready: 0,
            state: State::Idle,
            limits,
            request: Request::Ordinary,
            informational: 0,
            informational_bytes: 0,
            shared: shared.clone(),
        };
        (reader, Handle(shared))
    }

    fn spend(&self) {
        self.shared.spent.store(true, Ordering::Release);
    }

    fn refuse(&mut self, refused: Refused) -> io::Error {
        self.spend();
        self.input.clear();
        self.ready = 0;
        self.state = State::Refused(refused);
        refused.into()
    }

    /// Something of a request is about to be written.
    fn writing(&mut self) -> io::Result<()> {
        match self.state {
            State::Idle => {
                if let Some(request) = self.shared.take_next() {
                    (self.request, self.informational, self.informational_bytes) = (request, 0, 0);
                    self.state = State::Head(HeadScan::default());
                }
                Ok(())
            }
            State::Ended | State::Refused(_) => Err(io::ErrorKind::BrokenPipe.into()),
            _ => Ok(()),
        }
    }

    /// The response has ended, and `surplus` says whether something came behind it.
    fn end(&mut self, surplus: bool) {
        self.state = match (self.shared.spent.load(Ordering::Acquire), surplus) {
            (true, _) => State::Ended,
            (false, true) => {
                self.spend();
                State::Refused(SURPLUS)
            }
            (false, false) => State::Idle,
        };
    }

    /// Finds out how much of `input` may be passed on.
    fn advance(&mut self) -> Result<(), Refused> {
        match &mut self.state {
            State::Head(scan) => {
                let left = self.limits.bytes.saturating_sub(self.informational_bytes);
                let found = scan.find(&self.input).map_err(Refused::Malformed)?;
                let bytes = match found {
                    HeadEnd::At(bytes) => bytes,
                    HeadEnd::EmptyLine => {
                        return Err(Refused::Malformed("an empty line before the status line"));
                    }
                    HeadEnd::Partial => self.input.len(),
                };
                if bytes > left {
                    return Err(Refused::TooLarge("the head has too many bytes"));
                }
                if let HeadEnd::At(_) = found {
                    let head = Head::parse(&self.input[..bytes], self.request, &self.limits)?;
                    self.begin_body(head, bytes)?;
                }
            }
            State::Body { left } => {
                self.ready = usize::try_from(*left).unwrap_or(usize::MAX).min(self.input.len());
                *left -= self.ready as u64;
            }
            State::Chunked(chunks) => {
                let (passed, rest) = chunks.advance(&self.input);
                self.ready = passed;
                if passed == 0 {
                    rest?;
                }
            }
            State::UntilClose | State::Opaque => self.ready = self.input.len(),
            State::Idle | State::Ended | State::Refused(_) => {}
        }
        self.end_if_complete();
        Ok(())
    }

    /// The head at the beginning of `input` is complete.
    fn begin_body(&mut self, head: Head, bytes: usize) -> Result<(), Refused> {
        self.ready = bytes;
        if let Some(rewritten) = head.rewritten {
            let rest = self.input.split_off(bytes);
            self.input = rewritten;
            self.ready = self.input.len();
            self.input.extend_from_slice(&rest);
        }
        if !head.may_reuse {
            self.spend();
        }
        self.state = match head.body {
            Body::Informational => {
                self.shared.informational.fetch_add(1, Ordering::Relaxed);
                self.informational += 1;
                self.informational_bytes += bytes;
                if self.informational > MAX_INFORMATIONAL {
                    return Err(Refused::TooLarge("there are too many informational responses"));
                }
                State::Head(HeadScan::default())
            }
            Body::Length(left) => State::Body { left },
            Body::Chunked => {
                State::Chunked(Chunks::new(Padding::Allowed, self.limits.bytes, self.limits.fields))
            }
            Body::UntilClose => State::UntilClose,
            Body::Opaque => State::Opaque,
        };
        Ok(())
    }

    /// Ends a response of which all is read, though not all may be passed on yet.
    fn end_if_complete(&mut self) {
        let complete = match &self.state {
            State::Body { left } => *left == 0,
            State::Chunked(chunks) => chunks.is_end(),
            _ => false,
        };
        if complete {
            let surplus = self.input.len() > self.ready;
            self.input.truncate(self.ready);
            self.end(surplus);
        }
    }

    /// How much of what was just read behind an empty `input` may be passed on.
    fn pass(&mut self, read: &[u8]) -> Result<usize, Refused> {
        let (passed, complete) = match &mut self.state {
            State::Body { left } => {
                let passed = usize::try_from(*left).unwrap_or(usize::MAX).min(read.len());
                *left -= passed as u64;
                (passed, *left == 0)
            }
            State::Chunked(chunks) => {
                let (passed, rest) = chunks.advance(read);
                if passed == 0 {
                    rest?;
                }
                (passed, chunks.is_end())
            }
            _ => (read.len(), false),
        };
        if complete {
            self.end(passed < read.len());
        } else {
            self.input.extend_from_slice(&read[passed..]);
        }
        Ok(passed)
    }

    /// The connection has ended.
    fn ended(&mut self) -> io::Result<()> {
        let refused = match &self.state {
            State::Body { .. } => Refused::Incomplete("the body is shorter than its Content-Length"),
            State::Chunked(_) => Refused::Incomplete("the body ends before its last chunk"),
            State::Head(_) if !self.input.is_empty() => Refused::Incomplete("the head ends too early"),
            _ => {
                self.spend();
                return Ok(());
            }
        };
        Err(self.refuse(refused))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for ResponseReader<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        loop {
            if this.ready == 0 && !this.input.is_empty() {
                this.advance().map_err(|refused| this.refuse(refused))?;
            }
            if this.ready > 0 {
                let passed = this.ready.min(buf.remaining());
                buf.put_slice(&this.input[..passed]);
                this.input.advance(passed);
                this.ready -= passed;
                return Poll::Ready(Ok(()));
            }
            match this.state {
                State::Refused(refused) => return Poll::Ready(Err(refused.into())),
                State::Ended => return Poll::Ready(Ok(())),
                // Whatever comes now belongs to no request, even if one is about to be written.
                State::Idle => {
                    let mut byte = [0];
                    let mut surplus = ReadBuf::new(&mut byte);
                    ready!(Pin::new(&mut this.io).poll_read(cx, &mut surplus))?;
                    return Poll::Ready(match surplus.filled() {
                        [] => this.ended(),
                        _ => Err(this.refuse(SURPLUS)),
                    });
                }
                State::Head(_) => {}
                // Of chunks, the rest of a line.
                _ if !this.input.is_empty() => {}
                // Nothing is kept back, so bodies needn't be copied.
                State::Body { .. } | State::Chunked(_) | State::UntilClose | State::Opaque => {
                    let begun = buf.filled().len();
                    ready!(Pin::new(&mut this.io).poll_read(cx, buf))?;
                    if buf.filled().len() == begun {
                        return Poll::Ready(this.ended());
                    }
                    let passed = this.pass(&buf.filled()[begun..]);
                    let passed = passed.map_err(|refused| {
                        buf.set_filled(begun);
                        this.refuse(refused)
                    })?;
                    buf.set_filled(begun + passed);
                    if passed > 0 {
                        return Poll::Ready(Ok(()));
                    }
                    continue;
                }
            }
            this.input.reserve(READ_BYTES);
            if ready!(pin!(this.io.read_buf(&mut this.input)).poll(cx))? == 0 {
                return Poll::Ready(this.ended());
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for ResponseReader<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.writing()?;
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.writing()?;
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

//! Strict detection of where messages on an HTTP/1.1 connection start and end, before hyper parses them.
//!
//! hyper parses what RFC 9112 allows: it accepts bare line feeds, lets `Transfer-Encoding` override `Content-Length`,
//! and accepts other codings before `chunked`. The resulting request shows none of this. An intermediary may parse the
//! same bytes differently and so find different requests in them. Anything ambiguous is therefore stopped here: an
//! ambiguous head is replaced with one to which hyper responds with 400, and an ambiguous body is cut off.
//!
//! Heads are passed on in one piece, so that an incomplete one is known here.

mod half_close;
mod head;
mod own;
mod start_line;
#[cfg(test)]
mod tests;
mod upgrade;

use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};
use tokio::sync::OwnedSemaphorePermit;

use self::half_close::HalfClose;
use self::head::{Length, Scanned};
use self::own::PrependedBytes;
use super::activity::Activity;
use super::flush::Flushes;
use super::linger::Linger;
use crate::config::ClientLimits;
use crate::exchange::Interims;
use crate::http1::{Chunks, HeadScan, Padding};

pub(super) use self::start_line::StartLine;
pub(super) use self::upgrade::Upgrade;

/// How much is read from the connection at once.
const READ_BYTES: usize = 16 * 1024;

/// The length of the shortest head that hyper rejects as too long before it is complete.
const HYPER_MIN_HEAD_LIMIT: usize = 8 * 1024;

/// How long a client may continue to send data that is discarded, and how long it may pause.
const LINGER: Duration = Duration::from_secs(30);
const LINGER_PAUSE: Duration = Duration::from_secs(5);

/// Passed to hyper in place of a rejected head. It isn't a request, so the response is 400.
const REFUSED: &[u8] = b"\0\r\n\r\n";

/// An HTTP/1.1 connection.
#[derive(Debug)]
pub(super) struct Framing<S> {
    io: S,
    input: BytesMut,
    /// How much of `input` can be passed on.
    ready: usize,
    state: State,
    activity: Arc<Activity>,
    upgrade: Arc<Upgrade>,
    flushes: Arc<Flushes>,
    interims: Arc<Interims>,
    /// What is written here and not by hyper: informational responses, and the response to a head that took too long.
    own: PrependedBytes,
    start_line: Arc<StartLine>,
    half_close: HalfClose,
    max_head: usize,
    linger: Option<Linger>,
    /// A permit of `max_connections`, held while the connection exists.
    _permit: OwnedSemaphorePermit,
}

#[derive(Debug)]
enum State {
    Head(HeadScan),
    /// A body of known length.
    Body {
        left: u64,
        upgrades: bool,
    },
    Chunked {
        chunks: Chunks,
        upgrades: bool,
    },
    /// The end of a request for another protocol. What follows waits until the outcome is known.
    Undecided,
    /// Bytes of another protocol, which are passed on unchanged.
    Opaque,
    /// A head that hyper will reject as too long.
    TooLong,
    Refused,
}

impl<S> Framing<S> {
    /// Reads `io`, starting with what has already been read from it.
    pub(super) fn new(
        io: S,
        read: BytesMut,
        activity: Arc<Activity>,
        flushes: Arc<Flushes>,
        interims: Arc<Interims>,
        limits: &ClientLimits,
        permit: OwnedSemaphorePermit,
    ) -> Self {
        Self {
            io,
            input: read,
            ready: 0,
            state: State::Head(HeadScan::default()),
            activity,
            upgrade: Arc::default(),
            flushes,
            interims,
            own: PrependedBytes::default(),
            start_line: Arc::default(),
            half_close: HalfClose::new(limits.half_close_timeout.0),
            max_head: limits.max_header_size.bytes().max(HYPER_MIN_HEAD_LIMIT),
            linger: None,
            _permit: permit,
        }
    }

    /// The first line of the last request.
    pub(super) fn start_line(&self) -> Arc<StartLine> {
        self.start_line.clone()
    }

    /// Receives the outcome of upgrade requests.
    pub(super) fn upgrade(&self) -> Arc<Upgrade> {
        self.upgrade.clone()
    }

    /// Whether a response to a complete request is pending and hasn't been sent.
    fn answers(&self) -> bool {
        matches!(self.state, State::Head(_) | State::Undecided)
            && (self.activity.is_busy() || self.half_close.is_unflushed())
    }

    /// Whether the client may still be sending data that won't be read.
    fn may_still_send(&self) -> bool {
        match self.state {
            State::Opaque => false,
            State::Head(_) | State::Undecided | State::Body { left: 0, .. } => !self.input.is_empty(),
            State::Body { .. } | State::Chunked { .. } | State::TooLong | State::Refused => true,
        }
    }

    /// Determines how much can be passed on. Passes on nothing if more input is needed.
    fn advance(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        loop {
            match &mut self.state {
                State::Head(_) if self.input.is_empty() => {}
                State::Head(scan) => match head::scan(scan, &mut self.input) {
                    Scanned::Partial if self.input.len() > self.max_head => {
                        self.start_line.set(&self.input);
                        self.ready = self.input.len();
                        self.state = State::TooLong;
                    }
                    // Empty lines before a head are dropped.
                    Scanned::Partial if self.input.is_empty() => {}
                    Scanned::Partial => {
                        self.activity.head_begins();
                        self.start_line.set_partial(&self.input);
                    }
                    Scanned::Complete { bytes, length, upgrades } => {
                        self.start_line.set(&self.input);
                        self.ready = bytes;
                        self.state = match length {
                            Length::Known(left) => State::Body { left, upgrades },
                            Length::Chunked => State::Chunked {
                                chunks: Chunks::new(Padding::Refused, self.max_head, usize::MAX),
                                upgrades,
                            },
                        };
                        if upgrades {
                            self.upgrade.requested();
                        }
                    }
                    Scanned::Malformed(reason) => {
                        tracing::debug!(reason, "request refused");
                        self.start_line.set(&self.input);
                        self.input.clear();
                        self.input.extend_from_slice(REFUSED);
                        self.ready = REFUSED.len();
                        self.state = State::Refused;
                    }
                },
                State::Body { left: 0, upgrades } => {
                    self.state = State::after(*upgrades);
                    continue;
                }
                State::Body { left, .. } => {
                    self.ready = usize::try_from(*left).unwrap_or(usize::MAX).min(self.input.len());
                    *left -= self.ready as u64;
                }
                State::Chunked { chunks, upgrades } => {
                    let (passed, rest) = chunks.advance(&self.input);
                    if passed == 0
                        && let Err(fault) = rest
                    {
                        let reason = fault.reason();
                        tracing::debug!(reason, "request body refused");
                        return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
                    }
                    self.ready = passed;
                    if chunks.is_end() {
                        self.state = State::after(*upgrades);
                    }
                }
                State::Undecided => match self.upgrade.poll_decided(cx) {
                    Poll::Ready(true) => {
                        self.state = State::Opaque;
                        continue;
                    }
                    Poll::Ready(false) => {
                        self.state = State::Head(HeadScan::default());
                        continue;
                    }
                    Poll::Pending => {}
                },
                State::Opaque | State::TooLong => self.ready = self.input.len(),
                State::Refused => {}
            }
            return Ok(());
        }
    }
}

impl State {
    /// What follows a request.
    fn after(upgrades: bool) -> Self {
        if upgrades { Self::Undecided } else { Self::Head(HeadScan::default()) }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Framing<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            if this.ready == 0 {
                this.advance(cx)?;
            }
            if this.ready > 0 {
                let passed = this.ready.min(buf.remaining());
                buf.put_slice(&this.input[..passed]);
                this.input.advance(passed);
                this.ready -= passed;
                return Poll::Ready(Ok(()));
            }
            match this.state {
                State::Refused => return Poll::Ready(Ok(())),
                // Until then, only the end of the connection matters, so no more than this is kept.
                State::Undecided if this.input.len() >= READ_BYTES => return Poll::Pending,
                State::Opaque => return Pin::new(&mut this.io).poll_read(cx, buf),
                _ => {}
            }
            this.input.reserve(READ_BYTES);
            if ready!(pin!(this.io.read_buf(&mut this.input)).poll(cx))? == 0 {
                if this.answers() {
                    // hyper would drop the response.
                    ready!(this.half_close.poll_expired(cx));
                }
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Framing<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_interims(cx))?;
        self.writes();
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_interims(cx))?;
        self.writes();
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        ready!(Pin::new(&mut this.io).poll_flush(cx))?;
        this.flushes.completed();
        if this.half_close.is_unflushed() {
            this.half_close.flushed();
            this.interims.set_unwritten(false);
        }
        this.poll_interims(cx)
    }

    /// Shuts down this direction, and then reads what the client is still sending.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.linger.is_none() {
            if this.start_line.has_timed_out() && !this.half_close.is_unflushed() {
                ready!(this.own.poll_timeout(&mut this.io, cx))?;
            }
            ready!(Pin::new(&mut this.io).poll_shutdown(cx))?;
            if matches!(this.state, State::Opaque) || !this.may_still_send() && !this.has_more(cx) {
                return Poll::Ready(Ok(()));
            }
        }
        this.state = State::Refused;
        let linger = this.linger.get_or_insert_with(|| Linger::new(LINGER, LINGER_PAUSE));
        linger.poll(&mut this.io, &mut this.input, cx).map(Ok)
    }
}

impl<S: AsyncWrite + Unpin> Framing<S> {
    fn writes(&mut self) {
        if !self.half_close.is_unflushed() {
            self.half_close.writes();
            self.interims.set_unwritten(true);
        }
    }

    /// Writes informational responses, unless part of an earlier response may not have been written yet.
    fn poll_interims(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.own.is_empty() && (!self.interims.has_next() || self.half_close.is_unflushed()) {
            return Poll::Ready(Ok(()));
        }
        if self.own.is_empty() {
            while let Some(response) = self.interims.next() {
                self.own.interim(&response);
            }
        }
        self.own.poll(&mut self.io, cx)
    }
}

impl<S: AsyncRead + Unpin> Framing<S> {
    /// Whether the client has sent something that hasn't been read.
    fn has_more(&mut self, cx: &mut Context<'_>) -> bool {
        self.input.reserve(READ_BYTES);
        matches!(pin!(self.io.read_buf(&mut self.input)).poll(cx), Poll::Ready(Ok(1..)))
    }
}

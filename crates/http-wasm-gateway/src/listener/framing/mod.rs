//! Where the messages of an HTTP/1.1 connection begin and end, read strictly, before hyper sees them.
//!
//! hyper reads as RFC 9112 allows: it takes bare line feeds, lets `Transfer-Encoding` win over `Content-Length`, and takes
//! other codings before `chunked`. None of that is visible in the request that it makes. Somebody else on the way may
//! read the same bytes otherwise and so see other requests in them. So whatever can be read in two ways stops here: in a head,
//! hyper is given one that it answers with 400; in a body, the connection breaks off.
//!
//! Heads are passed on whole, so that an incomplete one is known here.

mod head;
#[cfg(test)]
mod tests;
mod upgrade;

use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Sleep, sleep};

use self::head::{Length, Scanned};
use super::activity::Activity;
use super::flush::Flushes;
use crate::http1::{Chunks, HeadScan, Padding};

pub(super) use self::upgrade::Upgrade;

/// What is read from the connection at once.
const READ_BYTES: usize = 16 * 1024;

/// The shortest head of which hyper says that it is too long before it has come to its end.
const LEAST_TOO_LONG: usize = 8 * 1024;

/// How long a client may go on sending what nobody will read.
const LINGER: Duration = Duration::from_secs(2);

/// What hyper gets in the place of a head that is refused. It holds no request, so the answer is 400.
const REFUSED: &[u8] = b"\0\r\n\r\n";

/// A connection of HTTP/1.1.
#[derive(Debug)]
pub(super) struct Framing<S> {
    io: S,
    input: BytesMut,
    /// How much of `input` may be passed on.
    ready: usize,
    state: State,
    activity: Arc<Activity>,
    upgrade: Arc<Upgrade>,
    flushes: Arc<Flushes>,
    http2: Option<Http2>,
    max_head: usize,
    /// Until when the client may go on sending what nobody will read.
    linger: Option<Pin<Box<Sleep>>>,
    /// The connection's place among those that there may be, for as long as it lasts.
    _place: OwnedSemaphorePermit,
}

/// How flushes are noticed that a connection of HTTP/2 completes. It may flush several times while frames are queued; all that was queued
/// has left it when it reads right behind a flush.
#[derive(Debug, Default)]
struct Http2 {
    /// The last thing done was a flush.
    flushed: bool,
    task: Option<Waker>,
}

impl Http2 {
    fn reads(&mut self, cx: &Context<'_>, flushes: &Flushes) {
        if !self.task.as_ref().is_some_and(|task| task.will_wake(cx.waker())) {
            self.task = Some(cx.waker().clone());
            flushes.set_connection(cx.waker().clone());
        }
        if std::mem::take(&mut self.flushed) {
            flushes.completed();
        }
    }
}

#[derive(Debug)]
enum State {
    Head(HeadScan),
    /// A body whose length is known.
    Body {
        left: u64,
        upgrades: bool,
    },
    Chunked {
        chunks: Chunks,
        upgrades: bool,
    },
    /// The end of a request that asks for another protocol. What follows waits until it is known what it is.
    Undecided,
    /// Another protocol's bytes, which are of no concern here.
    Opaque,
    /// A head that hyper will say is too long.
    TooLong,
    Refused,
}

impl<S> Framing<S> {
    /// Reads `io` behind what has been read of it already.
    pub(super) fn new(
        io: S,
        read: BytesMut,
        activity: Arc<Activity>,
        max_head: usize,
        place: OwnedSemaphorePermit,
    ) -> Self {
        Self {
            io,
            input: read,
            ready: 0,
            state: State::Head(HeadScan::default()),
            activity,
            upgrade: Arc::default(),
            flushes: Arc::default(),
            http2: None,
            max_head: max_head.max(LEAST_TOO_LONG),
            linger: None,
            _place: place,
        }
    }

    /// The same for a connection that speaks another protocol from the beginning, such as HTTP/2.
    pub(super) fn none(io: S, read: BytesMut, activity: Arc<Activity>, place: OwnedSemaphorePermit) -> Self {
        Self {
            state: State::Opaque,
            http2: Some(Http2::default()),
            ..Self::new(io, read, activity, 0, place)
        }
    }

    /// Where it is told what became of requests for another protocol.
    pub(super) fn upgrade(&self) -> Arc<Upgrade> {
        self.upgrade.clone()
    }

    fn writes(&mut self) {
        if let Some(http2) = &mut self.http2 {
            http2.flushed = false;
        }
    }

    /// Where flushes of the connection are noticed.
    pub(super) fn flushes(&self) -> Arc<Flushes> {
        self.flushes.clone()
    }

    /// Whether the client may still be sending what nobody will read.
    fn leaves_something(&self) -> bool {
        match self.state {
            State::Opaque => false,
            State::Head(_) | State::Undecided | State::Body { left: 0, .. } => !self.input.is_empty(),
            State::Body { .. } | State::Chunked { .. } | State::TooLong | State::Refused => true,
        }
    }

    /// Finds out how much may be passed on. Nothing: more input is needed.
    fn advance(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        loop {
            match &mut self.state {
                State::Head(scan) => match head::scan(scan, &mut self.input) {
                    Scanned::Partial if self.input.len() > self.max_head => {
                        self.ready = self.input.len();
                        self.state = State::TooLong;
                    }
                    Scanned::Partial => {
                        if !self.input.is_empty() {
                            self.activity.head_begins();
                        }
                    }
                    Scanned::Complete { bytes, length, upgrades } => {
                        self.ready = bytes;
                        self.state = match length {
                            Length::Known(left) => State::Body { left, upgrades },
                            Length::Chunked => State::Chunked {
                                chunks: Chunks::new(Padding::Refused, self.max_head, usize::MAX),
                                upgrades,
                            },
                        };
                        if upgrades {
                            self.upgrade.asked();
                        }
                    }
                    Scanned::Malformed(reason) => {
                        tracing::debug!(reason, "request refused");
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
        if let Some(http2) = &mut this.http2 {
            http2.reads(cx, &this.flushes);
        }
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
                // The end of the connection is all that is of interest until then, and only so much is kept.
                State::Undecided if this.input.len() >= READ_BYTES => return Poll::Pending,
                State::Opaque => return Pin::new(&mut this.io).poll_read(cx, buf),
                _ => {}
            }
            this.input.reserve(READ_BYTES);
            if ready!(pin!(this.io.read_buf(&mut this.input)).poll(cx))? == 0 {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Framing<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.writes();
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.writes();
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        this.writes();
        ready!(Pin::new(&mut this.io).poll_flush(cx))?;
        match &mut this.http2 {
            None => this.flushes.completed(),
            Some(http2) => {
                http2.flushed = true;
                if this.flushes.is_awaited() {
                    // Whether it was the last one shows when the connection goes on.
                    cx.waker().wake_by_ref();
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Says goodbye, and then reads what the client is still sending: to close with bytes unread resets the connection, and
    /// takes from the client the answer that it has not read yet.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        ready!(Pin::new(&mut this.io).poll_shutdown(cx))?;
        if this.leaves_something() {
            this.state = State::Refused;
            let linger = this.linger.get_or_insert_with(|| Box::pin(sleep(LINGER)));
            while linger.as_mut().poll(cx).is_pending() {
                this.input.clear();
                this.input.reserve(READ_BYTES);
                if !matches!(ready!(pin!(this.io.read_buf(&mut this.input)).poll(cx)), Ok(1..)) {
                    break;
                }
            }
        }
        Poll::Ready(Ok(()))
    }
}

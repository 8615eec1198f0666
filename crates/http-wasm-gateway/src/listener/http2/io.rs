//! The transport of an HTTP/2 connection. It checks that the connection starts correctly, and limits control frames.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use super::control::{Fault, Frames, credit_for};
use super::preface::PREFACE;
use super::unread::{Pause, Stalled, Unread};
use crate::listener::flush::Flushes;
use crate::listener::linger::Linger;

/// GOAWAY with PROTOCOL_ERROR (RFC 9113 section 3.4).
const BAD_PREFACE: &[u8] = &[0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];

/// The acknowledgement of the PING that h2 sends with the first GOAWAY of a graceful shutdown.
const DRAIN_ACK: &[u8] = &[0, 0, 8, 6, 1, 0, 0, 0, 0, 0x0b, 0x7b, 0xa2, 0xf0, 0x8b, 0x9b, 0xfe, 0x54];

/// How long a client may continue to send once the connection is closed, and how long it may pause.
const LINGER: Duration = Duration::from_secs(2);
const LINGER_PAUSE: Duration = Duration::from_secs(1);

/// How many bytes are read before other connections get their turn. Without a limit, busy uploads would delay everyone
/// else.
const MAX_BURST: usize = 128 * 1024;

/// How many opened streams may wait to be accepted before reading pauses. h2 itself only limits those that are reset
/// before they are accepted, by closing the connection, but a proxy's clients may all cancel their requests at once.
const MAX_UNACCEPTED: usize = 64;

/// The state of a connection's traffic.
#[derive(Debug)]
pub(super) struct Traffic {
    began: Instant,
    /// Milliseconds since `began`.
    last_read: AtomicU64,
    reads: AtomicU64,
    flooded: AtomicBool,
    stalled: AtomicBool,
    /// Whether the client didn't acknowledge the end in time, and is treated as if it had.
    ends: AtomicBool,
    /// The number of control frames that the client may send because of what was sent to it.
    credit: AtomicU32,
    /// The number of opened streams that may not have been accepted yet.
    unaccepted: AtomicUsize,
    /// Whether reading is paused until they are accepted.
    paused: AtomicBool,
}

impl Traffic {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            began: Instant::now(),
            last_read: AtomicU64::new(0),
            reads: AtomicU64::new(0),
            flooded: AtomicBool::new(false),
            stalled: AtomicBool::new(false),
            ends: AtomicBool::new(false),
            credit: AtomicU32::new(0),
            unaccepted: AtomicUsize::new(0),
            paused: AtomicBool::new(false),
        })
    }

    /// When the client last sent something, up to a millisecond too early.
    pub(super) fn last_read(&self) -> Instant {
        self.began + Duration::from_millis(self.last_read.load(Ordering::Relaxed))
    }

    /// The number of reads so far.
    pub(super) fn reads(&self) -> u64 {
        self.reads.load(Ordering::Relaxed)
    }

    /// Whether the client has sent too many control frames. Nothing more is read then.
    pub(super) fn is_flooded(&self) -> bool {
        self.flooded.load(Ordering::Relaxed)
    }

    /// Why the client must be disconnected, if it must. Nothing more is read then.
    pub(super) fn cut_off(&self) -> Option<&'static str> {
        if self.is_flooded() {
            return Some("too many control frames");
        }
        self.stalled
            .load(Ordering::Relaxed)
            .then_some("it sent more unread data than the memory budget allows")
    }

    /// Records that a stream was accepted.
    pub(super) fn accepted(&self) {
        // h2 responds to some of the opened streams itself.
        let _none = self
            .unaccepted
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |streams| streams.checked_sub(1));
    }

    /// Called when no stream waits to be accepted. Returns whether reading was paused because of that, and continues
    /// it.
    pub(super) fn resume(&self) -> bool {
        let was_paused = self.paused.swap(false, Ordering::Relaxed);
        if was_paused {
            self.unaccepted.store(0, Ordering::Relaxed);
        }
        was_paused
    }

    /// Treats the end as acknowledged by the client: h2 has no timer for the second GOAWAY of a graceful shutdown.
    pub(super) fn end(&self) {
        self.ends.store(true, Ordering::Relaxed);
    }

    /// Records that this many bytes of DATA have been sent.
    pub(super) fn sends(&self, bytes: usize) {
        self.credit.fetch_add(credit_for(bytes), Ordering::Relaxed);
    }

    fn read(&self) {
        let now = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last_read.store(now, Ordering::Relaxed);
        self.reads.fetch_add(1, Ordering::Relaxed);
    }
}

/// Detects the flushes that an HTTP/2 connection completes. It may flush several times while frames are queued. If it
/// reads right after a flush, everything queued has been sent.
#[derive(Debug, Default)]
struct FlushWatch {
    /// Whether the last operation was a flush.
    flushed: bool,
    task: Option<Waker>,
}

impl FlushWatch {
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

/// A connection whose frames are counted.
#[derive(Debug)]
pub(super) struct FrameIo<S> {
    io: S,
    /// Data that has already been read from it.
    early: BytesMut,
    stage: Stage,
    frames: Frames,
    traffic: Arc<Traffic>,
    unread: Arc<Unread>,
    pause: Pause,
    /// Bytes read since the connection last yielded.
    burst: usize,
    flushes: Arc<Flushes>,
    watch: FlushWatch,
    linger: Option<Linger>,
    /// The connection's permit, held while the connection exists.
    _permit: OwnedSemaphorePermit,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// How many bytes of the preface have arrived.
    Preface(usize),
    Frames,
    /// The preface is wrong, or isn't followed by SETTINGS, and this many bytes of the response have been written.
    Refusing(usize),
    Refused,
}

impl<S> FrameIo<S> {
    /// Reads `io`, starting with what has already been read of it.
    pub(super) fn new(
        io: S,
        early: BytesMut,
        traffic: Arc<Traffic>,
        unread: Arc<Unread>,
        flushes: Arc<Flushes>,
        permit: OwnedSemaphorePermit,
    ) -> Self {
        let (stage, frames, watch) = (Stage::Preface(0), Frames::new(), FlushWatch::default());
        Self {
            io,
            early,
            stage,
            frames,
            traffic,
            unread,
            pause: Pause::default(),
            burst: 0,
            flushes,
            watch,
            linger: None,
            _permit: permit,
        }
    }

    /// Whether GOAWAY is sent from here. Nothing that `h2` writes may follow.
    fn is_refused(&self) -> bool {
        matches!(self.stage, Stage::Refusing(_) | Stage::Refused)
    }

    /// Inspects what was read.
    fn inspect(&mut self, mut input: &[u8]) {
        self.traffic.read();
        if let Stage::Preface(known) = self.stage {
            let part = input.len().min(PREFACE.len() - known);
            if input[..part] != PREFACE[known..][..part] {
                self.stage = Stage::Refusing(0);
                return;
            }
            let known = known + part;
            self.stage = if known == PREFACE.len() { Stage::Frames } else { Stage::Preface(known) };
            input = &input[part..];
        }
        let credit = self.traffic.credit.swap(0, Ordering::Relaxed);
        let checked = self.frames.check(input, credit, &self.unread);
        self.traffic.unaccepted.fetch_add(self.frames.take_opened(), Ordering::Relaxed);
        match checked {
            Ok(()) => {}
            Err(Fault::Flood) => self.traffic.flooded.store(true, Ordering::Relaxed),
            Err(Fault::NoSettings) => self.stage = Stage::Refusing(0),
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> FrameIo<S> {
    /// Responds to a wrong preface, and ends the connection.
    fn poll_refuse(&mut self, mut written: usize, cx: &mut Context<'_>) -> Poll<io::Error> {
        while let Some(rest) = BAD_PREFACE.get(written..).filter(|rest| !rest.is_empty()) {
            match ready!(Pin::new(&mut self.io).poll_write(cx, rest)) {
                Ok(more @ 1..) => written += more,
                _ => break,
            }
            self.stage = Stage::Refusing(written);
        }
        ready!(self.poll_close(cx));
        self.stage = Stage::Refused;
        Poll::Ready(io::Error::new(io::ErrorKind::InvalidData, "invalid HTTP/2 preface"))
    }

    /// Shuts one direction down, and reads and discards what arrives for a while.
    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.linger.is_none() {
            let _ = ready!(Pin::new(&mut self.io).poll_shutdown(cx));
        }
        let linger = self.linger.get_or_insert_with(|| Linger::new(LINGER, LINGER_PAUSE));
        linger.poll(&mut self.io, &mut self.early, cx)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for FrameIo<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        this.watch.reads(cx, &this.flushes);
        match this.stage {
            Stage::Refusing(written) => return this.poll_refuse(written, cx).map(Err),
            Stage::Refused => return Poll::Ready(Ok(())),
            // The next poll checks it, and then reads no more.
            _ if this.traffic.cut_off().is_some() => return Poll::Pending,
            _ => {}
        }
        if this.traffic.ends.load(Ordering::Relaxed)
            && this.stage == Stage::Frames
            && this.frames.is_at_boundary()
            && buf.remaining() >= DRAIN_ACK.len()
        {
            this.traffic.ends.store(false, Ordering::Relaxed);
            buf.put_slice(DRAIN_ACK);
            return Poll::Ready(Ok(()));
        }
        match this.pause.poll(&this.unread, cx) {
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(Stalled)) => {
                this.traffic.stalled.store(true, Ordering::Relaxed);
                // The next poll checks it.
                return Poll::Pending;
            }
            Poll::Pending => {
                // The response to a PING is behind the pause, so the client isn't silent.
                this.traffic.read();
                return Poll::Pending;
            }
        }
        if this.traffic.unaccepted.load(Ordering::Relaxed) >= MAX_UNACCEPTED {
            // The connection accepts them, and then continues to read.
            this.traffic.paused.store(true, Ordering::Relaxed);
            return Poll::Pending;
        }
        if this.burst >= MAX_BURST {
            this.burst = 0;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let before = buf.filled().len();
        if this.early.is_empty() {
            ready!(Pin::new(&mut this.io).poll_read(cx, buf))?;
        } else {
            let part = this.early.len().min(buf.remaining());
            buf.put_slice(&this.early[..part]);
            this.early.advance(part);
        }
        this.burst += buf.filled().len() - before;
        if buf.filled().len() > before {
            this.inspect(&buf.filled()[before..]);
        }
        match this.stage {
            Stage::Refusing(written) => {
                buf.set_filled(before);
                this.poll_refuse(written, cx).map(Err)
            }
            _ => Poll::Ready(Ok(())),
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for FrameIo<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.is_refused() {
            return Poll::Ready(Ok(buf.len()));
        }
        self.watch.flushed = false;
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.is_refused() {
            return Poll::Ready(Ok(bufs.iter().map(|buf| buf.len()).sum()));
        }
        self.watch.flushed = false;
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        this.watch.flushed = false;
        ready!(Pin::new(&mut this.io).poll_flush(cx))?;
        this.watch.flushed = true;
        if this.flushes.is_awaited() {
            // Whether it was the last one shows when the connection continues.
            cx.waker().wake_by_ref();
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_close(cx).map(Ok)
    }
}

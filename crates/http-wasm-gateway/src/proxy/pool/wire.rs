//! What h2 doesn't report about an HTTP/2 connection: a wrapper around the transport that inspects frame headers.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use crate::proxy::connect::Io;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;

const NO_ERROR: u32 = 0;

/// The client's connection preface has no frame header.
const PREFACE_BYTES: usize = 24;

/// The connection window before any WINDOW_UPDATE.
const DEFAULT_WINDOW: i64 = 65_535;

/// The most streams to remember as ended, and as ended before they were reset. This exceeds the number of open streams.
const MAX_REMEMBERED: usize = 256;

/// The state of a connection, as observed on the wire.
#[derive(Debug)]
pub(super) struct Traffic {
    start: Instant,
    /// When data was last received, in milliseconds since the start.
    received_at: AtomicU64,
    received_bytes: AtomicU64,
    /// The number of SETTINGS frames, other than acknowledgements, that the server has sent.
    settings: AtomicU32,
    goaway: AtomicBool,
    /// How much the server currently allows on all streams together, and the most that it has allowed.
    window: AtomicI64,
    widest_window: AtomicI64,
    streams: Mutex<Streams>,
}

#[derive(Debug, Default)]
struct Streams {
    /// The streams that the server ended most recently.
    ended: Vec<u32>,
    next_ended: usize,
    /// Streams that the server reset with NO_ERROR after it had ended them.
    reset_after_end: Vec<u32>,
    /// Streams with a header block that was too long.
    oversized: Vec<u32>,
}

impl Traffic {
    fn new() -> Self {
        Self {
            start: Instant::now(),
            received_at: AtomicU64::new(0),
            received_bytes: AtomicU64::new(0),
            settings: AtomicU32::new(0),
            goaway: AtomicBool::new(false),
            window: AtomicI64::new(DEFAULT_WINDOW),
            widest_window: AtomicI64::new(DEFAULT_WINDOW),
            streams: Mutex::default(),
        }
    }

    /// When data was last received.
    pub(super) fn received_at(&self) -> Instant {
        self.start + std::time::Duration::from_millis(self.received_at.load(Ordering::Relaxed))
    }

    pub(super) fn received_bytes(&self) -> u64 {
        self.received_bytes.load(Ordering::Relaxed)
    }

    pub(super) fn settings(&self) -> u32 {
        self.settings.load(Ordering::Acquire)
    }

    pub(super) fn goaway(&self) -> bool {
        self.goaway.load(Ordering::Acquire)
    }

    /// Whether stalled uploads hold most of the window that all streams share.
    pub(super) fn is_congested(&self) -> bool {
        self.window.load(Ordering::Relaxed) < self.widest_window.load(Ordering::Relaxed) / 2
    }

    /// Whether the server ended this stream before it reset it with NO_ERROR, which h2 doesn't distinguish from a
    /// stream that ends prematurely.
    pub(super) fn ended_before_reset(&self, stream: u32) -> bool {
        self.streams().reset_after_end.contains(&stream)
    }

    /// Whether a header block of this stream was too long.
    pub(super) fn take_oversized(&self, stream: u32) -> bool {
        let oversized = &mut self.streams().oversized;
        let before = oversized.len();
        oversized.retain(|&other| other != stream);
        oversized.len() < before
    }

    fn streams(&self) -> std::sync::MutexGuard<'_, Streams> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn received(&self, bytes: usize) {
        let at = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.received_at.store(at, Ordering::Relaxed);
        self.received_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Records a received frame. `block` is the length of the header block so far.
    fn frame_received(&self, frame: &Frame, max_block: usize, block: usize) {
        match frame.kind {
            SETTINGS if frame.flags & ACK == 0 => _ = self.settings.fetch_add(1, Ordering::Release),
            GOAWAY => self.goaway.store(true, Ordering::Release),
            WINDOW_UPDATE if frame.stream == 0 => {
                let window = self.window.fetch_add(i64::from(frame.number()), Ordering::Relaxed)
                    + i64::from(frame.number());
                self.widest_window.fetch_max(window, Ordering::Relaxed);
            }
            RST_STREAM if frame.number() == NO_ERROR => self.streams().reset(frame.stream),
            HEADERS | CONTINUATION if block > max_block => self.streams().oversized(frame.stream),
            _ => {}
        }
        if matches!(frame.kind, DATA | HEADERS) && frame.flags & END_STREAM != 0 {
            self.streams().end(frame.stream);
        }
    }

    fn frame_sent(&self, frame: &Frame) {
        if frame.kind == DATA {
            self.window.fetch_sub(frame.length as i64, Ordering::Relaxed);
        }
    }
}

impl Streams {
    fn end(&mut self, stream: u32) {
        if self.ended.len() < MAX_REMEMBERED {
            self.ended.push(stream);
        } else {
            self.ended[self.next_ended] = stream;
            self.next_ended = (self.next_ended + 1) % MAX_REMEMBERED;
        }
    }

    fn reset(&mut self, stream: u32) {
        if self.ended.contains(&stream) {
            remember(&mut self.reset_after_end, stream);
        }
    }

    fn oversized(&mut self, stream: u32) {
        if self.oversized.last() != Some(&stream) {
            remember(&mut self.oversized, stream);
        }
    }
}

fn remember(streams: &mut Vec<u32>, stream: u32) {
    if streams.len() >= MAX_REMEMBERED {
        streams.remove(0);
    }
    streams.push(stream);
}

/// The header of a frame, and the inspected part of its payload.
#[derive(Debug, Clone, Copy, Default)]
struct Frame {
    length: usize,
    kind: u8,
    flags: u8,
    stream: u32,
    payload: [u8; 4],
}

impl Frame {
    fn parse(header: [u8; 9]) -> Self {
        let [a, b, c, kind, flags, s0, s1, s2, s3] = header;
        Self {
            length: u32::from_be_bytes([0, a, b, c]) as usize,
            kind,
            flags,
            stream: u32::from_be_bytes([s0, s1, s2, s3]) & 0x7fff_ffff,
            payload: [0; 4],
        }
    }

    /// The first 31 bits of the payload.
    fn number(&self) -> u32 {
        u32::from_be_bytes(self.payload) & 0x7fff_ffff
    }
}

/// Finds the frames in a sequence of bytes that arrives in pieces.
#[derive(Debug, Default)]
struct Scanner {
    /// The number of bytes to skip: the preface, or the rest of a payload.
    skip: usize,
    header: [u8; 9],
    header_bytes: usize,
    frame: Frame,
    payload_bytes: usize,
}

impl Scanner {
    fn after(skip: usize) -> Self {
        Self { skip, ..Self::default() }
    }

    /// Calls `found` for each complete frame.
    fn scan(&mut self, mut bytes: &[u8], mut found: impl FnMut(&Frame)) {
        while !bytes.is_empty() {
            if self.skip > 0 {
                let passed = self.skip.min(bytes.len());
                self.skip -= passed;
                bytes = &bytes[passed..];
                if self.skip > 0 || self.header_bytes == 0 {
                    continue;
                }
            } else if self.header_bytes < self.header.len() {
                let taken = take(&mut self.header, &mut self.header_bytes, bytes);
                bytes = &bytes[taken..];
                if self.header_bytes < self.header.len() {
                    continue;
                }
                (self.frame, self.payload_bytes) = (Frame::parse(self.header), 0);
                if self.frame.length > 0 {
                    continue;
                }
            } else {
                let wanted = self.frame.length.min(self.frame.payload.len());
                let taken = take(&mut self.frame.payload[..wanted], &mut self.payload_bytes, bytes);
                bytes = &bytes[taken..];
                if self.payload_bytes < wanted {
                    continue;
                }
                self.skip = self.frame.length - wanted;
                if self.skip > 0 {
                    continue;
                }
            }
            found(&self.frame);
            self.header_bytes = 0;
        }
    }
}

fn take(into: &mut [u8], filled: &mut usize, bytes: &[u8]) -> usize {
    let taken = bytes.len().min(into.len() - *filled);
    into[*filled..*filled + taken].copy_from_slice(&bytes[..taken]);
    *filled += taken;
    taken
}

/// A transport whose frames are inspected.
pub(super) struct Wire {
    io: Io,
    traffic: Arc<Traffic>,
    incoming: Scanner,
    outgoing: Scanner,
    /// The length of the header block that is being received, and its limit.
    block: usize,
    max_block: usize,
}

impl Wire {
    pub(super) fn new(io: Io, max_block: usize) -> (Self, Arc<Traffic>) {
        let traffic = Arc::new(Traffic::new());
        let (incoming, outgoing) = (Scanner::default(), Scanner::after(PREFACE_BYTES));
        (Self { io, traffic: traffic.clone(), incoming, outgoing, block: 0, max_block }, traffic)
    }

    fn written(&mut self, bytes: &[u8]) {
        let traffic = &self.traffic;
        self.outgoing.scan(bytes, |frame| traffic.frame_sent(frame));
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Self { io, traffic, incoming, block, max_block, .. } = &mut *self;
        let before = buf.filled().len();
        ready!(Pin::new(io).poll_read(cx, buf))?;
        let new = &buf.filled()[before..];
        if !new.is_empty() {
            traffic.received(new.len());
            incoming.scan(new, |frame| {
                if matches!(frame.kind, HEADERS | CONTINUATION) {
                    *block += frame.length;
                }
                traffic.frame_received(frame, *max_block, *block);
                if matches!(frame.kind, HEADERS | CONTINUATION) && frame.flags & END_HEADERS != 0 {
                    *block = 0;
                }
            });
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.io).poll_write(cx, buf))?;
        self.written(&buf[..written]);
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.io).poll_write_vectored(cx, bufs))?;
        let mut left = written;
        for buf in bufs {
            let part = left.min(buf.len());
            self.written(&buf[..part]);
            left -= part;
        }
        Poll::Ready(Ok(written))
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

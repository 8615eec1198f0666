//! HTTP/2 connections: many requests at a time, each on its own stream.

mod connections;
mod driver;
mod exchange;
mod upload;

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::wire::{Seen, Wire};
use super::{Settings, Shared};
use crate::body::BoxError;
use crate::proxy::connect::Io;

pub(super) use self::connections::{Acquired, Connections};
pub(in crate::proxy) use self::exchange::ResponseBody;
pub(super) use self::exchange::send;

/// Streams on one connection, if the server allows as many. A server that announces no limit is assumed to allow these.
const MAX_STREAMS: usize = 100;

/// The largest flow-control window of HTTP/2.
const MAX_WINDOW: u32 = (1 << 31) - 1;

/// How much of an upload h2 buffers for one stream until the server's window allows sending it.
const SEND_BUFFER: usize = 256 * 1024;

/// h2 doesn't decode more of a head or of trailers than this many times the settings' limit. Up to this, something too
/// large fails only its own request.
const DECODED_SHARE: usize = 4;

/// An open connection. It is kept by the pool and by its streams.
#[derive(Debug)]
pub(super) struct Connection {
    sender: SendRequest<Bytes>,
    status: Arc<Status>,
}

/// What is known about a connection.
#[derive(Debug)]
struct Status {
    /// An ID that is unique among the connections to all upstreams.
    id: u64,
    start: Instant,
    /// Open streams.
    streams: AtomicUsize,
    /// When the last stream ended, in milliseconds from the start.
    idle_since: AtomicU64,
    /// Maximum number of streams.
    limit: AtomicUsize,
    /// Whether it gets no more streams, for good.
    draining: AtomicBool,
    /// Whether it gets no more streams until something is received, after what had been received by then.
    suspect: AtomicBool,
    received_before: AtomicU64,
    /// Whether its task has ended.
    ended: AtomicBool,
    /// Wakes the connection's task to check all of this again.
    changed: Notify,
    seen: Arc<Seen>,
}

impl Status {
    fn new(seen: Arc<Seen>) -> Self {
        static LAST_ID: AtomicU64 = AtomicU64::new(0);
        Self {
            id: LAST_ID.fetch_add(1, Ordering::Relaxed),
            start: Instant::now(),
            streams: AtomicUsize::new(0),
            idle_since: AtomicU64::new(0),
            limit: AtomicUsize::new(MAX_STREAMS),
            draining: AtomicBool::new(false),
            suspect: AtomicBool::new(false),
            received_before: AtomicU64::new(0),
            ended: AtomicBool::new(false),
            changed: Notify::new(),
            seen,
        }
    }

    fn streams(&self) -> usize {
        self.streams.load(Ordering::Acquire)
    }

    fn idle_since(&self) -> Instant {
        self.start + Duration::from_millis(self.idle_since.load(Ordering::Acquire))
    }

    /// A server that allows no streams at all is about to close the connection.
    fn set_limit(&self, announced: usize) {
        self.limit.store(announced.min(MAX_STREAMS), Ordering::Release);
        if announced == 0 {
            self.drain();
        }
    }

    fn drain(&self) {
        self.draining.store(true, Ordering::Release);
    }

    fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire) || self.seen.goaway()
    }

    fn is_suspect(&self) -> bool {
        self.suspect.load(Ordering::Acquire)
    }

    /// Whether it gets new streams as soon as there is room.
    fn is_usable(&self) -> bool {
        !self.is_draining() && !self.is_suspect()
    }

    fn has_room(&self) -> bool {
        self.streams() < self.limit.load(Ordering::Acquire)
    }

    /// Whether it was suspect and no longer is.
    fn has_recovered(&self) -> bool {
        let recovered =
            self.is_suspect() && self.seen.received_bytes() > self.received_before.load(Ordering::Acquire);
        if recovered {
            self.suspect.store(false, Ordering::Release);
        }
        recovered
    }

    /// A request on it timed out and nothing was received in the meantime, so the connection may be dead: a PING will
    /// show.
    fn suspect(&self) {
        self.received_before.store(self.seen.received_bytes(), Ordering::Release);
        self.suspect.store(true, Ordering::Release);
        self.changed.notify_one();
    }
}

/// Opens a connection and starts its task. It is ready once the server's settings have arrived, so that its limit is
/// known.
async fn handshake(io: Io, shared: &Arc<Shared>) -> Result<Connection, BoxError> {
    let settings = &shared.settings;
    let (wire, seen) = Wire::new(io, settings.max_response_head);
    let (sender, mut connection) = builder(settings).handshake::<_, Bytes>(wire).await?;
    poll_fn(|cx| match Pin::new(&mut connection).poll(cx) {
        Poll::Ready(Ok(())) => Poll::Ready(Err("the server closed the connection".into())),
        Poll::Ready(Err(error)) => Poll::Ready(Err(BoxError::from(error))),
        Poll::Pending if seen.settings() > 0 => Poll::Ready(Ok(())),
        Poll::Pending => Poll::Pending,
    })
    .await?;
    if connection.max_concurrent_send_streams() == 0 {
        return Err("the server allows no streams".into());
    }
    let status = Arc::new(Status::new(seen));
    status.set_limit(connection.max_concurrent_send_streams());
    tokio::spawn(driver::drive(connection, status.clone(), Arc::downgrade(shared)));
    Ok(Connection { sender, status })
}

fn builder(settings: &Settings) -> h2::client::Builder {
    let window = settings.stream_window.min(MAX_WINDOW);
    // All streams together may hold as much as each may, so that one that isn't read never blocks another.
    let connection_window = window.saturating_mul(MAX_STREAMS as u32).min(MAX_WINDOW);
    let decoded = settings.max_response_head.saturating_mul(DECODED_SHARE);
    let mut builder = h2::client::Builder::new();
    builder
        .enable_push(false)
        .initial_window_size(window)
        .initial_connection_window_size(connection_window)
        .initial_max_send_streams(MAX_STREAMS)
        .max_header_list_size(u32::try_from(decoded).unwrap_or(u32::MAX))
        .max_send_buffer_size(SEND_BUFFER);
    builder
}

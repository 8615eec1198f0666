//! HTTP/2 connections, which carry many requests at a time, each on its own stream.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::body::BoxError;
use crate::proxy::pool::wire::Traffic;

/// The most streams on one connection. The server may set a lower limit; if it announces none, this is used.
pub(in crate::proxy::pool) const MAX_STREAMS: usize = 100;

/// The connections to an address.
#[derive(Debug, Default)]
pub(in crate::proxy::pool) struct Connections {
    state: Mutex<State>,
    /// Notified when anything changes for requests that wait for a stream.
    pub(in crate::proxy::pool) changed: Notify,
}

/// The connections, and attempts to open one.
#[derive(Debug, Default)]
pub(in crate::proxy::pool) struct State {
    pub(in crate::proxy::pool) connections: Vec<Connection>,
    /// Whether a connection is being opened. Connections are opened one after the other, so that a burst of requests
    /// doesn't open one for each.
    pub(in crate::proxy::pool) connecting: bool,
    /// The number of connections that have been opened or failed to open.
    pub(in crate::proxy::pool) attempts: u64,
    /// The number of the last attempt if it failed, and why.
    pub(in crate::proxy::pool) failure: Option<(u64, Arc<BoxError>)>,
    pub(in crate::proxy::pool) waiting: usize,
}

/// An open connection. The pool and the connection's streams hold it.
#[derive(Debug)]
pub(in crate::proxy::pool) struct Connection {
    pub(in crate::proxy::pool) sender: SendRequest<Bytes>,
    pub(in crate::proxy::pool) status: Arc<Status>,
}

/// The state of a connection.
#[derive(Debug)]
pub(in crate::proxy::pool) struct Status {
    /// An ID that is unique among the connections to all upstreams.
    pub(in crate::proxy::pool) id: u64,
    pub(in crate::proxy::pool) start: Instant,
    /// Open streams.
    pub(in crate::proxy::pool) streams: AtomicUsize,
    /// When the last stream ended, in milliseconds since the start.
    pub(in crate::proxy::pool) idle_since: AtomicU64,
    /// The maximum number of streams.
    limit: AtomicUsize,
    /// Whether the connection gets no more streams, permanently.
    draining: AtomicBool,
    /// Whether the connection gets no more streams until more than `received_before` has been received.
    suspect: AtomicBool,
    received_before: AtomicU64,
    /// Whether its task has ended.
    pub(in crate::proxy::pool) ended: AtomicBool,
    /// Wakes the connection's task to check this state again.
    pub(in crate::proxy::pool) changed: Notify,
    pub(in crate::proxy::pool) traffic: Arc<Traffic>,
}

impl Connections {
    pub(in crate::proxy::pool) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes requests that wait for a stream.
    pub(in crate::proxy::pool) fn changed(&self) {
        self.changed.notify_waiters();
    }

    /// Removes a connection that has ended.
    pub(in crate::proxy::pool) fn remove(&self, id: u64) {
        self.state().connections.retain(|connection| connection.status.id != id);
        self.changed();
    }

    /// Removes a connection if it has no streams, so that it gets no new ones.
    pub(in crate::proxy::pool) fn remove_idle(&self, status: &Status) -> bool {
        let mut state = self.state();
        let idle = status.streams() == 0;
        if idle {
            state.connections.retain(|connection| connection.status.id != status.id);
        }
        idle
    }

    /// Whether requests wait for a stream and no connection is being opened.
    pub(in crate::proxy::pool) fn is_saturated(&self) -> bool {
        let state = self.state();
        state.waiting > 0 && !state.connecting
    }
}

impl State {
    /// Adds a connection, unless it has already ended.
    pub(in crate::proxy::pool) fn add(&mut self, connection: Connection) {
        if !connection.status.ended.load(Ordering::Acquire) {
            self.connections.push(connection);
        }
    }

    /// Whether another connection may be opened. Connections that get no new streams also count, but less.
    pub(in crate::proxy::pool) fn may_connect(&self, max: usize) -> bool {
        let usable = self.connections.iter().filter(|connection| connection.status.is_usable()).count();
        usable < max && self.connections.len() < max.saturating_mul(2)
    }
}

impl Status {
    pub(in crate::proxy::pool) fn new(traffic: Arc<Traffic>) -> Self {
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
            traffic,
        }
    }

    pub(in crate::proxy::pool) fn streams(&self) -> usize {
        self.streams.load(Ordering::Acquire)
    }

    pub(in crate::proxy::pool) fn idle_since(&self) -> Instant {
        self.start + Duration::from_millis(self.idle_since.load(Ordering::Acquire))
    }

    /// Sets the limit. A server that allows no streams at all is about to close the connection.
    pub(in crate::proxy::pool) fn set_limit(&self, announced: usize) {
        self.limit.store(announced.min(MAX_STREAMS), Ordering::Release);
        if announced == 0 {
            self.drain();
        }
    }

    pub(in crate::proxy::pool) fn drain(&self) {
        self.draining.store(true, Ordering::Release);
    }

    pub(in crate::proxy::pool) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire) || self.traffic.goaway()
    }

    pub(in crate::proxy::pool) fn is_suspect(&self) -> bool {
        self.suspect.load(Ordering::Acquire)
    }

    /// Whether it gets new streams as soon as it has room.
    pub(in crate::proxy::pool) fn is_usable(&self) -> bool {
        !self.is_draining() && !self.is_suspect()
    }

    pub(in crate::proxy::pool) fn has_room(&self) -> bool {
        self.streams() < self.limit.load(Ordering::Acquire)
    }

    /// Whether it was suspect but no longer is.
    pub(in crate::proxy::pool) fn has_recovered(&self) -> bool {
        let recovered =
            self.is_suspect() && self.traffic.received_bytes() > self.received_before.load(Ordering::Acquire);
        if recovered {
            self.suspect.store(false, Ordering::Release);
        }
        recovered
    }

    /// Marks the connection as suspect: a request on it timed out and nothing has been received since, so it may be
    /// dead. A PING shows which.
    pub(in crate::proxy::pool) fn suspect(&self) {
        self.received_before.store(self.traffic.received_bytes(), Ordering::Release);
        self.suspect.store(true, Ordering::Release);
        self.changed.notify_one();
    }
}

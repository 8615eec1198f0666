//! Idle connections.

use std::time::Duration;

use tokio::time::Instant;

use super::connection::Idle;

/// How often to check whether the server has closed idle connections.
pub(in crate::proxy::pool) const CHECK_INTERVAL: Duration = Duration::from_secs(1);

#[derive(Debug)]
struct Waiting {
    connection: Idle,
    since: Instant,
}

/// The idle connections to an address; the most recently used one is reused first.
#[derive(Debug, Default)]
pub(in crate::proxy::pool) struct IdleConnections(Vec<Waiting>);

impl IdleConnections {
    /// Keeps a connection, unless there are already enough.
    pub(in crate::proxy::pool) fn put(&mut self, connection: Idle, max: usize) {
        if self.0.len() < max {
            self.0.push(Waiting { connection, since: Instant::now() });
        } else {
            connection.close();
        }
    }

    /// Takes a connection that the server hasn't closed.
    pub(in crate::proxy::pool) fn take(&mut self) -> Option<Idle> {
        while let Some(Waiting { mut connection, .. }) = self.0.pop() {
            if connection.is_alive() {
                connection.reuse();
                return Some(connection);
            }
        }
        None
    }

    /// Closes connections that have been idle for this long or that servers have closed. Returns when to check again if
    /// others are left.
    pub(in crate::proxy::pool) fn sweep(&mut self, limit: Duration) -> Option<Instant> {
        let now = Instant::now();
        let closed = self
            .0
            .extract_if(.., |Waiting { connection, since }| now >= *since + limit || !connection.is_alive());
        closed.for_each(|waiting| waiting.connection.close());
        let first = self.0.first()?.since + limit;
        Some(first.min(now + CHECK_INTERVAL))
    }
}

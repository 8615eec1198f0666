//! The streams that requests hold.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use h2::client::SendRequest;

use crate::proxy::pool::connections::http2::{Connection, Status};
use crate::proxy::pool::shared::Shared;

/// Permission to use one stream on a connection.
#[derive(Debug)]
pub(in crate::proxy::pool) struct Slot {
    pub(super) sender: SendRequest<Bytes>,
    pub(super) status: Arc<Status>,
    shared: Arc<Shared>,
}

impl Slot {
    pub(super) fn new(connection: &Connection, shared: &Arc<Shared>) -> Self {
        connection.status.streams.fetch_add(1, Ordering::AcqRel);
        Self { sender: connection.sender.clone(), status: connection.status.clone(), shared: shared.clone() }
    }

    pub(super) fn shared(&self) -> &Shared {
        &self.shared
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let status = &self.status;
        let idle_since = u64::try_from(status.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        status.idle_since.store(idle_since, Ordering::Release);
        let last = status.streams.fetch_sub(1, Ordering::AcqRel) == 1;
        if last && status.is_draining() {
            status.changed.notify_one();
        }
        let connections = &self.shared.http2;
        if connections.state().waiting > 0 {
            connections.changed.notify_one();
        }
    }
}

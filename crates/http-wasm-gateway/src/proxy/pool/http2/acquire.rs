//! Chooses the connection for a request's stream, and decides when to open another one.

use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use super::handshake::handshake;
use super::slot::Slot;
use crate::body::BoxError;
use crate::proxy::connect::Io;
use crate::proxy::pool::connections::http1;
use crate::proxy::pool::connections::http2::{Connections, State};
use crate::proxy::pool::shared::{Protocol, Shared};
use crate::proxy::pool::{SendError, SendErrorKind};

/// The most connections that one request opens. A request only needs more if the server closes them at once.
const MAX_OPENED: usize = 10;

/// What to send a request on.
pub(in crate::proxy::pool) enum Acquired {
    Stream(Slot),
    /// The server uses HTTP/1.1.
    Http1,
}

impl Connections {
    /// Adds a connection that was opened for HTTP/1.1 as well as HTTP/2.
    pub(in crate::proxy::pool) async fn adopt(&self, shared: &Arc<Shared>, io: Io) -> Result<(), BoxError> {
        let connection = handshake(io, shared).await?;
        self.state().add(connection);
        self.changed();
        Ok(())
    }

    /// Returns a stream, if possible not on the connection to `avoid`. Opens another connection if that is necessary
    /// and allowed; otherwise it waits until a stream has ended or a connection is available, for `queue_timeout` or
    /// the connect timeout.
    pub(in crate::proxy::pool) async fn acquire(
        &self,
        shared: &Arc<Shared>,
        avoid: Option<u64>,
        uploads: bool,
        queue_timeout: Option<Duration>,
    ) -> Result<Acquired, SendError> {
        {
            let state = self.state();
            if state.waiting == 0
                && let Some(slot) = state.slot(shared, avoid, uploads)
            {
                return Ok(Acquired::Stream(slot));
            }
        }
        let (mut waiting, mut since, mut late, mut opened) = (None, None, false, 0);
        let mut timeout = pin!(sleep(queue_timeout.unwrap_or(shared.settings.connect_timeout)));
        let mut changed = pin!(self.changed.notified());
        loop {
            changed.as_mut().enable();
            {
                let mut state = self.state();
                if shared.protocol() == Protocol::Http1 {
                    return Ok(Acquired::Http1);
                }
                // Requests are served in the order of their arrival.
                let in_turn = waiting.is_some() || state.waiting == 0;
                if in_turn && let Some(slot) = state.slot(shared, avoid, uploads) {
                    return Ok(Acquired::Stream(slot));
                }
                if let (Some(since), Some((attempt, error))) = (since, &state.failure)
                    && *attempt >= since
                {
                    let kind = SendErrorKind::of_connect(&***error);
                    return Err(SendError::new(kind, SharedError(error.clone())));
                }
                if late && !state.connecting {
                    return Err(SendErrorKind::Busy.into());
                }
                if !state.connecting && state.may_connect(shared.settings.max_http2_connections) {
                    opened += 1;
                    if opened > MAX_OPENED {
                        let error = "connections are closed before they can be used";
                        return Err(SendError::new(SendErrorKind::Connect, error));
                    }
                    state.connecting = true;
                    state.attempts += 1;
                    tokio::spawn(Connecting { shared: shared.clone(), attempt: state.attempts }.connect());
                }
                if state.connecting && since.is_none() {
                    since = Some(state.attempts);
                }
                if waiting.is_none() {
                    state.waiting += 1;
                    waiting = Some(Waiting(self));
                }
            }
            tokio::select! {
                () = changed.as_mut() => {}
                () = timeout.as_mut(), if !late => late = true,
            }
            changed.set(self.changed.notified());
        }
    }
}

impl State {
    fn slot(&self, shared: &Arc<Shared>, avoid: Option<u64>, uploads: bool) -> Option<Slot> {
        let with_room = || {
            self.connections
                .iter()
                .filter(|connection| connection.status.is_usable() && connection.status.has_room())
        };
        let others = || with_room().filter(|connection| Some(connection.status.id) != avoid);
        let flowing = || others().find(|connection| !uploads || !connection.status.traffic.is_congested());
        let chosen = match flowing() {
            Some(connection) => connection,
            // Another connection is preferred, if one may be opened.
            None if self.may_connect(shared.settings.max_http2_connections) => return None,
            None => others().next().or_else(|| with_room().next())?,
        };
        Some(Slot::new(chosen, shared))
    }
}

/// Why a connection couldn't be opened, for all requests that waited for it.
#[derive(Debug)]
struct SharedError(Arc<BoxError>);

impl fmt::Display for SharedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for SharedError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source()
    }
}

/// A request that waits for a stream.
struct Waiting<'a>(&'a Connections);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.state().waiting -= 1;
    }
}

/// A connection that is being opened. Waiting requests learn the result even if this is dropped.
struct Connecting {
    shared: Arc<Shared>,
    attempt: u64,
}

impl Connecting {
    async fn connect(self) {
        let shared = &self.shared;
        let opened = shared.within_connect_timeout(async {
            let connected = shared.open(false).await?;
            if shared.negotiates() && !connected.negotiated_http2 {
                shared.put_idle(http1::open(connected.io, &shared.settings));
                shared.learn(Protocol::Http1);
                return Ok(None);
            }
            shared.learn(Protocol::Http2);
            handshake(connected.io, shared).await.map(Some)
        });
        match opened.await {
            Ok(Some(connection)) => shared.http2.state().add(connection),
            Ok(None) => {}
            Err(error) => shared.http2.state().failure = Some((self.attempt, Arc::new(error))),
        }
    }
}

impl Drop for Connecting {
    fn drop(&mut self) {
        self.shared.http2.state().connecting = false;
        self.shared.http2.changed();
    }
}

//! HTTP/1.1 connections: one request at a time, and idle in between.

mod body;
mod connection;
mod idle;
mod output;
mod tunnel;

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use http::Response;

pub(in crate::proxy) use self::body::ResponseBody;
use self::connection::{Connection, Failure};
pub(super) use self::idle::{IdleConnections, LOOK_INTERVAL};
pub(in crate::proxy) use self::tunnel::Tunnel;
use super::{Outbound, SendError, SendErrorKind, Sending, Shared};
use crate::http1::response::{Limits, Refused};
use crate::proxy::connect::Io;
use crate::proxy::patience::Clock;

/// A connection that carries no request.
pub(super) type Idle = Box<Connection>;

/// A new connection.
pub(super) fn open(io: Io, shared: &Shared) -> Idle {
    let limits =
        Limits { bytes: shared.settings.max_response_head, fields: shared.settings.max_response_fields };
    Box::new(Connection::new(io, limits))
}

/// A connection that carries a request. Unless it is [released](Self::release), it is closed when this is dropped.
#[derive(Debug)]
pub(super) struct Busy {
    connection: Box<Connection>,
    shared: Arc<Shared>,
    /// Whose turn it is while the request's body is being sent.
    clock: Clock,
}

/// Sends a request and waits for the head of the response. `reused` says whether the connection has carried others.
pub(super) async fn send(
    connection: Idle,
    reused: bool,
    request: Outbound<'_>,
    shared: &Arc<Shared>,
    sending: &Sending<'_>,
) -> Result<Response<ResponseBody>, SendError> {
    let mut busy = Busy { connection, shared: shared.clone(), clock: sending.clock.clone() };
    busy.connection.begin(request, &shared.host);
    sending.clock.restart();
    let inform = |status, headers| shared.inform(sending.interims, status, headers);
    let answered = poll_fn(|cx| {
        let Busy { connection, clock, .. } = &mut busy;
        if let Poll::Ready(answered) = connection.poll_head(&inform, cx) {
            return Poll::Ready(Some(answered));
        }
        clock.poll_expired(sending.response_timeout, &mut connection.timer, cx).map(|()| None)
    });
    match answered.await {
        Some(Ok(response)) => Ok(ResponseBody::of(response, busy)),
        Some(Err(failure)) => Err(failure.into_error(reused)),
        None => Err(SendErrorKind::Timeout.into()),
    }
}

impl Failure {
    fn into_error(self, reused: bool) -> SendError {
        // A connection that was idle may just have been closed.
        let closed = if reused { SendErrorKind::Stale } else { SendErrorKind::Broken };
        match self {
            Self::RequestBody(error) => SendError::new(SendErrorKind::RequestBody, error),
            Self::Refused(refused @ Refused::TooLarge(_)) => {
                SendError::new(SendErrorKind::ResponseHead, refused)
            }
            Self::Refused(refused @ Refused::Malformed(_)) => {
                SendError::new(SendErrorKind::ResponseInvalid, refused)
            }
            Self::Refused(refused @ Refused::Incomplete(_)) => SendError::new(SendErrorKind::Broken, refused),
            Self::Io(error) => SendError::new(closed, error),
            Self::Closed => SendError::new(closed, "the connection was closed before a response"),
        }
    }
}

impl Busy {
    /// Makes the connection idle once the request, too, has been sent. An upstream that has answered and doesn't read
    /// the rest of the request has its connection closed.
    fn release(self) {
        if self.connection.has_sent() {
            self.finish();
        } else {
            tokio::spawn(self.finish_upload());
        }
    }

    fn finish(self) {
        if self.connection.may_reuse() {
            self.shared.put_idle(self.connection);
        } else {
            self.connection.close();
        }
    }

    async fn finish_upload(mut self) {
        let limit = self.shared.settings.idle_timeout;
        let sent = poll_fn(|cx| {
            if let Poll::Ready(sent) = self.connection.poll_send(cx) {
                return Poll::Ready(sent.is_ok());
            }
            self.clock.poll_expired(limit, &mut self.connection.timer, cx).map(|()| false)
        });
        if sent.await {
            self.finish();
        }
    }
}

//! Requests on HTTP/1.1 connections.

mod body;
mod busy;

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use http::Response;

pub(in crate::proxy) use self::body::ResponseBody;
use self::busy::Busy;
use super::connections;
use super::connections::http1::{Failure, Idle};
use super::error::{SendError, SendErrorKind};
use super::request::{Outbound, Sending};
use super::shared::Shared;
use crate::http1::response::ResponseError;
use crate::proxy::timeout::ResponseTimer;

/// Sends a request and waits for the head of the response.
///
/// The server may have closed a connection that was idle. If this is noticed before any of the request is written,
/// another connection is used, for any method: the server can't have seen the request.
pub(super) async fn send(
    connection: Idle,
    request: Outbound<'_>,
    shared: &Arc<Shared>,
    sending: &Sending<'_>,
) -> Result<Response<ResponseBody>, SendError> {
    let method = request.method;
    let response_timer = ResponseTimer::start(&request.body);
    let mut busy = Busy { connection, shared: shared.clone(), response_timer };
    busy.connection.begin(request, &busy.response_timer, &shared.host);
    let inform = |status, headers| shared.inform(sending.interims, status, headers);
    loop {
        let answered = poll_fn(|cx| {
            let Busy { connection, response_timer, .. } = &mut busy;
            if let Poll::Ready(answered) = connection.poll_head(&inform, cx) {
                return Poll::Ready(Some(answered));
            }
            response_timer.poll_expired(sending.response_timeout, &mut connection.timer, cx).map(|()| None)
        });
        match answered.await {
            Some(Ok(response)) => return Ok(ResponseBody::of(response, busy)),
            Some(Err(Failure::Unsent(_))) => {
                let idle = shared.http1().take();
                let other = match idle {
                    Some(other) => other,
                    None => Box::pin(open(shared)).await?,
                };
                let mut closed = std::mem::replace(&mut busy.connection, other);
                busy.connection.take_over(&mut closed, method);
                busy.response_timer.restart();
            }
            Some(Err(failure)) => return Err(failure.into_error(busy.connection.is_reused())),
            None => return Err(SendErrorKind::Timeout.into()),
        }
    }
}

/// Opens a new connection.
async fn open(shared: &Shared) -> Result<Idle, SendError> {
    match shared.within_connect_timeout(shared.open(true)).await {
        Ok(connected) => Ok(connections::http1::open(connected.io, &shared.settings)),
        Err(error) => Err(SendError::new(SendErrorKind::of_connect(&*error), error)),
    }
}

impl Failure {
    fn into_error(self, reused: bool) -> SendError {
        // A connection that was idle may just have been closed.
        let closed = if reused { SendErrorKind::Stale } else { SendErrorKind::Broken };
        match self {
            Self::RequestBody(error) => SendError::new(SendErrorKind::RequestBody, error),
            Self::Response(error @ ResponseError::TooLarge(_)) => {
                SendError::new(SendErrorKind::ResponseHead, error)
            }
            Self::Response(error @ ResponseError::Malformed(_)) => {
                SendError::new(SendErrorKind::ResponseInvalid, error)
            }
            Self::Response(error @ ResponseError::Incomplete(_)) => {
                SendError::new(SendErrorKind::Broken, error)
            }
            Self::Io(error) | Self::Unsent(error) => SendError::new(closed, error),
            Self::Closed => SendError::new(closed, "the connection was closed before a response"),
        }
    }
}

//! Requests on HTTP/1.1 connections.

mod body;
mod busy;

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use http::Response;

pub(in crate::proxy) use self::body::ResponseBody;
use self::busy::Busy;
use super::connections::http1::{Failure, Idle};
use super::error::{SendError, SendErrorKind};
use super::request::{Outbound, Sending};
use super::shared::Shared;
use crate::http1::response::Refused;

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

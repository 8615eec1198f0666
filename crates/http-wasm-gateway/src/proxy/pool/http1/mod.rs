//! HTTP/1.1 connections: one request at a time, and idle in between.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, Uri, header};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::{RequestBody, SendError, SendErrorKind, Sending, Settings, Shared};
use crate::http1::response::{Handle, Limits, Refused, ResponseReader};
use crate::proxy::connect::Io;
use crate::proxy::patience::Clock;

/// How much of a response is read ahead at most, if its head needn't more: hyper's default.
const READ_BUFFER: usize = 408 * 1024;

/// How much larger than the upstream sent it the reader may make a head.
const EDITED: usize = 64;

/// An open connection. Its own task reads and writes.
#[derive(Debug)]
pub(super) struct Connection {
    sender: http1::SendRequest<RequestBody>,
    /// What reads responses before hyper does.
    responses: Handle,
    /// How many of its informational responses the pool has counted.
    counted: u64,
    task: AbortHandle,
}

impl Connection {
    pub(super) async fn handshake(io: Io, shared: &Shared) -> Result<Self, hyper::Error> {
        let Settings { max_response_head, max_response_fields, .. } = shared.settings;
        // hyper's own limits are never met: the reader refuses what is beyond the settings, and sees more of it in trailers.
        let (io, responses) =
            ResponseReader::new(io, Limits { bytes: max_response_head, fields: max_response_fields });
        let (sender, connection) = http1::Builder::new()
            // The reader may add a field.
            .max_headers(max_response_fields.saturating_add(1))
            .max_header_size(max_response_head.saturating_add(EDITED))
            .max_buf_size(READ_BUFFER.max(max_response_head.saturating_mul(2)))
            .handshake(TokioIo::new(io))
            .await?;
        let task = tokio::spawn(async move {
            if let Err(error) = connection.with_upgrades().await {
                tracing::debug!(error = &error as &dyn std::error::Error, "upstream connection ended");
            }
        });
        Ok(Self { sender, responses, counted: 0, task: task.abort_handle() })
    }

    /// Whether another request can be sent.
    pub(super) fn is_ready(&self) -> bool {
        self.sender.is_ready() && self.responses.may_reuse()
    }

    /// Whether another request can be sent once this one has been and its response has ended; `false` if none ever can.
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        match self.responses.may_reuse() {
            true => self.sender.poll_ready(cx).map(|ready| ready.is_ok()),
            false => Poll::Ready(false),
        }
    }
}

/// Turns a request with an absolute URI into what is sent to an origin server.
pub(super) fn to_origin_form<B>(request: &mut Request<B>, host: &HeaderValue) {
    if !request.headers().contains_key(header::HOST) {
        request.headers_mut().insert(header::HOST, host.clone());
    }
    let path_and_query = std::mem::take(request.uri_mut()).into_parts().path_and_query;
    *request.uri_mut() = path_and_query.map_or_else(Uri::default, Uri::from);
}

/// A connection that carries a request. Unless it is [released](Self::release), it is closed when this is dropped.
#[derive(Debug)]
pub(super) struct Busy {
    connection: Option<Connection>,
    shared: Arc<Shared>,
    /// Whose turn it is while the request's body is being sent.
    clock: Clock,
}

impl Busy {
    pub(super) fn new(connection: Connection, shared: Arc<Shared>, clock: Clock) -> Self {
        Self { connection: Some(connection), shared, clock }
    }

    /// Sends the request; on failure gives it back if nothing of it was written.
    pub(super) async fn send(
        mut self,
        request: Request<RequestBody>,
        sending: &Sending<'_>,
    ) -> Result<Response<ResponseBody>, (SendError, Option<Request<RequestBody>>)> {
        let connection = self.connection.as_mut().expect("it is released only with its response");
        connection.responses.begin(request.method());
        sending.clock.restart();
        let result = tokio::select! {
            biased;
            result = connection.sender.try_send_request(request) => Some(result),
            () = sending.clock.expired(sending.response_timeout) => None,
        };
        let informational = connection.responses.informational();
        if informational > connection.counted {
            let new = informational - connection.counted;
            self.shared.informational.fetch_add(new, Ordering::Relaxed);
            connection.counted = informational;
        }
        let Some(result) = result else { return Err((SendErrorKind::Timeout.into(), None)) };
        let response = result.map_err(|mut failed| {
            let unsent = failed.take_message();
            let error = failed.into_error();
            let kind = match Refused::cause_of(&error) {
                _ if sending.clock.client_failed() => SendErrorKind::RequestBody,
                Some(Refused::TooLarge(_)) => SendErrorKind::ResponseHead,
                Some(Refused::Malformed(_)) => SendErrorKind::ResponseInvalid,
                _ => SendErrorKind::Broken,
            };
            (SendError::new(kind, error), unsent)
        })?;
        let switched = response.status() == StatusCode::SWITCHING_PROTOCOLS;
        Ok(response.map(|incoming| {
            let mut body = ResponseBody { incoming, busy: Some(self) };
            if switched {
                body.detach();
            } else if body.incoming.is_end_stream() {
                body.release();
            }
            body
        }))
    }

    /// Makes the connection idle once the request, too, has been sent. An upstream that has answered and doesn't read the rest of the
    /// request has its connection closed.
    fn release(mut self) {
        let Some(mut connection) = self.connection.take() else { return };
        match connection.poll_ready(&mut Context::from_waker(std::task::Waker::noop())) {
            Poll::Ready(true) => self.shared.put_idle(connection),
            Poll::Ready(false) => {}
            Poll::Pending => {
                self.connection = Some(connection);
                tokio::spawn(self.finish_upload());
            }
        }
    }

    async fn finish_upload(mut self) {
        let limit = self.shared.settings.idle_timeout;
        let Some(connection) = self.connection.as_mut() else { return };
        tokio::select! {
            ready = poll_fn(|cx| connection.poll_ready(cx)) => {
                if ready && let Some(connection) = self.connection.take() {
                    self.shared.put_idle(connection);
                }
            }
            () = self.clock.expired(limit) => {}
        }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        if let Some(connection) = &self.connection {
            // Its task would go on as long as the upstream doesn't read what is still to be written.
            connection.task.abort();
        }
    }
}

/// The body of a response, and its connection until its end.
#[derive(Debug)]
pub(in crate::proxy) struct ResponseBody {
    incoming: Incoming,
    busy: Option<Busy>,
}

impl ResponseBody {
    fn release(&mut self) {
        if let Some(busy) = self.busy.take() {
            busy.release();
        }
    }

    /// Leaves the connection to the protocol that it was switched to.
    fn detach(&mut self) {
        if let Some(mut busy) = self.busy.take() {
            busy.connection = None;
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let polled = Pin::new(&mut self.incoming).poll_frame(cx);
        match &polled {
            Poll::Ready(None) => self.release(),
            Poll::Ready(Some(Ok(_))) if self.incoming.is_end_stream() => self.release(),
            Poll::Ready(Some(Err(_))) => self.busy = None,
            Poll::Ready(Some(Ok(_))) | Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

/// A connection that waits for a request.
#[derive(Debug)]
struct Waiting {
    connection: Connection,
    since: Instant,
}

/// The idle connections to an address; the one used last is used next.
#[derive(Debug, Default)]
pub(super) struct IdleConnections(Vec<Waiting>);

impl IdleConnections {
    pub(super) fn put(&mut self, connection: Connection, max: usize) {
        if self.0.len() < max {
            self.0.push(Waiting { connection, since: Instant::now() });
        }
    }

    pub(super) fn take(&mut self) -> Option<Connection> {
        while let Some(Waiting { connection, .. }) = self.0.pop() {
            if connection.is_ready() {
                return Some(connection);
            }
        }
        None
    }

    /// Closes those that have been idle since before `limit`, and says when the next one will have been idle for as long.
    pub(super) fn sweep(&mut self, limit: std::time::Duration) -> Option<Instant> {
        let now = Instant::now();
        self.0.retain(|waiting| waiting.connection.is_ready() && now < waiting.since + limit);
        self.0.first().map(|waiting| waiting.since + limit)
    }
}

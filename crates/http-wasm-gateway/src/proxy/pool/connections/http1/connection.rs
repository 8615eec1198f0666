//! An HTTP/1.1 connection: writes requests and reads their responses.
//!
//! The task that waits for a response drives the connection, so there is no separate task and no channel. Bytes that
//! arrive on an idle connection are examined when the connection is about to be reused.

use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker, ready};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use http_body::Frame;
use tokio::io::{AsyncRead as _, AsyncReadExt as _, AsyncWrite as _, ReadBuf};

use super::{Tunnel, output};
use crate::body::BoxError;
use crate::http1::response::{Part, ResponseError, ResponseLimits, ResponseReader};
use crate::http1::{MessageWriter, WriteError};
use crate::proxy::connect::Io;
use crate::proxy::pool::settings::Settings;
use crate::proxy::pool::{Outbound, RequestBody};
use crate::proxy::timeout::{LazyTimer, ResponseTimer};

/// How much is read at once while a head is expected, in bytes.
const HEAD_BYTES: usize = 8 * 1024;

/// The minimum and maximum number of bytes of a body to read at once. The same amount is held for a client that doesn't
/// read.
const MIN_BYTES: usize = 1024;
const MAX_BYTES: usize = 64 * 1024;

/// An open connection.
pub(in crate::proxy::pool) struct Connection {
    io: Io,
    /// Data that has been received but not consumed.
    input: BytesMut,
    /// How much to read next time.
    next_read: usize,
    reader: ResponseReader,
    output: MessageWriter<RequestBody>,
    /// Why a request couldn't be written. The response may still arrive and explain it.
    write_error: Option<io::Error>,
    /// Whether nothing more can be read.
    ended: bool,
    /// Whether it was idle before the current request.
    reused: bool,
    pub(in crate::proxy::pool) timer: LazyTimer,
}

/// A connection that isn't carrying a request.
pub(in crate::proxy::pool) type Idle = Box<Connection>;

/// A new connection.
pub(in crate::proxy::pool) fn open(io: Io, settings: &Settings) -> Idle {
    let limits = ResponseLimits { bytes: settings.max_response_head, fields: settings.max_response_fields };
    Box::new(Connection::new(io, limits))
}

/// Why there is no response, or why the response is incomplete.
#[derive(Debug)]
pub(in crate::proxy::pool) enum Failure {
    /// The request's own body failed.
    RequestBody(BoxError),
    Response(ResponseError),
    Io(io::Error),
    /// The server closed the connection before any of the response arrived.
    Closed,
    /// The connection had been idle, and was closed before any of the request was written.
    Unsent(io::Error),
}

impl Connection {
    fn new(io: Io, limits: ResponseLimits) -> Self {
        Self {
            io,
            input: BytesMut::new(),
            next_read: HEAD_BYTES,
            reader: ResponseReader::new(limits),
            output: MessageWriter::default(),
            write_error: None,
            ended: false,
            reused: false,
            timer: LazyTimer::default(),
        }
    }

    /// Starts a request on an idle connection. `host` is used unless the request has its own.
    pub(in crate::proxy::pool) fn begin(
        &mut self,
        request: Outbound<'_>,
        response_timer: &ResponseTimer,
        host: &HeaderValue,
    ) {
        self.reader.begin(request.method);
        output::begin(&mut self.output, request, response_timer, host);
        self.next_read = HEAD_BYTES;
    }

    /// Takes over the request of a connection that was closed before any of the request was written.
    pub(in crate::proxy::pool) fn take_over(&mut self, unsent: &mut Self, method: &Method) {
        self.reader.begin(method);
        self.output = std::mem::take(&mut unsent.output);
        self.next_read = HEAD_BYTES;
    }

    /// Prepares an idle connection for another request.
    pub(super) fn reuse(&mut self) {
        self.reused = true;
    }

    /// Whether it was idle before the current request, so that the server's idle timeout may have closed it.
    pub(in crate::proxy::pool) fn is_reused(&self) -> bool {
        self.reused
    }

    /// Whether it can carry another request: the request and the response are complete, and nothing else has been
    /// received.
    pub(in crate::proxy::pool) fn may_reuse(&self) -> bool {
        self.reader.may_reuse()
            && self.reader.is_idle()
            && self.output.is_complete()
            && self.input.is_empty()
            && self.write_error.is_none()
            && !self.ended
    }

    /// Whether it can be reused and the server hasn't closed it, as far as the system knows. This only costs a system
    /// call if something has been received.
    pub(super) fn is_alive(&mut self) -> bool {
        let mut byte = [0];
        let mut cx = Context::from_waker(Waker::noop());
        // Data that arrives now doesn't belong to any request.
        self.may_reuse()
            && Pin::new(&mut self.io).poll_read(&mut cx, &mut ReadBuf::new(&mut byte)).is_pending()
    }

    pub(in crate::proxy::pool) fn has_sent(&self) -> bool {
        self.output.is_complete()
    }

    pub(in crate::proxy::pool) fn has_response(&self) -> bool {
        self.reader.is_idle()
    }

    pub(in crate::proxy::pool) fn has_switched(&self) -> bool {
        self.reader.is_opaque()
    }

    /// How much of the response's body is left, if known.
    pub(in crate::proxy::pool) fn left(&self) -> Option<u64> {
        self.reader.left()
    }

    /// Sends more of the request. Ready when the request is complete or abandoned.
    pub(in crate::proxy::pool) fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        if self.output.is_complete() {
            return Poll::Ready(Ok(()));
        }
        match ready!(self.output.poll(&mut self.io, || (), cx)) {
            Ok(()) => {}
            Err(WriteError::Body(error)) => return Poll::Ready(Err(Failure::RequestBody(error))),
            // Data that can still be read doesn't belong to any request.
            Err(WriteError::Io(error)) if self.reused && !self.output.buffer.has_begun() => {
                return Poll::Ready(Err(Failure::Unsent(error)));
            }
            Err(WriteError::Io(error)) => {
                self.write_error = Some(error);
                self.output = MessageWriter::default();
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Reads the head of the response. `inform` is called for informational responses.
    pub(in crate::proxy::pool) fn poll_head(
        &mut self,
        inform: &dyn Fn(StatusCode, HeaderMap),
        cx: &mut Context<'_>,
    ) -> Poll<Result<Response<()>, Failure>> {
        if let Poll::Ready(Err(failure)) = self.poll_send(cx) {
            return Poll::Ready(Err(failure));
        }
        loop {
            match ready!(self.poll_part(cx))? {
                Part::Informational(status, headers) => inform(status, headers),
                Part::Head(response) => {
                    // An empty body need not be polled.
                    if self.reader.left() == Some(0) && !self.reader.is_opaque() {
                        let _ = self.reader.next(&mut self.input);
                    }
                    return Poll::Ready(Ok(response));
                }
                Part::Data(_) | Part::Trailers(_) | Part::End => {
                    return Poll::Ready(Err(Failure::Closed));
                }
            }
        }
    }

    /// Takes the response's body, if its length is known and all of it has been received.
    pub(in crate::proxy::pool) fn take_whole_body(&mut self) -> Option<Bytes> {
        self.reader.take_whole_body(&mut self.input)
    }

    /// Returns the next frame of the response's body, while the rest of the request is sent as well.
    pub(in crate::proxy::pool) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        if self.reader.is_idle() {
            return Poll::Ready(None);
        }
        if let Poll::Ready(Err(failure)) = self.poll_send(cx) {
            return Poll::Ready(Some(Err(failure)));
        }
        let frame = match ready!(self.poll_part(cx))? {
            Part::Data(data) => Frame::data(data),
            Part::Trailers(trailers) => Frame::trailers(trailers),
            Part::Informational(..) | Part::Head(_) | Part::End => return Poll::Ready(None),
        };
        // If the length is known, the caller may never poll for the end.
        if self.reader.left() == Some(0) || frame.is_trailers() {
            let _ = self.reader.next(&mut self.input);
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn poll_part(&mut self, cx: &mut Context<'_>) -> Poll<Result<Part, Failure>> {
        loop {
            if let Some(part) = self.reader.next(&mut self.input).map_err(Failure::Response)? {
                return Poll::Ready(Ok(part));
            }
            let received = match ready!(self.poll_receive(cx)) {
                Ok(received) => received,
                Err(error) => {
                    self.ended = true;
                    return Poll::Ready(Err(Failure::Io(self.write_error.take().unwrap_or(error))));
                }
            };
            if received == 0 {
                self.ended = true;
                let part = self.reader.ended(&self.input).map_err(Failure::Response)?;
                return Poll::Ready(part.ok_or_else(|| match self.write_error.take() {
                    Some(error) => Failure::Io(error),
                    None => Failure::Closed,
                }));
            }
        }
    }

    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let wanted = match self.reader.left() {
            Some(left) => usize::try_from(left).unwrap_or(MAX_BYTES).clamp(MIN_BYTES, MAX_BYTES),
            None => self.next_read,
        };
        // This avoids a reservation for each small message.
        if self.input.capacity() - self.input.len() < wanted / 2 {
            self.input.reserve(wanted);
        }
        let room = self.input.capacity() - self.input.len();
        let received = ready!(pin!(self.io.read_buf(&mut self.input)).poll(cx))?;
        if received == room {
            self.next_read = (self.next_read * 2).min(MAX_BYTES);
        }
        Poll::Ready(Ok(received))
    }

    /// Waits, once the response is complete, until the server closes the connection. Data that doesn't belong to any
    /// request has the same effect.
    pub(in crate::proxy::pool) fn poll_closed(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.input.is_empty() && !self.ended {
            let _received = ready!(self.poll_receive(cx));
            self.ended = true;
        }
        Poll::Ready(())
    }

    /// The connection after a switch to another protocol, with what has been received of that protocol.
    pub(in crate::proxy::pool) fn into_tunnel(self: Box<Self>) -> Tunnel {
        Tunnel::new(self.io, self.input.freeze())
    }

    /// Closes the connection cleanly, as far as that is possible without waiting.
    pub(in crate::proxy::pool) fn close(mut self: Box<Self>) {
        if self.output.is_complete() {
            let _ = Pin::new(&mut self.io).poll_shutdown(&mut Context::from_waker(Waker::noop()));
        }
    }
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("reader", &self.reader).finish_non_exhaustive()
    }
}

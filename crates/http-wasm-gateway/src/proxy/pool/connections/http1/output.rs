//! Writes requests.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header};
use http_body::{Body as _, Frame};

use crate::body::BoxError;
use crate::http1::{Coding, WriteBuffer, WrongLength, content_length, write_field};
use crate::proxy::connect::Io;
use crate::proxy::pool::{Outbound, RequestBody};
use crate::proxy::timeout::{ResponseTimer, TimedBody};

/// A request that is being sent to the server.
#[derive(Debug, Default)]
pub(super) struct Output {
    buffer: WriteBuffer,
    upload: Option<Upload>,
}

#[derive(Debug)]
struct Upload {
    body: RequestBody,
    coding: Coding,
}

/// Why a request wasn't sent completely.
#[derive(Debug)]
pub(super) enum OutputError {
    /// The request's own body failed.
    Body(BoxError),
    Io(io::Error),
}

impl From<io::Error> for OutputError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<WrongLength> for OutputError {
    fn from(error: WrongLength) -> Self {
        Self::Body(error.into())
    }
}

impl Output {
    /// Starts a request. The previous one must be complete.
    pub(super) fn begin(
        &mut self,
        request: Outbound<'_>,
        response_timer: &ResponseTimer,
        host: &HeaderValue,
    ) {
        let Outbound { method, target, headers, body } = request;
        let bytes = self.buffer.begin();
        for part in [method.as_str(), " ", target.as_str(), " HTTP/1.1\r\n"] {
            bytes.extend_from_slice(part.as_bytes());
        }
        if !headers.contains_key(header::HOST) {
            write_field(bytes, &header::HOST, host);
        }
        headers.iter().for_each(|(name, value)| write_field(bytes, name, value));
        if body.is_end_stream() {
            return bytes.extend_from_slice(b"\r\n");
        }
        let coding = match content_length(headers) {
            Some(length) => Coding::Length(length),
            None => {
                // The head already declares the coding, unless nothing was known about the body.
                if !headers.contains_key(header::TRANSFER_ENCODING) {
                    bytes.extend_from_slice(b"transfer-encoding: chunked\r\n");
                }
                Coding::Chunked
            }
        };
        bytes.extend_from_slice(b"\r\n");
        self.upload = Some(Upload { body: TimedBody::new(body, response_timer.clone()), coding });
    }

    /// Whether the whole request has been written.
    pub(super) fn is_complete(&self) -> bool {
        self.upload.is_none() && self.buffer.is_flushed()
    }

    /// Whether any of the request has been written, so that the server may have seen it.
    pub(super) fn has_begun(&self) -> bool {
        self.buffer.has_begun()
    }

    /// Abandons the rest of the request.
    pub(super) fn abandon(&mut self) {
        *self = Self::default();
    }

    /// Writes as much of the request as is available. Ready once all of it has been written.
    pub(super) fn poll(&mut self, io: &mut Io, cx: &mut Context<'_>) -> Poll<Result<(), OutputError>> {
        loop {
            // The start of a body is sent together with the head.
            let mut waits = false;
            while !waits
                && self.buffer.has_room()
                && let Some(upload) = &mut self.upload
            {
                match Pin::new(&mut upload.body).poll_frame(cx) {
                    Poll::Ready(Some(Ok(frame))) => self.encode(frame)?,
                    Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(OutputError::Body(error))),
                    Poll::Ready(None) => self.end(None)?,
                    Poll::Pending => waits = true,
                }
            }
            ready!(self.buffer.poll(io, cx))?;
            if waits {
                return Poll::Pending;
            }
            if self.upload.is_none() {
                return Poll::Ready(Ok(()));
            }
        }
    }

    fn encode(&mut self, frame: Frame<Bytes>) -> Result<(), OutputError> {
        let Some(upload) = &mut self.upload else { return Ok(()) };
        let data = match frame.into_data() {
            Ok(data) => data,
            Err(frame) => return self.end(frame.into_trailers().ok()),
        };
        let last = upload.body.is_end_stream();
        self.buffer.data(&mut upload.coding, data, last)?;
        if last {
            self.upload = None;
        }
        Ok(())
    }

    /// Ends the body.
    fn end(&mut self, trailers: Option<HeaderMap>) -> Result<(), OutputError> {
        if let Some(upload) = self.upload.take() {
            self.buffer.end(upload.coding, trailers.as_ref())?;
        }
        Ok(())
    }
}

//! Writes requests.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use http_body::{Body as _, Frame};
use tokio::io::AsyncWrite as _;

use crate::body::BoxError;
use crate::http1::decimal;
use crate::proxy::connect::Io;
use crate::proxy::pool::{Outbound, RequestBody};
use crate::proxy::timeout::{ResponseTimer, TimedBody};

/// How much of the buffer for heads is kept between requests, in bytes.
const KEPT_CAPACITY: usize = 4 * 1024;

/// A request that is being sent to the server.
#[derive(Debug, Default)]
pub(super) struct Output {
    /// The head, and the framing of chunks.
    framing: Vec<u8>,
    /// How much of `framing` has been written.
    written: usize,
    /// Data to be written after `framing`.
    data: Bytes,
    /// Bytes to be written after `data`.
    end: &'static [u8],
    unflushed: bool,
    /// Whether any of the request has been written.
    begun: bool,
    upload: Option<Upload>,
}

#[derive(Debug)]
struct Upload {
    body: RequestBody,
    coding: Coding,
}

/// How a body is delimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Coding {
    /// This many bytes are left.
    Length(u64),
    Chunked,
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

impl Output {
    /// Starts a request. The previous one must be complete.
    pub(super) fn begin(
        &mut self,
        request: Outbound<'_>,
        response_timer: &ResponseTimer,
        host: &HeaderValue,
    ) {
        let Outbound { method, target, headers, body } = request;
        self.framing.clear();
        self.framing.shrink_to(KEPT_CAPACITY);
        self.written = 0;
        self.begun = false;
        for part in [method.as_str(), " ", target.as_str(), " HTTP/1.1\r\n"] {
            self.framing.extend_from_slice(part.as_bytes());
        }
        if !headers.contains_key(header::HOST) {
            write_field(&mut self.framing, &header::HOST, host);
        }
        headers.iter().for_each(|(name, value)| write_field(&mut self.framing, name, value));
        self.framing.extend_from_slice(b"\r\n");
        if body.is_end_stream() {
            return;
        }
        let coding = match content_length(headers) {
            Some(length) => Coding::Length(length),
            None => {
                // The head already declares the coding, unless nothing was known about the body.
                if !headers.contains_key(header::TRANSFER_ENCODING) {
                    self.framing.truncate(self.framing.len() - 2);
                    self.framing.extend_from_slice(b"transfer-encoding: chunked\r\n\r\n");
                }
                Coding::Chunked
            }
        };
        self.upload = Some(Upload { body: TimedBody::new(body, response_timer.clone()), coding });
    }

    /// Whether the whole request has been written.
    pub(super) fn is_complete(&self) -> bool {
        self.upload.is_none() && !self.has_bytes() && !self.unflushed
    }

    /// Whether any of the request has been written, so that the server may have seen it.
    pub(super) fn has_begun(&self) -> bool {
        self.begun
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
            if self.data.is_empty()
                && self.end.is_empty()
                && let Some(upload) = &mut self.upload
            {
                match Pin::new(&mut upload.body).poll_frame(cx) {
                    Poll::Ready(Some(Ok(frame))) => self.encode(frame)?,
                    Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(OutputError::Body(error))),
                    Poll::Ready(None) => self.end(None)?,
                    Poll::Pending => waits = true,
                }
            }
            ready!(self.poll_write(io, cx))?;
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
        if !data.is_empty() {
            match &mut upload.coding {
                Coding::Length(left) => {
                    let error = || OutputError::Body("the body is longer than its Content-Length".into());
                    *left = left.checked_sub(data.len() as u64).ok_or_else(error)?;
                }
                Coding::Chunked => {
                    self.framing.extend_from_slice(format!("{:x}\r\n", data.len()).as_bytes());
                    self.end = b"\r\n";
                }
            }
            self.data = data;
        }
        if last {
            return self.end(None);
        }
        Ok(())
    }

    /// Ends the body.
    fn end(&mut self, trailers: Option<HeaderMap>) -> Result<(), OutputError> {
        match self.upload.take().map(|upload| upload.coding) {
            Some(Coding::Chunked) => match trailers {
                // Trailers are always the last frame, so nothing is written after them.
                Some(trailers) => {
                    self.framing.extend_from_slice(b"0\r\n");
                    trailers.iter().for_each(|(name, value)| write_field(&mut self.framing, name, value));
                    self.framing.extend_from_slice(b"\r\n");
                }
                None if self.end.is_empty() => self.end = b"0\r\n\r\n",
                None => self.end = b"\r\n0\r\n\r\n",
            },
            Some(Coding::Length(1..)) => {
                return Err(OutputError::Body("the body is shorter than its Content-Length".into()));
            }
            Some(Coding::Length(0)) | None => {}
        }
        Ok(())
    }

    fn has_bytes(&self) -> bool {
        self.written < self.framing.len() || !self.data.is_empty() || !self.end.is_empty()
    }

    fn poll_write(&mut self, io: &mut Io, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.has_bytes() {
            self.unflushed = true;
            let framing = &self.framing[self.written..];
            let written = if self.data.is_empty() && self.end.is_empty() {
                ready!(Pin::new(&mut *io).poll_write(cx, framing))?
            } else if io.is_write_vectored() {
                let all = [IoSlice::new(framing), IoSlice::new(&self.data), IoSlice::new(self.end)];
                ready!(Pin::new(&mut *io).poll_write_vectored(cx, &all))?
            } else {
                let next = [framing, &self.data, self.end].into_iter().find(|part| !part.is_empty());
                ready!(Pin::new(&mut *io).poll_write(cx, next.unwrap_or_default()))?
            };
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.advance(written);
        }
        if self.unflushed {
            ready!(Pin::new(io).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    fn advance(&mut self, mut written: usize) {
        self.begun = true;
        let framing = written.min(self.framing.len() - self.written);
        self.written += framing;
        written -= framing;
        let data = written.min(self.data.len());
        self.data.advance(data);
        self.end = &self.end[written - data..];
        if self.written == self.framing.len() {
            self.framing.clear();
            self.written = 0;
        }
    }
}

fn write_field(buffer: &mut Vec<u8>, name: &HeaderName, value: &HeaderValue) {
    let (name, value) = (name.as_str().as_bytes(), value.as_bytes());
    buffer.reserve(name.len() + value.len() + 4);
    buffer.extend_from_slice(name);
    buffer.extend_from_slice(b": ");
    buffer.extend_from_slice(value);
    buffer.extend_from_slice(b"\r\n");
}

fn content_length(headers: &HeaderMap) -> Option<u64> {
    decimal(headers.get(header::CONTENT_LENGTH)?.as_bytes())
}

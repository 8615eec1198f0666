//! Strict parsing of responses from HTTP/1.1 upstreams.
//!
//! Some responses are ambiguous: a length in a chunked response, codings other than `chunked`, bare line feeds. A
//! client or an intermediary could find the end of such a message in a different place from the gateway. They are
//! therefore rejected, except for redundant lengths, which are dropped or merged.
//!
//! The reader does no I/O. It takes the parts of responses out of a buffer, and doesn't copy bodies.

mod error;
mod head;
mod limits;
#[cfg(test)]
mod tests;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method, Response, StatusCode};

pub(crate) use self::error::ResponseError;
use self::head::{Body, Head, Request};
pub(crate) use self::limits::ResponseLimits;
use super::{ChunkPart, Chunks, HeadEnd, HeadScan, Padding, fault};

/// The most informational responses before a response. One is usual; a server that works on a request for long may send
/// one every few seconds.
const MAX_INFORMATIONAL: usize = 100;

/// A part of a response.
#[derive(Debug)]
pub(crate) enum Part {
    /// An informational response (1xx except 101). Another head follows.
    Informational(StatusCode, HeaderMap),
    Head(Response<()>),
    /// A piece of the body, which is never empty.
    Data(Bytes),
    Trailers(HeaderMap),
    /// The response is complete.
    End,
}

/// Reads the responses on one connection, one after the other.
#[derive(Debug)]
pub(crate) struct ResponseReader {
    state: State,
    limits: ResponseLimits,
    /// The request whose response is read.
    request: Request,
    /// The number of informational responses to it, and their bytes.
    informational: usize,
    informational_bytes: usize,
    may_reuse: bool,
}

#[derive(Debug)]
enum State {
    /// No response is expected.
    Idle,
    Head(HeadScan),
    Body {
        left: u64,
    },
    Chunked(Chunks),
    /// A body that ends with the connection.
    UntilClose,
    /// Bytes of another protocol.
    Opaque,
    Failed(ResponseError),
}

impl ResponseReader {
    pub(crate) fn new(limits: ResponseLimits) -> Self {
        Self {
            state: State::Idle,
            limits,
            request: Request::Ordinary,
            informational: 0,
            informational_bytes: 0,
            may_reuse: true,
        }
    }

    /// Expects the response to a request with this method. The previous response must have ended.
    pub(crate) fn begin(&mut self, method: &Method) {
        self.request = match *method {
            Method::HEAD => Request::Head,
            Method::CONNECT => Request::Connect,
            _ => Request::Ordinary,
        };
        (self.informational, self.informational_bytes) = (0, 0);
        self.state = State::Head(HeadScan::default());
    }

    /// Whether the connection can carry another request after the response, according to the responses so far.
    pub(crate) fn may_reuse(&self) -> bool {
        self.may_reuse
    }

    /// Whether no response is expected, or the previous one has ended.
    pub(crate) fn is_idle(&self) -> bool {
        matches!(self.state, State::Idle)
    }

    /// Whether the connection has switched to another protocol.
    pub(crate) fn is_opaque(&self) -> bool {
        matches!(self.state, State::Opaque)
    }

    /// How many bytes of the body are left, if known.
    pub(crate) fn left(&self) -> Option<u64> {
        match self.state {
            State::Idle | State::Opaque => Some(0),
            State::Body { left } => Some(left),
            State::Head(_) | State::Chunked(_) | State::UntilClose | State::Failed(_) => None,
        }
    }

    /// Takes the next part out of what has been received. Returns `None` if it needs more.
    pub(crate) fn next(&mut self, input: &mut BytesMut) -> Result<Option<Part>, ResponseError> {
        let part = self.step(input).map_err(|error| self.fail(error))?;
        if matches!(part, Some(Part::End)) {
            self.end(input);
        }
        Ok(part)
    }

    /// Takes the body, if its length is known and all of it has been received. The response is then complete.
    pub(crate) fn take_whole_body(&mut self, input: &mut BytesMut) -> Option<Bytes> {
        let State::Body { left } = self.state else { return None };
        let length = usize::try_from(left).ok().filter(|&length| length <= input.len())?;
        let body = input.split_to(length).freeze();
        self.end(input);
        Some(body)
    }

    fn step(&mut self, input: &mut BytesMut) -> Result<Option<Part>, ResponseError> {
        Ok(match &mut self.state {
            State::Head(_) => return self.head(input),
            State::Body { left: 0 } => Some(Part::End),
            State::Body { .. } | State::UntilClose if input.is_empty() => None,
            State::Body { left } => {
                let taken = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len());
                *left -= taken as u64;
                Some(Part::Data(input.split_to(taken).freeze()))
            }
            State::Chunked(chunks) => chunks.take(input)?.map(|part| match part {
                ChunkPart::Data(data) => Part::Data(data),
                ChunkPart::Trailers(trailers) => Part::Trailers(trailers),
                ChunkPart::End => Part::End,
            }),
            State::UntilClose => Some(Part::Data(input.split().freeze())),
            State::Idle | State::Opaque => None,
            State::Failed(error) => return Err(*error),
        })
    }

    /// Called when the connection has ended, and as much as possible has been taken out of `input`.
    pub(crate) fn ended(&mut self, input: &BytesMut) -> Result<Option<Part>, ResponseError> {
        self.may_reuse = false;
        let error = match &self.state {
            State::UntilClose => {
                self.state = State::Idle;
                return Ok(Some(Part::End));
            }
            State::Body { .. } => ResponseError::Incomplete("the body is shorter than its Content-Length"),
            State::Chunked(_) => ResponseError::Incomplete("the body ends before its last chunk"),
            State::Head(_) if !input.is_empty() => ResponseError::Incomplete("the head ends too early"),
            State::Failed(error) => *error,
            State::Head(_) | State::Idle | State::Opaque => return Ok(None),
        };
        Err(self.fail(error))
    }

    fn fail(&mut self, error: ResponseError) -> ResponseError {
        self.may_reuse = false;
        self.state = State::Failed(error);
        error
    }

    fn end(&mut self, input: &BytesMut) {
        // Data that follows the response doesn't belong to any request.
        self.may_reuse &= input.is_empty();
        self.state = State::Idle;
    }

    fn head(&mut self, input: &mut BytesMut) -> Result<Option<Part>, ResponseError> {
        let State::Head(scan) = &mut self.state else { return Ok(None) };
        if input.is_empty() {
            return Ok(None);
        }
        let left = self.limits.bytes.saturating_sub(self.informational_bytes);
        let found = scan.find(input).map_err(ResponseError::Malformed)?;
        let bytes = match found {
            HeadEnd::At(bytes) => bytes,
            HeadEnd::EmptyLine => {
                return Err(ResponseError::Malformed("an empty line before the status line"));
            }
            HeadEnd::Partial => input.len(),
        };
        if bytes > left {
            return Err(ResponseError::TooLarge("the head is too large"));
        }
        if found == HeadEnd::Partial {
            return Ok(None);
        }
        let head = input.split_to(bytes).freeze();
        let head = Head::parse(&head, self.request, &self.limits).map_err(|error| match error {
            ResponseError::Malformed(reason) => ResponseError::Malformed(fault(&head, reason)),
            error => error,
        })?;
        self.may_reuse &= head.may_reuse;
        self.state = match head.body {
            Body::Informational => {
                self.informational += 1;
                self.informational_bytes += bytes;
                if self.informational > MAX_INFORMATIONAL {
                    return Err(ResponseError::TooLarge("too many informational responses"));
                }
                self.state = State::Head(HeadScan::default());
                return Ok(Some(Part::Informational(head.status, head.headers)));
            }
            Body::Length(left) => State::Body { left },
            Body::Chunked => {
                State::Chunked(Chunks::new(Padding::Allowed, self.limits.bytes, self.limits.fields))
            }
            Body::UntilClose => State::UntilClose,
            Body::Opaque => State::Opaque,
        };
        let mut response = Response::new(());
        *response.status_mut() = head.status;
        *response.version_mut() = head.version;
        *response.headers_mut() = head.headers;
        Ok(Some(Part::Head(response)))
    }
}

//! Writes messages whose bodies become available while they are sent.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{HeaderMap, HeaderName};
use http_body::{Body, Frame};
use tokio::io::AsyncWrite;

use super::write_buffer::{Coding, WriteBuffer, WrongLength};
use crate::body::BoxError;

/// Writes the messages of one connection, one after the other.
#[derive(Debug)]
pub(crate) struct MessageWriter<B> {
    /// Where the head of a message is added.
    pub(crate) buffer: WriteBuffer,
    body: Option<Encoded<B>>,
}

/// The rest of a body, and how it is written.
#[derive(Debug)]
struct Encoded<B> {
    body: B,
    coding: Coding,
    trailers: SentTrailers,
}

/// Which trailers are sent, if the body is chunked.
#[derive(Debug)]
pub(crate) enum SentTrailers {
    All,
    Only(Vec<HeaderName>),
}

/// Why a message can't be completed.
#[derive(Debug)]
pub(crate) enum WriteError {
    /// Its own body failed.
    Body(BoxError),
    Io(io::Error),
}

impl WriteError {
    pub(crate) fn into_inner(self) -> BoxError {
        match self {
            Self::Body(error) => error,
            Self::Io(error) => error.into(),
        }
    }
}

impl From<io::Error> for WriteError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<WrongLength> for WriteError {
    fn from(error: WrongLength) -> Self {
        Self::Body(error.into())
    }
}

impl<B> Default for MessageWriter<B> {
    fn default() -> Self {
        Self { buffer: WriteBuffer::default(), body: None }
    }
}

impl<B> MessageWriter<B>
where
    B: Body<Data = Bytes, Error = BoxError> + Unpin,
{
    /// Sets the body of the message whose head has just been added.
    pub(crate) fn set_body(&mut self, body: B, coding: Coding, trailers: SentTrailers) {
        self.body = Some(Encoded { body, coding, trailers });
    }

    /// Whether all of the message has been written.
    pub(crate) fn is_complete(&self) -> bool {
        self.body.is_none() && self.buffer.is_flushed()
    }

    /// Writes as much of the message as is available, and calls `flushed` whenever everything so far has been written.
    /// Ready once the message is complete.
    pub(crate) fn poll(
        &mut self,
        io: &mut (impl AsyncWrite + Unpin),
        flushed: impl Fn(),
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), WriteError>> {
        loop {
            // The start of a body is sent together with the head.
            let mut waits = false;
            while !waits
                && self.buffer.has_room()
                && let Some(encoded) = &mut self.body
            {
                match Pin::new(&mut encoded.body).poll_frame(cx) {
                    Poll::Ready(Some(Ok(frame))) => self.encode(frame)?,
                    Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(WriteError::Body(error))),
                    Poll::Ready(None) => self.end(None)?,
                    Poll::Pending => waits = true,
                }
            }
            ready!(self.buffer.poll(io, cx))?;
            flushed();
            if self.body.is_none() {
                return Poll::Ready(Ok(()));
            }
            if waits {
                return Poll::Pending;
            }
        }
    }

    fn encode(&mut self, frame: Frame<Bytes>) -> Result<(), WrongLength> {
        let Some(encoded) = &mut self.body else { return Ok(()) };
        let data = match frame.into_data() {
            Ok(data) => data,
            Err(frame) => return self.end(frame.into_trailers().ok()),
        };
        let last = encoded.body.is_end_stream();
        self.buffer.data(&mut encoded.coding, data, last)?;
        if last {
            self.body = None;
        }
        Ok(())
    }

    fn end(&mut self, trailers: Option<HeaderMap>) -> Result<(), WrongLength> {
        let Some(Encoded { coding, trailers: sent, .. }) = self.body.take() else { return Ok(()) };
        let trailers = trailers.map(|trailers| match sent {
            SentTrailers::All => trailers,
            SentTrailers::Only(names) => only(&names, &trailers),
        });
        self.buffer.end(coding, trailers.as_ref())
    }
}

/// The fields with these names.
fn only(names: &[HeaderName], fields: &HeaderMap) -> HeaderMap {
    let named = fields.iter().filter(|(name, _)| names.contains(name));
    named.map(|(name, value)| (name.clone(), value.clone())).collect()
}

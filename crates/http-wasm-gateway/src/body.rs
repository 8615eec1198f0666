//! The body type that all handlers share, and bodies with observers.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

pub(crate) use http_wasm_tower::{Body as BoxBody, BoxError};

/// Boxes a body, unless it is boxed already.
pub(crate) fn boxed<B>(body: B) -> BoxBody
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    BoxBody::new(body)
}

/// An empty body.
pub(crate) fn empty() -> BoxBody {
    BoxBody::empty()
}

/// A body with these bytes.
pub(crate) fn full(bytes: impl Into<Bytes>) -> BoxBody {
    BoxBody::from(bytes.into())
}

/// A body that is passed on unchanged, and reports each frame and its end.
#[derive(Debug)]
pub(crate) struct Told<B, F> {
    body: B,
    tell: F,
}

/// Calls `tell` with each result of the body, and with whether that was its end: with a known length, it may not be
/// polled again.
pub(crate) fn told<B, F>(body: B, tell: F) -> Told<B, F>
where
    B: Body,
    F: FnMut(Option<&Result<Frame<B::Data>, B::Error>>, bool),
{
    Told { body, tell }
}

impl<B, F> Body for Told<B, F>
where
    B: Body + Unpin,
    F: FnMut(Option<&Result<Frame<B::Data>, B::Error>>, bool) + Unpin,
{
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let Self { body, tell } = &mut *self;
        let frame = ready!(Pin::new(&mut *body).poll_frame(cx));
        tell(frame.as_ref(), frame.is_none() || body.is_end_stream());
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

//! The one body type that all handlers share, and a wrapper that processes bodies in transit.

use std::pin::Pin;
use std::task::{Context, Poll};

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

/// A body whose frames pass through a hook.
#[derive(Debug)]
pub(crate) struct Hooked<B, H> {
    pub(crate) body: B,
    pub(crate) hook: H,
}

/// Processes a body in transit. By default, everything passes unchanged.
pub(crate) trait Hook<B> {
    /// Takes the result of polling the body, and returns what its reader gets. The body may be replaced.
    fn polled(&mut self, body: &mut B, polled: PolledFrame, cx: &mut Context<'_>) -> PolledFrame;

    /// What to return without polling the body, if anything.
    fn instead(&mut self, _: &mut Context<'_>) -> Option<PolledFrame> {
        None
    }

    /// Whether the reader sees the body as ended, if the hook decides that.
    fn is_end_stream(&self, ended: bool) -> bool {
        ended
    }

    /// The body's size, as reported to its reader.
    fn size_hint(&self, body: SizeHint) -> SizeHint {
        body
    }
}

/// The result of polling a body.
pub(crate) type PolledFrame = Poll<Option<Result<Frame<Bytes>, BoxError>>>;

impl<B, H> Body for Hooked<B, H>
where
    B: Body<Data = Bytes, Error: Into<BoxError>> + Unpin,
    H: Hook<B> + Unpin,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> PolledFrame {
        let Self { body, hook } = &mut *self;
        if let Some(answer) = hook.instead(cx) {
            return answer;
        }
        let polled = Pin::new(&mut *body).poll_frame(cx).map_err(Into::into);
        hook.polled(body, polled, cx)
    }

    fn is_end_stream(&self) -> bool {
        self.hook.is_end_stream(self.body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        self.hook.size_hint(self.body.size_hint())
    }
}

/// A body that passes unchanged. `observe` is called with each frame, failure or end, and with whether that was the
/// end: a body of known length may not be polled again at its end.
pub(crate) fn observed<B, F>(body: B, observe: F) -> Hooked<B, Observed<F>>
where
    B: Body<Data = Bytes>,
    F: FnMut(Option<&Result<Frame<Bytes>, BoxError>>, bool),
{
    Hooked { body, hook: Observed(observe) }
}

/// The hook of an [`observed`] body.
#[derive(Debug)]
pub(crate) struct Observed<F>(F);

impl<B, F> Hook<B> for Observed<F>
where
    B: Body<Data = Bytes>,
    F: FnMut(Option<&Result<Frame<Bytes>, BoxError>>, bool),
{
    fn polled(&mut self, body: &mut B, polled: PolledFrame, _: &mut Context<'_>) -> PolledFrame {
        if let Poll::Ready(frame) = &polled {
            let failed = matches!(frame, Some(Err(_)));
            (self.0)(frame.as_ref(), frame.is_none() || !failed && body.is_end_stream());
        }
        polled
    }
}

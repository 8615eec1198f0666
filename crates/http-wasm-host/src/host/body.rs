//! The one body type of everything built on the `http` crate.

use std::any::Any;
use std::borrow::Cow;
use std::fmt;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf, Bytes};
use http_body::{Body as HttpBody, SizeHint};
use http_body_util::Full;
use pin_project_lite::pin_project;

use super::BodyState;
use super::header_map::from_header_map;
use crate::error::BoxError;
use crate::message::Frame;

/// A request or response body that passes through guests.
///
/// A body that no guest touches is the original one in a box, and passes through frame by frame. Use `from` for strings
/// and bytes, and [`Body::new`] for any other body, such as those of axum and hyper.
///
/// ```
/// use http_wasm_host::Body;
///
/// let text = Body::from("hello");
/// let bytes = Body::from(vec![1, 2, 3]);
/// let none = Body::empty();
/// let other = Body::new(http_body_util::Full::new(&b"any `http_body::Body`"[..]));
/// ```
#[derive(Default)]
pub struct Body(Kind);

enum Kind {
    /// All its bytes, without trailers.
    Whole(Bytes),
    /// Any other; `None` has no bytes.
    Boxed(Option<Pin<Box<dyn InnerBody>>>),
}

/// A body with the core's types for data and errors.
pub(super) trait InnerBody: HttpBody<Data = Bytes, Error = BoxError> + Send {
    /// How much of it has arrived.
    fn state(&self) -> BodyState;
}

impl Default for Kind {
    fn default() -> Self {
        Self::Boxed(None)
    }
}

impl Body {
    /// Creates a body without bytes.
    pub const fn empty() -> Self {
        Self(Kind::Boxed(None))
    }

    /// Wraps any body. It is boxed, unless it is a `Body` or a [`Full`].
    pub fn new<B>(body: B) -> Self
    where
        B: HttpBody + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let mut body = Some(body);
        if let Some(own) = (&mut body as &mut dyn Any).downcast_mut::<Option<Self>>() {
            return own.take().unwrap_or_default();
        }
        if let Some(whole) = (&mut body as &mut dyn Any).downcast_mut::<Option<Full<Bytes>>>() {
            return whole.take().map_or(Self::empty(), Self::whole);
        }
        match body {
            Some(body) if !body.is_end_stream() => Self::boxed(ServerBody { body }),
            _ => Self::empty(),
        }
    }

    pub(super) fn boxed(body: impl InnerBody + 'static) -> Self {
        Self(Kind::Boxed(Some(Box::pin(body))))
    }

    fn whole(body: Full<Bytes>) -> Self {
        let mut body = pin!(body);
        // It never waits, and it never fails.
        match body.as_mut().poll_frame(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Some(Ok(frame))) => frame.into_data().map_or_else(|_| Self::empty(), Self::from),
            Poll::Ready(Some(Err(never))) => match never {},
            Poll::Ready(None) | Poll::Pending => Self::empty(),
        }
    }

    /// How much of it has arrived.
    #[inline]
    pub(crate) fn state(&self) -> BodyState {
        match &self.0 {
            Kind::Whole(_) => BodyState::Buffered,
            Kind::Boxed(None) => BodyState::Ended,
            Kind::Boxed(Some(body)) => body.state(),
        }
    }

    /// The next piece, in the core's terms.
    pub(crate) fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, BoxError>>> {
        let frame = match ready!(Pin::new(self).poll_frame(cx)) {
            None => return Poll::Ready(None),
            Some(Err(error)) => return Poll::Ready(Some(Err(error))),
            Some(Ok(frame)) => frame,
        };
        let frame = frame.into_data().map(Frame::Data).or_else(|frame| {
            frame.into_trailers().map(|trailers| Frame::Trailers(from_header_map(&trailers)))
        });
        match frame {
            Ok(frame) => Poll::Ready(Some(Ok(frame))),
            // `http_body` may grow further kinds of frames; a guest can see none of them.
            Err(_) => Poll::Ready(Some(Err("a body frame of unknown kind".into()))),
        }
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Body").field("size", &self.size_hint()).finish_non_exhaustive()
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        if bytes.is_empty() { Self::empty() } else { Self(Kind::Whole(bytes)) }
    }
}

impl From<Vec<u8>> for Body {
    fn from(bytes: Vec<u8>) -> Self {
        Bytes::from(bytes).into()
    }
}

impl From<String> for Body {
    fn from(text: String) -> Self {
        Bytes::from(text).into()
    }
}

impl From<&'static [u8]> for Body {
    fn from(bytes: &'static [u8]) -> Self {
        Bytes::from_static(bytes).into()
    }
}

impl From<&'static str> for Body {
    fn from(text: &'static str) -> Self {
        Bytes::from_static(text.as_bytes()).into()
    }
}

impl From<Cow<'static, str>> for Body {
    fn from(text: Cow<'static, str>) -> Self {
        match text {
            Cow::Borrowed(text) => text.into(),
            Cow::Owned(text) => text.into(),
        }
    }
}

/// A body without bytes.
impl From<()> for Body {
    fn from((): ()) -> Self {
        Self::empty()
    }
}

impl From<Full<Bytes>> for Body {
    fn from(body: Full<Bytes>) -> Self {
        Self::whole(body)
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, BoxError>>> {
        match &mut self.0 {
            Kind::Whole(bytes) => {
                let bytes = std::mem::take(bytes);
                self.0 = Kind::Boxed(None);
                Poll::Ready(Some(Ok(http_body::Frame::data(bytes))))
            }
            Kind::Boxed(None) => Poll::Ready(None),
            Kind::Boxed(Some(body)) => {
                let frame = ready!(body.as_mut().poll_frame(cx));
                let is_last = match &frame {
                    None => true,
                    Some(frame) => frame.as_ref().is_ok_and(http_body::Frame::is_trailers),
                };
                // It is not asked again, however it would answer.
                if is_last {
                    self.0 = Kind::Boxed(None);
                }
                Poll::Ready(frame)
            }
        }
    }

    #[inline]
    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Whole(_) => false,
            Kind::Boxed(None) => true,
            Kind::Boxed(Some(body)) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Kind::Boxed(None) => SizeHint::with_exact(0),
            Kind::Boxed(Some(body)) => body.size_hint(),
        }
    }
}

pin_project! {
    /// A body as its maker gave it. Unlike a mapped one it keeps its size hint.
    struct ServerBody<B> {
        #[pin]
        body: B,
    }
}

impl<B: HttpBody> HttpBody for ServerBody<B>
where
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, BoxError>>> {
        self.project().body.poll_frame(cx).map(|frame| {
            frame.map(|frame| match frame {
                // Of bytes this makes no copy.
                Ok(frame) => Ok(frame.map_data(|mut data| data.copy_to_bytes(data.remaining()))),
                Err(error) => Err(error.into()),
            })
        })
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl<B: HttpBody + Send> InnerBody for ServerBody<B>
where
    B::Error: Into<BoxError>,
{
    fn state(&self) -> BodyState {
        // Bodies in general don't say how much of them has arrived.
        if self.body.is_end_stream() { BodyState::Ended } else { BodyState::Arriving }
    }
}

#[cfg(test)]
mod tests {
    use super::Body;

    #[test]
    fn a_request_with_its_body_is_at_most_256_bytes() {
        // It is copied several times on its way, and costs twice as much to copy as soon as it is larger.
        assert!(size_of::<http::Request<Body>>() <= 256);
    }
}

//! The one body type of everything built on the `http` crate.

use std::any::Any;
use std::borrow::Cow;
use std::fmt;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf, Bytes};
use http::HeaderMap;
use http_body::{Body as HttpBody, SizeHint};
use http_body_util::Full;
use pin_project_lite::pin_project;

use super::{BodyState, names};
use crate::error::{BoxError, Refused};
use crate::message::{Chunks, Delivery, Discard, Fields, Frame, Outgoing, Recode, Rest, Trailers};

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
    Piped(Option<Pin<Box<dyn Piped>>>),
}

/// A body with the core's types for data and errors.
trait Piped: HttpBody<Data = Bytes, Error = BoxError> + Send {
    /// How much of it has arrived.
    fn state(&self) -> BodyState;
}

impl Default for Kind {
    fn default() -> Self {
        Self::Piped(None)
    }
}

impl Body {
    /// Creates a body without bytes.
    pub const fn empty() -> Self {
        Self(Kind::Piped(None))
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
            Some(body) if !body.is_end_stream() => Self::piped(ServerBody { body }),
            _ => Self::empty(),
        }
    }

    fn piped(body: impl Piped + 'static) -> Self {
        Self(Kind::Piped(Some(Box::pin(body))))
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
            Kind::Piped(None) => BodyState::Ended,
            Kind::Piped(Some(body)) => body.state(),
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

    /// What is left of this body under what a guest made of it.
    pub(crate) fn rework(&mut self, outgoing: Outgoing) {
        let Outgoing { first, rest, trailers, decode, encode } = outgoing;
        if let Some(recode) = decode {
            self.recode(recode);
        }
        self.replace(first, rest, trailers);
        if let Some(recode) = encode {
            self.recode(recode);
        }
    }

    fn recode(&mut self, recode: Recode) {
        let body = std::mem::take(self);
        *self = Self::piped(Recoded { body, recode, ended: false });
    }

    fn replace(&mut self, mut first: Chunks, rest: Rest, trailers: Trailers) {
        let old = std::mem::take(self);
        let (rest, discard) = match rest {
            Rest::Dropped => (Self::empty(), None),
            Rest::Follows => (old, None),
            Rest::Discarded(discard) => (old, Some(discard)),
        };
        if trailers.is_untouched() && discard.is_none() {
            if first.is_empty() {
                return *self = rest;
            }
            if rest.is_end_stream() {
                match first.into_whole() {
                    Ok(whole) => return *self = Self::from(whole),
                    Err(pieces) => first = pieces,
                }
            }
        }
        *self = Self::piped(RewrittenBody { first: Delivery::new(first), rest, discard, trailers });
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
                self.0 = Kind::Piped(None);
                Poll::Ready(Some(Ok(http_body::Frame::data(bytes))))
            }
            Kind::Piped(None) => Poll::Ready(None),
            Kind::Piped(Some(body)) => {
                let frame = ready!(body.as_mut().poll_frame(cx));
                let is_last = match &frame {
                    None => true,
                    Some(frame) => frame.as_ref().is_ok_and(http_body::Frame::is_trailers),
                };
                // It is not asked again, however it would answer.
                if is_last {
                    self.0 = Kind::Piped(None);
                }
                Poll::Ready(frame)
            }
        }
    }

    #[inline]
    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Whole(_) => false,
            Kind::Piped(None) => true,
            Kind::Piped(Some(body)) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Kind::Piped(None) => SizeHint::with_exact(0),
            Kind::Piped(Some(body)) => body.size_hint(),
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

impl<B: HttpBody + Send> Piped for ServerBody<B>
where
    B::Error: Into<BoxError>,
{
    fn state(&self) -> BodyState {
        // Bodies in general don't say how much of them has arrived.
        if self.body.is_end_stream() { BodyState::Ended } else { BodyState::Arriving }
    }
}

/// What a guest made of a body.
struct RewrittenBody {
    /// Goes out before the rest.
    first: Delivery,
    /// What is left of the body that the guest got, if any of it is to follow.
    rest: Body,
    /// Of the rest only the trailers follow.
    discard: Option<Discard>,
    /// What was done to the trailers.
    trailers: Trailers,
}

impl RewrittenBody {
    /// The next frame of the rest that goes out.
    fn poll_rest(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<http_body::Frame<Bytes>, BoxError>>> {
        let rest = &mut self.rest;
        let Some(discard) = &mut self.discard else { return Pin::new(rest).poll_frame(cx) };
        let arrived = ready!(discard.poll_trailers(cx, |cx| rest.poll_piece(cx)));
        (self.discard, *rest) = (None, Body::empty());
        let trailers =
            arrived.map(|fields| fields.map(|fields| http_body::Frame::trailers(to_header_map(&fields))));
        Poll::Ready(trailers.transpose())
    }

    /// The trailers to send at the end, given those that the rest has brought.
    fn finish(&mut self, arrived: Option<HeaderMap>) -> Option<HeaderMap> {
        if self.trailers.is_untouched() {
            return arrived;
        }
        let trailers = std::mem::take(&mut self.trailers);
        let fields = trailers.finish(arrived.as_ref().map(from_header_map));
        (!fields.is_empty()).then(|| to_header_map(&fields))
    }
}

impl HttpBody for RewrittenBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, BoxError>>> {
        match self.first.pop() {
            Ok(Some(piece)) => return Poll::Ready(Some(Ok(http_body::Frame::data(piece)))),
            Ok(None) => {}
            Err(lost) => return Poll::Ready(Some(Err(lost.into()))),
        }
        let arrived = match ready!(self.poll_rest(cx)) {
            None => None,
            Some(Err(error)) => return Poll::Ready(Some(Err(error))),
            Some(Ok(frame)) => match frame.into_trailers() {
                Ok(trailers) => Some(trailers),
                Err(data) => return Poll::Ready(Some(Ok(data))),
            },
        };
        let trailers = self.finish(arrived);
        Poll::Ready(trailers.map(|trailers| Ok(http_body::Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        let is_rest_over = self.discard.is_none() && self.rest.is_end_stream();
        self.first.is_empty() && self.trailers.is_untouched() && is_rest_over
    }

    fn size_hint(&self) -> SizeHint {
        let first = self.first.len() as u64;
        let mut hint = SizeHint::new();
        if self.discard.is_some() {
            hint.set_lower(first);
            return hint;
        }
        let rest = self.rest.size_hint();
        hint.set_lower(rest.lower().saturating_add(first));
        match rest.upper().and_then(|upper| upper.checked_add(first)) {
            // A server takes an exact size for "no chunking needed", and then has no place for trailers.
            Some(upper) if self.trailers.is_untouched() => hint.set_upper(upper),
            _ => {}
        }
        hint
    }
}

impl Piped for RewrittenBody {
    fn state(&self) -> BodyState {
        if self.is_end_stream() {
            return BodyState::Ended;
        }
        match self.rest.state() {
            BodyState::Ended | BodyState::Buffered => BodyState::Buffered,
            BodyState::Arriving => BodyState::Arriving,
        }
    }
}

/// A body that is decoded or encoded.
struct Recoded {
    body: Body,
    recode: Recode,
    ended: bool,
}

impl HttpBody for Recoded {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, BoxError>>> {
        let Self { body, recode, ended } = &mut *self;
        let frame = ready!(recode.poll_frame(cx, |cx| body.poll_piece(cx)));
        *ended = !matches!(frame, Some(Ok(Frame::Data(_))));
        Poll::Ready(frame.map(|frame| {
            frame.map(|frame| match frame {
                Frame::Data(data) => http_body::Frame::data(data),
                Frame::Trailers(fields) => http_body::Frame::trailers(to_header_map(&fields)),
            })
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }
}

impl Piped for Recoded {
    fn state(&self) -> BodyState {
        match self.body.state() {
            _ if self.ended => BodyState::Ended,
            BodyState::Ended | BodyState::Buffered => BodyState::Buffered,
            BodyState::Arriving => BodyState::Arriving,
        }
    }
}

fn from_header_map(map: &HeaderMap) -> Fields {
    map.iter().map(|(name, value)| (name.as_str().as_bytes(), value.as_bytes())).collect()
}

pub(super) fn to_header_map(fields: &Fields) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in fields.iter() {
        // A limit of the core keeps trailers far below what a map can hold, so nothing is refused.
        let _ = append(&mut map, name, value);
    }
    map
}

/// Adds a field whose name and value the core has checked.
pub(super) fn append(map: &mut HeaderMap, name: &[u8], value: &[u8]) -> Result<(), Refused> {
    let value = parse(value)?;
    let added = names::with(name, |name| map.try_append(name, value).map(drop));
    added.ok_or(TOO_LONG)?.map_err(|_| FULL)
}

/// Sets a field whose name and value the core has checked.
pub(super) fn insert(map: &mut HeaderMap, name: &[u8], value: &[u8]) -> Result<(), Refused> {
    let value = parse(value)?;
    let set = names::with(name, |name| map.try_insert(name, value).map(drop));
    set.ok_or(TOO_LONG)?.map_err(|_| FULL)
}

const TOO_LONG: Refused = Refused("has a name that is too long");

const FULL: Refused = Refused("exceeds the number of fields that a message can have");

fn parse(value: &[u8]) -> Result<http::HeaderValue, Refused> {
    http::HeaderValue::from_bytes(value).map_err(|_| Refused("has an invalid value"))
}

#[cfg(test)]
mod tests {
    use super::Body;

    #[test]
    fn a_request_is_small_enough_to_be_copied_at_once() {
        // It is copied several times on its way, and costs twice as much to copy as soon as it is larger.
        assert!(size_of::<http::Request<Body>>() <= 256);
    }
}

//! Bodies that guests have rewritten, and bodies that are decoded or encoded on their way.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body as HttpBody, SizeHint};

use super::BodyState;
use super::body::{Body, InnerBody};
use super::header_map::{from_header_map, to_header_map};
use crate::error::BoxError;
use crate::message::{Chunks, Delivery, Discard, Frame, Outgoing, Recode, Rest, Streamed, Trailers};

impl Body {
    /// Applies what a guest has done to this body; `outgoing` says what is sent of it, and what before that.
    #[inline]
    pub(crate) fn rework(&mut self, outgoing: Outgoing) {
        match outgoing.into_whole() {
            Ok(whole) => *self = Self::from(whole),
            Err(outgoing) => self.compose(outgoing),
        }
    }

    fn compose(&mut self, outgoing: Outgoing) {
        let Outgoing { first, rest, trailers, decode, encode } = outgoing;
        if let Some(recode) = decode {
            self.recode(recode);
        }
        self.replace(first, rest, trailers);
        if let Some(recode) = encode {
            self.recode(recode);
        }
    }

    fn recode(&mut self, recode: Box<Recode>) {
        let body = std::mem::take(self);
        *self = Self::boxed(Recoded { body, recode, ended: false });
    }

    fn replace(&mut self, mut first: Chunks, rest: Rest, trailers: Trailers) {
        let old = std::mem::take(self);
        let (rest, discard) = match rest {
            Rest::Dropped => (Self::empty(), None),
            Rest::Follows => (old, None),
            Rest::Discarded(discard) => (old, Some(discard)),
            Rest::Streamed(body) => (Self::boxed(StreamedBody(*body)), None),
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
        *self = Self::boxed(RewrittenBody { first: Delivery::new(first), rest, discard, trailers });
    }
}

/// A body that a guest has rewritten.
struct RewrittenBody {
    /// Goes out before the rest.
    first: Delivery,
    /// What is left of the body that the guest got, if any of it is to follow.
    rest: Body,
    /// Of the rest only the trailers follow.
    discard: Option<Box<Discard>>,
    /// What was done to the trailers.
    trailers: Trailers,
}

impl RewrittenBody {
    /// The next frame of the rest that is sent.
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

impl InnerBody for RewrittenBody {
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
    recode: Box<Recode>,
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
        *ended = matches!(frame, None | Some(Ok(Frame::Trailers(_))));
        Poll::Ready(frame.map(|frame| frame.map(to_http)))
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }
}

impl InnerBody for Recoded {
    fn state(&self) -> BodyState {
        match self.body.state() {
            _ if self.ended => BodyState::Ended,
            BodyState::Ended | BodyState::Buffered => BodyState::Buffered,
            BodyState::Arriving => BodyState::Arriving,
        }
    }
}

/// A body that a guest writes while it is sent.
struct StreamedBody(Streamed);

impl HttpBody for StreamedBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, BoxError>>> {
        self.0.poll_frame(cx).map(|frame| frame.map(|frame| frame.map(to_http)))
    }

    fn is_end_stream(&self) -> bool {
        self.0.has_ended()
    }
}

impl InnerBody for StreamedBody {
    fn state(&self) -> BodyState {
        if self.0.has_ended() { BodyState::Ended } else { BodyState::Arriving }
    }
}

fn to_http(frame: Frame) -> http_body::Frame<Bytes> {
    match frame {
        Frame::Data(data) => http_body::Frame::data(data),
        Frame::Trailers(fields) => http_body::Frame::trailers(to_header_map(&fields)),
    }
}

//! A [`Host`] of plain values, for tests and tools.

use std::net::SocketAddr;
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;

use super::{BodyState, Feed, HeadChange, LocalHost};
use crate::abi::BodyKind;
use crate::error::{BoxError, Refused};
use crate::message::{
    Chunks, Discard, Fields, Frame, HeaderChange, Outgoing, Recode, Rest, Streamed, Trailers,
};

/// A host that holds a request and a response as plain values, for tests and tools.
///
/// Between the two phases, the next handler reads `request` and fills `response`; see the example of
/// [`Pinned`](crate::Pinned).
#[derive(Debug)]
pub struct InMemoryHost {
    /// The request's method.
    pub method: Vec<u8>,
    /// Path and query.
    pub uri: Vec<u8>,
    /// The protocol version, such as "HTTP/1.1".
    pub protocol_version: &'static str,
    /// The client's address.
    pub source_addr: Option<SocketAddr>,
    /// Headers, body and trailers of the request.
    pub request: Message,
    /// The response's status.
    pub status: u16,
    /// Informational statuses sent so far.
    pub informational: Vec<u16>,
    /// Headers, body and trailers of the response.
    pub response: Message,
}

/// Headers and body of a message.
#[derive(Debug, Default)]
pub struct Message {
    /// The headers.
    pub headers: Fields,
    /// Apart, as a host is moved a lot.
    content: Option<Box<Content>>,
}

/// Body and trailers.
#[derive(Debug, Default)]
struct Content {
    first: Chunks,
    /// The following bytes, if they are sent in another form.
    inner: Option<Inner>,
    rest: Option<Feed>,
    trailers: Option<Trailers>,
}

/// A body that is sent in another form than it was received.
#[derive(Debug)]
struct Inner {
    body: Box<Content>,
    form: Form,
}

#[derive(Debug)]
enum Form {
    /// A guest has replaced it, and it is read for its trailers alone.
    Discarded(Box<Discard>),
    /// It is decoded or encoded.
    Recoded(Box<Recode>),
    /// A guest writes it.
    Streamed(Streamed),
}

impl InMemoryHost {
    /// Creates an HTTP/1.1 request without headers or body, from a client whose address isn't known. `uri` is its path
    /// and query. The response has the status 200 until it is changed.
    pub fn new(method: &str, uri: &str) -> Self {
        Self {
            method: method.into(),
            uri: uri.into(),
            protocol_version: "HTTP/1.1",
            source_addr: None,
            request: Message::default(),
            status: 200,
            informational: Vec::new(),
            response: Message::default(),
        }
    }

    fn message(&self, message: BodyKind) -> &Message {
        match message {
            BodyKind::Request => &self.request,
            BodyKind::Response => &self.response,
        }
    }

    fn message_mut(&mut self, message: BodyKind) -> &mut Message {
        match message {
            BodyKind::Request => &mut self.request,
            BodyKind::Response => &mut self.response,
        }
    }
}

impl Message {
    /// Sets the whole body of the message. Framing headers are left to the caller.
    pub fn set_body(&mut self, body: impl Into<Bytes>) {
        self.content = Some(Box::new(Content { first: Chunks::from(body.into()), ..Content::default() }));
    }

    /// Sets a body that arrives through the returned feed.
    pub fn feed_body(&mut self) -> Feed {
        let feed = Feed::default();
        self.content = Some(Box::new(Content { rest: Some(feed.clone()), ..Content::default() }));
        feed
    }

    /// Returns whether nothing of the body is left.
    pub fn has_ended(&self) -> bool {
        self.content.as_ref().is_none_or(|content| content.ended())
    }

    /// Returns whether the body consists only of what a [`Feed`] delivers.
    pub fn is_only_fed(&self) -> bool {
        self.content.as_ref().is_some_and(|content| content.is_only_fed())
    }

    /// Takes everything that has arrived of the body, and the trailers if it has ended.
    pub fn take_body(&mut self) -> (Vec<u8>, Fields) {
        let mut body = Vec::new();
        let mut trailers = Fields::new();
        let mut cx = Context::from_waker(Waker::noop());
        while let Poll::Ready(Some(Ok(frame))) = self.poll(&mut cx) {
            match frame {
                Frame::Data(data) => body.extend_from_slice(&data),
                Frame::Trailers(fields) => trailers = fields,
            }
        }
        (body, trailers)
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, BoxError>>> {
        match &mut self.content {
            Some(content) => content.poll(cx),
            None => Poll::Ready(None),
        }
    }
}

impl Content {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, BoxError>>> {
        if let Some(piece) = self.first.pop() {
            return Poll::Ready(Some(Ok(Frame::Data(piece))));
        }
        if let Some(Inner { body, form }) = &mut self.inner {
            let next = match form {
                Form::Discarded(discard) => ready!(discard.poll_trailers(cx, |cx| body.poll(cx)))
                    .map(|trailers| trailers.map(Frame::Trailers)),
                Form::Recoded(recode) => ready!(recode.poll_frame(cx, |cx| body.poll(cx))).transpose(),
                Form::Streamed(streamed) => ready!(streamed.poll_frame(cx)).transpose(),
            };
            let arrived = match next {
                Ok(Some(data @ Frame::Data(_))) => return Poll::Ready(Some(Ok(data))),
                Ok(last) => Ok(last.and_then(Frame::into_trailers)),
                Err(error) => Err(error),
            };
            self.inner = None;
            return match arrived {
                Ok(arrived) => self.end(arrived),
                Err(error) => Poll::Ready(Some(Err(error))),
            };
        }
        let arrived = match &self.rest {
            None => None,
            Some(feed) => {
                let mut fed = feed.lock();
                if let Some(piece) = fed.chunks.pop() {
                    return Poll::Ready(Some(Ok(Frame::Data(piece))));
                }
                if !fed.ended {
                    fed.reader = Some(cx.waker().clone());
                    if let Some(writer) = fed.writer.take() {
                        writer.wake();
                    }
                    return Poll::Pending;
                }
                fed.trailers.take()
            }
        };
        self.rest = None;
        self.end(arrived)
    }

    /// The last frame, if there are trailers.
    fn end(&mut self, arrived: Option<Fields>) -> Poll<Option<Result<Frame, BoxError>>> {
        let trailers = match self.trailers.take() {
            Some(trailers) => Some(trailers.finish(arrived)),
            None => arrived,
        };
        Poll::Ready(trailers.filter(|fields| !fields.is_empty()).map(|fields| Ok(Frame::Trailers(fields))))
    }

    fn ended(&self) -> bool {
        self.first.is_empty()
            && self.trailers.is_none()
            && self.inner.is_none()
            && self.rest.as_ref().is_none_or(|feed| feed.lock().is_over())
    }

    fn is_only_fed(&self) -> bool {
        self.first.is_empty() && self.trailers.is_none() && self.inner.is_none() && self.rest.is_some()
    }

    fn state(&self) -> BodyState {
        if self.ended() {
            return BodyState::Ended;
        }
        let has_arrived = self.inner.is_none() && self.rest.as_ref().is_none_or(|feed| feed.lock().ended);
        if has_arrived { BodyState::Buffered } else { BodyState::Arriving }
    }

    /// The number of bytes still to come, if nothing comes after them.
    fn len(&self) -> Option<usize> {
        let first = self.first.len();
        let len = match &self.rest {
            None => Some(first),
            Some(feed) => feed.lock().len().map(|rest| first + rest),
        };
        len.filter(|_| self.trailers.is_none() && self.inner.is_none())
    }

    /// Applies what a guest has done to this body: what is sent of it, and what before that.
    fn rework(&mut self, mut body: Outgoing) {
        if let Some(decode) = body.decode.take() {
            self.wrap(Form::Recoded(decode));
        }
        let encode = body.encode.take();
        self.replace(body);
        if let Some(encode) = encode {
            self.wrap(Form::Recoded(encode));
        }
    }

    fn wrap(&mut self, form: Form) {
        let inner = Inner { body: Box::new(std::mem::take(self)), form };
        self.inner = Some(inner);
    }

    fn replace(&mut self, body: Outgoing) {
        if let Rest::Streamed(streamed) = body.rest {
            *self = Self::default();
            self.wrap(Form::Streamed(*streamed));
            self.first = body.first;
            return;
        }
        if let Rest::Discarded(discard) = body.rest {
            self.wrap(Form::Discarded(discard));
            self.trailers = (!body.trailers.is_untouched()).then_some(body.trailers);
            self.first = body.first;
            return;
        }
        let mut unread = std::mem::replace(&mut self.first, body.first);
        let mut earlier = self.trailers.take();
        if matches!(body.rest, Rest::Follows) {
            while let Some(piece) = unread.pop() {
                self.first.push(piece);
            }
        } else {
            (self.rest, self.inner) = (None, None);
            earlier = None;
        }
        self.trailers = match earlier {
            Some(mut earlier) => {
                earlier.append(body.trailers);
                Some(earlier)
            }
            None => (!body.trailers.is_untouched()).then_some(body.trailers),
        };
    }
}

/// A copy of a message's head.
#[derive(Debug)]
pub enum InMemoryHead {
    /// Of a request: method, path and query, headers.
    Request(Vec<u8>, Vec<u8>, Fields),
    /// Of a response: status, headers.
    Response(u16, Fields),
}

impl LocalHost for InMemoryHost {
    type Head = InMemoryHead;

    const STREAMS: bool = true;

    const STREAMS_REQUESTS: bool = true;

    fn save_head(&self, message: BodyKind) -> InMemoryHead {
        let headers = self.message(message).headers.clone();
        match message {
            BodyKind::Request => InMemoryHead::Request(self.method.clone(), self.uri.clone(), headers),
            BodyKind::Response => InMemoryHead::Response(self.status, headers),
        }
    }

    fn restore_head(&mut self, head: InMemoryHead) {
        match head {
            InMemoryHead::Request(method, uri, headers) => {
                (self.method, self.uri, self.request.headers) = (method, uri, headers);
            }
            InMemoryHead::Response(status, headers) => {
                (self.status, self.response.headers) = (status, headers);
            }
        }
    }

    fn method(&self) -> &[u8] {
        &self.method
    }

    fn uri(&self) -> &[u8] {
        &self.uri
    }

    fn change_head(&mut self, change: HeadChange<'_>) -> Result<(), Refused> {
        match change {
            HeadChange::Method(method) => self.method = method.to_vec(),
            HeadChange::Uri(uri) => self.uri = uri.to_vec(),
            HeadChange::Authority(authority) => self.request.headers.set(b"host", authority),
            HeadChange::Status(status) => self.status = status,
        }
        Ok(())
    }

    fn protocol_version(&self) -> &'static str {
        self.protocol_version
    }

    fn source_addr(&self) -> Option<SocketAddr> {
        self.source_addr
    }

    fn status(&self) -> u16 {
        self.status
    }

    fn inform(&mut self, status: u16, _: Option<&Fields>) {
        self.informational.push(status);
    }

    fn header_names<'a>(&'a self, message: BodyKind, visit: impl FnMut(&'a [u8])) {
        self.message(message).headers.names().for_each(visit);
    }

    fn header_values<'a>(&'a self, message: BodyKind, name: &[u8], visit: impl FnMut(&'a [u8])) {
        self.message(message).headers.values(name).for_each(visit);
    }

    fn change_header(
        &mut self,
        message: BodyKind,
        name: &[u8],
        change: HeaderChange<'_>,
    ) -> Result<(), Refused> {
        self.message_mut(message).headers.change(name, change);
        Ok(())
    }

    fn poll_body(
        &mut self,
        message: BodyKind,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame, BoxError>>> {
        self.message_mut(message).poll(cx)
    }

    fn body_state(&self, message: BodyKind) -> BodyState {
        self.message(message).content.as_ref().map_or(BodyState::Ended, |content| content.state())
    }

    fn body_remaining(&self, message: BodyKind) -> Option<u64> {
        let content = self.message(message).content.as_ref();
        content.map_or(Some(0), |content| content.len()).map(|len| len as u64)
    }

    fn set_body(&mut self, message: BodyKind, body: Outgoing) {
        self.message_mut(message).content.get_or_insert_default().rework(body);
    }

    fn split(&mut self, message: BodyKind) -> Option<Self> {
        let mut split = Self {
            method: self.method.clone(),
            uri: self.uri.clone(),
            protocol_version: self.protocol_version,
            source_addr: self.source_addr,
            request: Message::default(),
            status: self.status,
            informational: Vec::new(),
            response: Message::default(),
        };
        split.message_mut(message).headers = self.message_mut(message).headers.clone();
        if message == BodyKind::Response {
            split.informational = std::mem::take(&mut self.informational);
        }
        Some(split)
    }
}

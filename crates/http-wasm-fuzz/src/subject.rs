//! The two hosts of the core, with one interface for targets.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body::{Body as _, Frame, SizeHint};
use http_wasm_host::{
    Body, BoxError, Feed, Fields, Guest, Host, HttpHost, InMemoryHost, LocalHost as _,
    Message as InMemoryMessage,
};
use http_wasm_tower::Chain;

use crate::message::{Field, Message, Piece, Request, Response};

/// A host, for which the target acts as server and next handler.
pub(crate) trait Subject: Host + Sized {
    fn start(request: &Request) -> (Self, Arrivals);
    fn take_request(&mut self, keep_head: bool) -> Seen;
    fn answer(&mut self, response: &Response) -> Arrivals;
    fn into_response(self) -> Seen;

    /// A chain of this guest, if there is an adapter for this host.
    fn chain(guest: &Guest<Self>) -> Option<Chain> {
        let _ = guest;
        None
    }
}

/// An outgoing message.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// Of a request.
    pub(crate) method: Vec<u8>,
    /// Of a request.
    pub(crate) uri: Vec<u8>,
    /// Of a response.
    pub(crate) status: u16,
    pub(crate) fields: Vec<Field>,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Vec<Field>,
    /// The length that the body declared before it was read.
    pub(crate) exact: Option<u64>,
    /// Whether it ended in an error.
    pub(crate) broke: bool,
}

impl Seen {
    pub(crate) fn values<'a>(&'a self, name: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
        self.fields.iter().filter(move |(other, _)| other == name).map(|(_, value)| &value[..])
    }
}

/// The part of a message that hasn't arrived yet.
#[derive(Default)]
pub(crate) struct Arrivals(Option<(Feed, VecDeque<Piece>, Option<Fields>)>);

impl Arrivals {
    /// Delivers everything up to the next wait. Returns `false` if there was nothing left.
    pub(crate) fn next(&mut self) -> bool {
        while self.0.is_some() {
            if self.deliver() {
                return true;
            }
        }
        false
    }

    /// Delivers everything up to the next wait. Returns whether there was anything: data, or the end.
    fn deliver(&mut self) -> bool {
        let Some((feed, pieces, trailers)) = &mut self.0 else { return false };
        let mut delivered = false;
        while let Some(piece) = pieces.pop_front() {
            match piece {
                Piece::Data(data) => feed.push(data),
                Piece::Wait => return delivered,
            }
            delivered = true;
        }
        feed.finish(trailers.take());
        self.0 = None;
        true
    }

    pub(crate) fn rest(&mut self) {
        while self.next() {}
    }

    fn of(message: &Message, target: &mut InMemoryMessage) -> Self {
        target.headers = to_fields(&message.fields);
        if message.sized {
            target.set_body(message.body());
            return Self(None);
        }
        let trailers = (!message.trailers.is_empty()).then(|| to_fields(&message.trailers));
        let mut arrivals = Self(Some((target.feed_body(), message.pieces.clone().into(), trailers)));
        arrivals.deliver();
        arrivals
    }
}

fn to_fields(fields: &[Field]) -> Fields {
    fields.iter().map(|(name, value)| (&name[..], &value[..])).collect()
}

fn from_fields(fields: &Fields) -> Vec<Field> {
    fields.iter().map(|(name, value)| (name.to_vec(), value.to_vec())).collect()
}

impl Subject for InMemoryHost {
    fn start(request: &Request) -> (Self, Arrivals) {
        let mut host = Self::new(request.method, request.uri);
        host.protocol_version = match request.version {
            http::Version::HTTP_10 => "HTTP/1.0",
            http::Version::HTTP_2 => "HTTP/2.0",
            _ => "HTTP/1.1",
        };
        host.source_addr = client(request);
        let arrivals = Arrivals::of(&request.message, &mut host.request);
        (host, arrivals)
    }

    fn take_request(&mut self, _: bool) -> Seen {
        let exact = self.body_remaining(http_wasm_host::BodyKind::Request);
        let (body, trailers) = self.request.take_body();
        Seen {
            method: self.method.clone(),
            uri: self.uri.clone(),
            fields: from_fields(&self.request.headers),
            body,
            exact: exact.filter(|_| trailers.is_empty()),
            trailers: from_fields(&trailers),
            ..Seen::default()
        }
    }

    fn answer(&mut self, response: &Response) -> Arrivals {
        self.status = response.status;
        Arrivals::of(&response.message, &mut self.response)
    }

    fn into_response(mut self) -> Seen {
        let exact = self.body_remaining(http_wasm_host::BodyKind::Response);
        let (body, trailers) = self.response.take_body();
        Seen {
            status: self.status,
            fields: from_fields(&self.response.headers),
            body,
            exact: exact.filter(|_| trailers.is_empty()),
            trailers: from_fields(&trailers),
            ..Seen::default()
        }
    }
}

const CLIENT: SocketAddr = SocketAddr::new(IpAddr::V6(Ipv6Addr::LOCALHOST), 12345);

impl Subject for HttpHost {
    fn start(request: &Request) -> (Self, Arrivals) {
        (Self::new(http_request(request), client(request)), Arrivals::default())
    }

    fn take_request(&mut self, keep_head: bool) -> Seen {
        Seen::request(self.take_request(keep_head))
    }

    fn answer(&mut self, response: &Response) -> Arrivals {
        self.set_response(http_response(response));
        Arrivals::default()
    }

    fn into_response(self) -> Seen {
        Seen::response(self.into_response())
    }

    fn chain(guest: &Guest<Self>) -> Option<Chain> {
        Some(Chain::new([guest.clone()]))
    }
}

impl Seen {
    pub(crate) fn request(request: http::Request<Body>) -> Self {
        let (head, body) = request.into_parts();
        let target = head.uri.path_and_query().map_or("", |target| target.as_str());
        Self {
            method: head.method.as_str().into(),
            uri: target.into(),
            fields: from_header_map(&head.headers),
            ..collect(body)
        }
    }

    pub(crate) fn response(response: http::Response<Body>) -> Self {
        let (head, body) = response.into_parts();
        Self { status: head.status.as_u16(), fields: from_header_map(&head.headers), ..collect(body) }
    }
}

/// The address of a request's client, if the server knows it.
pub(crate) fn client(request: &Request) -> Option<SocketAddr> {
    request.has_client.then_some(CLIENT)
}

pub(crate) fn http_request(request: &Request) -> http::Request<Body> {
    let mut http = http::Request::new(PiecewiseBody::body(&request.message));
    *http.method_mut() = request.method.parse().expect("the generator's methods are legal");
    *http.uri_mut() = request.uri.parse().expect("the generator's URIs are legal");
    *http.version_mut() = request.version;
    *http.headers_mut() = to_header_map(&request.message.fields);
    http
}

pub(crate) fn http_response(response: &Response) -> http::Response<Body> {
    let mut http = http::Response::new(PiecewiseBody::body(&response.message));
    *http.status_mut() = response.status.try_into().expect("the generator's statuses are legal");
    *http.headers_mut() = to_header_map(&response.message.fields);
    http
}

fn to_header_map(fields: &[Field]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in fields {
        let name = HeaderName::from_bytes(name).expect("the generator's names are legal");
        map.append(name, HeaderValue::from_bytes(value).expect("the generator's values are legal"));
    }
    map
}

fn from_header_map(map: &HeaderMap) -> Vec<Field> {
    map.iter().map(|(name, value)| (name.as_str().into(), value.as_bytes().into())).collect()
}

/// Reads a body to its end. Pending bodies wake themselves, so this doesn't have to wait.
fn collect(mut body: Body) -> Seen {
    let mut seen = Seen { exact: body.size_hint().exact(), ..Seen::default() };
    let mut cx = Context::from_waker(Waker::noop());
    loop {
        match Pin::new(&mut body).poll_frame(&mut cx) {
            Poll::Pending => {}
            Poll::Ready(None) => return seen,
            Poll::Ready(Some(Err(_))) => {
                seen.broke = true;
                return seen;
            }
            Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                Ok(data) => seen.body.extend_from_slice(&data),
                Err(frame) => {
                    let trailers = frame.into_trailers().expect("data or trailers");
                    seen.trailers = from_header_map(&trailers);
                }
            },
        }
    }
}

/// A body as a server would provide it. After a wait, it wakes the task itself.
struct PiecewiseBody {
    pieces: VecDeque<Piece>,
    trailers: Option<HeaderMap>,
    sized: bool,
    breaks: bool,
}

impl PiecewiseBody {
    fn body(message: &Message) -> Body {
        let trailers = (!message.trailers.is_empty()).then(|| to_header_map(&message.trailers));
        let pieces = message.pieces.clone().into();
        Body::new(Self { pieces, trailers, sized: message.sized, breaks: message.breaks })
    }
}

impl http_body::Body for PiecewiseBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self.pieces.pop_front() {
            Some(Piece::Data(data)) => Poll::Ready(Some(Ok(Frame::data(data.into())))),
            Some(Piece::Wait) => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            None if std::mem::take(&mut self.breaks) => Poll::Ready(Some(Err("ended prematurely".into()))),
            None => Poll::Ready(self.trailers.take().map(|trailers| Ok(Frame::trailers(trailers)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.pieces.is_empty() && self.trailers.is_none() && !self.breaks
    }

    fn size_hint(&self) -> SizeHint {
        if !self.sized {
            return SizeHint::default();
        }
        let data = self.pieces.iter().map(|piece| match piece {
            Piece::Data(data) => data.len() as u64,
            Piece::Wait => 0,
        });
        SizeHint::with_exact(data.sum())
    }
}

//! A [`Host`] over the types of the `http` crate.

use std::cell::Cell;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::HOST;
use http::uri::{Authority, PathAndQuery};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, Version};
use http_body::Body as HttpBody;

use super::body::{append, insert, to_header_map};
use super::{Body, LocalHost, names};
use crate::abi::BodyKind;
use crate::error::{BoxError, Refused};
use crate::message::body_budget::BodyAccount;
use crate::message::trailers::is_twin;
use crate::message::{Fields, Frame, Outgoing};

/// A request and response of the `http` crate.
///
/// It starts with the request. When the guest proceeds, [`take_request`](Self::take_request) gives the request
/// for the next handler, whose answer goes into [`set_response`](Self::set_response); what the client gets is
/// [`into_response`](Self::into_response).
#[derive(Debug)]
pub struct HttpHost(Box<Parts>);

/// In a box, as a host is moved a lot: into the store and out, in and out of futures.
#[derive(Debug, Default)]
struct Parts {
    /// As it came, or its head as it was handed on.
    request: Option<Request<Body>>,
    /// What framing a response depends on, once the request is gone.
    method: Method,
    version: Version,
    /// Made when the guest or the next handler first sets something of it.
    response: Option<Response<Body>>,
    source_addr: Option<SocketAddr>,
    /// Whether the next recipient of the message treats `_` in field names as `-`.
    folds_underscores: bool,
    sheddable: bool,
    informational: Option<Arc<dyn Inform>>,
}

/// The parts of a host that this thread gets back once this is dropped, which is after the response has been moved
/// straight to its destination.
struct Used(Option<Box<Parts>>);

impl Used {
    #[inline]
    fn response(mut self) -> Response<Body> {
        self.0.as_mut().and_then(|parts| parts.response.take()).unwrap_or_default()
    }
}

impl Drop for Used {
    #[inline]
    fn drop(&mut self) {
        if let Some(parts) = &mut self.0 {
            parts.request = None;
            parts.informational = None;
        }
        let parts = self.0.take();
        // A thread that ends keeps nothing.
        let _ = SPARE.try_with(|spare| spare.set(parts));
    }
}

thread_local! {
    /// The box of the last host that this thread has finished with, empty: most requests need none of their own.
    static SPARE: Cell<Option<Box<Parts>>> = const { Cell::new(None) };
}

/// An empty box.
#[inline]
fn spare() -> Box<Parts> {
    let spare = SPARE.try_with(Cell::take).ok().flatten();
    spare.filter(|spare| spare.request.is_none()).unwrap_or_default()
}

impl HttpHost {
    /// Starts with a request, from the client at `source_addr` if known.
    #[inline]
    pub fn new<B>(request: Request<B>, source_addr: Option<SocketAddr>) -> Self
    where
        B: HttpBody<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        // Filled where it stays: all of it is rather large to be moved.
        let mut parts = spare();
        parts.version = request.version();
        parts.source_addr = source_addr;
        parts.folds_underscores = false;
        parts.sheddable = false;
        parts.informational = None;
        // It is empty. Setting the body afterwards lets the compiler copy the head straight to its place.
        if let slot @ None = &mut parts.request {
            let (head, body) = request.into_parts();
            let request = slot.insert(Request::from_parts(head, Body::empty()));
            *request.body_mut() = Body::new(body);
            add_missing_path(request.uri_mut());
        }
        Self(parts)
    }

    /// Makes a field that the guest sets, adds or removes also replace fields whose names differ only in `-` and `_`:
    /// many servers (CGI, WSGI, PHP) treat such names as equal, so a client's `X_User` would appear beside, or instead
    /// of, a guest's `x-user`. This holds for headers and trailers of requests and responses. What the guest reads of
    /// headers is not affected.
    #[must_use]
    pub fn fold_underscores(mut self) -> Self {
        self.0.folds_underscores = true;
        self
    }

    /// Lets the request be refused before others when memory for instances runs short; see
    /// [`LocalHost::is_sheddable`].
    #[must_use]
    pub fn sheddable(mut self) -> Self {
        self.0.sheddable = true;
        self
    }

    /// Sends informational responses (1xx) that the guest sets as status there. Without it they are dropped.
    #[must_use]
    pub fn inform_with(mut self, to: Arc<dyn Inform>) -> Self {
        self.0.informational = Some(to);
        self
    }

    /// The request for the next handler. With `keep_head` its head stays readable here, for `handle_response`.
    #[inline]
    pub fn take_request(&mut self, keep_head: bool) -> Request<Body> {
        if let Some(request) = &self.0.request {
            self.0.method.clone_from(request.method());
            if keep_head {
                let head = head_of(request);
                return self.0.request.replace(head).unwrap_or_default();
            }
        }
        self.0.request.take().unwrap_or_default()
    }

    /// The next handler's response.
    #[inline]
    pub fn set_response(&mut self, response: Response<Body>) {
        match &mut self.0.response {
            slot @ None => *slot = Some(response),
            Some(other) => replace(other, response),
        }
    }

    /// The response for the client. One that the guest has made has no `content-length`: its body knows its size, and
    /// servers declare that.
    #[inline]
    pub fn into_response(self) -> Response<Body> {
        Used(Some(self.0)).response()
    }

    #[inline]
    fn request_mut(&mut self) -> &mut Request<Body> {
        self.0.request.get_or_insert_default()
    }

    fn uri(&self) -> Option<&Uri> {
        self.0.request.as_ref().map(Request::uri)
    }

    #[inline]
    fn response_mut(&mut self) -> &mut Response<Body> {
        self.0.response.get_or_insert_default()
    }

    #[inline]
    fn headers(&self, message: BodyKind) -> Option<&HeaderMap> {
        match message {
            BodyKind::Request => self.0.request.as_ref().map(Request::headers),
            BodyKind::Response => self.0.response.as_ref().map(Response::headers),
        }
    }

    #[inline]
    fn headers_mut(&mut self, message: BodyKind) -> &mut HeaderMap {
        match message {
            BodyKind::Request => self.request_mut().headers_mut(),
            BodyKind::Response => self.response_mut().headers_mut(),
        }
    }

    /// Removes headers that some recipients would take for this one.
    fn remove_twins(&mut self, message: BodyKind, name: &[u8]) {
        if !self.0.folds_underscores {
            return;
        }
        let headers = match message {
            BodyKind::Request => self.0.request.as_mut().map(Request::headers_mut),
            BodyKind::Response => self.0.response.as_mut().map(Response::headers_mut),
        };
        let Some(headers) = headers else { return };
        // Few names are as long as this one, so most are compared with nothing.
        while let Some(twin) = headers.keys().find(|other| is_twin(other.as_str().as_bytes(), name)).cloned()
        {
            headers.remove(twin);
        }
    }

    #[inline]
    fn body(&self, message: BodyKind) -> Option<&Body> {
        match message {
            BodyKind::Request => self.0.request.as_ref().map(Request::body),
            BodyKind::Response => self.0.response.as_ref().map(Response::body),
        }
    }

    #[inline]
    fn body_mut(&mut self, message: BodyKind) -> &mut Body {
        match message {
            BodyKind::Request => self.request_mut().body_mut(),
            BodyKind::Response => self.response_mut().body_mut(),
        }
    }

    /// The authority that stands for a `host` header that didn't come: HTTP/2's `:authority`.
    fn implied_host(&self) -> Option<&str> {
        let request = self.0.request.as_ref().filter(|request| !request.headers().contains_key(HOST))?;
        request.uri().authority().map(Authority::as_str)
    }
}

/// Takes the informational responses (1xx) of guests.
pub trait Inform: fmt::Debug + Send + Sync {
    /// Sends one, with the response headers that have been set so far, or drops it. It is called while the guest runs,
    /// so it must not block.
    fn inform(&self, status: StatusCode, headers: HeaderMap);
}

/// Apart from the place where there is no other, as the compiler makes one more copy of what may go to either.
#[cold]
#[inline(never)]
fn replace(other: &mut Response<Body>, response: Response<Body>) {
    *other = response;
}

/// A request's head, without its extensions.
fn head_of(request: &Request<Body>) -> Request<Body> {
    let mut head = Request::new(Body::empty());
    *head.method_mut() = request.method().clone();
    *head.version_mut() = request.version();
    *head.uri_mut() = request.uri().clone();
    *head.headers_mut() = request.headers().clone();
    head
}

/// Of an absolute URI without a path, as in `http://example.com?b`, the origin form still begins with "/".
#[inline]
fn add_missing_path(uri: &mut Uri) {
    if uri.path_and_query().is_some_and(|path| path.as_str().starts_with('?')) {
        insert_path(uri);
    }
}

#[cold]
fn insert_path(uri: &mut Uri) {
    let query = uri.query().unwrap_or_default();
    let Ok(path) = PathAndQuery::try_from(format!("/?{query}")) else { return };
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(path);
    if let Ok(whole) = Uri::from_parts(parts) {
        *uri = whole;
    }
}

/// A copy of a message's head.
#[derive(Debug)]
pub enum HttpHead {
    /// Of a request.
    Request(Method, Uri, HeaderMap),
    /// Of a response.
    Response(StatusCode, HeaderMap),
}

impl LocalHost for HttpHost {
    type Head = HttpHead;

    /// Servers of `http_body` bodies go by their size hints. In HTTP/2 an empty body needs no length, and hyper
    /// declares none.
    const SENDER_DECLARES_LENGTH: bool = true;

    fn save_head(&self, message: BodyKind) -> HttpHead {
        let headers = self.headers(message).cloned().unwrap_or_default();
        match (message, &self.0.request, &self.0.response) {
            (BodyKind::Request, Some(request), _) => {
                HttpHead::Request(request.method().clone(), request.uri().clone(), headers)
            }
            (BodyKind::Request, None, _) => HttpHead::Request(self.0.method.clone(), Uri::default(), headers),
            (BodyKind::Response, _, response) => {
                let status = response.as_ref().map_or(StatusCode::OK, Response::status);
                HttpHead::Response(status, headers)
            }
        }
    }

    fn restore_head(&mut self, head: HttpHead) {
        match head {
            HttpHead::Request(method, uri, headers) => {
                let request = self.request_mut();
                (*request.method_mut(), *request.uri_mut(), *request.headers_mut()) = (method, uri, headers);
            }
            HttpHead::Response(status, headers) => {
                let response = self.response_mut();
                (*response.status_mut(), *response.headers_mut()) = (status, headers);
            }
        }
    }

    #[inline]
    fn method(&self) -> &[u8] {
        self.0.request.as_ref().map_or(&self.0.method, Request::method).as_str().as_bytes()
    }

    fn set_method(&mut self, method: &[u8]) {
        if let Ok(method) = Method::from_bytes(method) {
            *self.request_mut().method_mut() = method;
        }
    }

    #[inline]
    fn uri(&self) -> &[u8] {
        let path = self.uri().and_then(Uri::path_and_query);
        path.map_or(b"/", |path| path.as_str().as_bytes())
    }

    fn set_uri(&mut self, uri: &[u8]) -> Result<(), Refused> {
        let path =
            PathAndQuery::try_from(uri).map_err(|_| Refused("is not a path with an optional query"))?;
        let uri = self.request_mut().uri_mut();
        *uri = match uri.authority() {
            None => Uri::from(path),
            Some(_) => {
                let mut parts = uri.clone().into_parts();
                parts.path_and_query = Some(path);
                Uri::from_parts(parts)
                    .map_err(|_| Refused("can't be set on a CONNECT request, which has no path"))?
            }
        };
        Ok(())
    }

    fn set_authority(&mut self, authority: &[u8]) {
        if let Ok(value) = HeaderValue::from_bytes(authority) {
            self.request_mut().headers_mut().insert(HOST, value);
        }
        if self.request_mut().uri().authority().is_some()
            && let Ok(authority) = Authority::try_from(authority)
        {
            let mut parts = self.request_mut().uri().clone().into_parts();
            parts.authority = Some(authority);
            if let Ok(uri) = Uri::from_parts(parts) {
                *self.request_mut().uri_mut() = uri;
            }
        }
    }

    #[inline]
    fn protocol_version(&self) -> &'static str {
        match self.0.version {
            Version::HTTP_10 | Version::HTTP_09 => "HTTP/1.0",
            Version::HTTP_2 => "HTTP/2.0",
            Version::HTTP_3 => "HTTP/3.0",
            _ => "HTTP/1.1",
        }
    }

    #[inline]
    fn source_addr(&self) -> Option<SocketAddr> {
        self.0.source_addr
    }

    #[inline]
    fn status(&self) -> u16 {
        self.0.response.as_ref().map_or(200, |response| response.status().as_u16())
    }

    fn set_status(&mut self, status: u16) {
        if let Ok(status) = StatusCode::from_u16(status) {
            *self.response_mut().status_mut() = status;
        }
    }

    fn inform_early(&mut self, status: u16, headers: &Fields) {
        if let (Some(to), Ok(status)) = (&self.0.informational, StatusCode::from_u16(status)) {
            to.inform(status, to_header_map(headers));
        }
    }

    fn inform(&mut self, status: u16) {
        if let (Some(to), Ok(status)) = (&self.0.informational, StatusCode::from_u16(status)) {
            let headers = self.0.response.as_ref().map(|response| response.headers().clone());
            to.inform(status, headers.unwrap_or_default());
        }
    }

    #[inline]
    fn header_names<'a>(&'a self, message: BodyKind, mut visit: impl FnMut(&'a [u8])) {
        if message == BodyKind::Request && self.implied_host().is_some() {
            visit(b"host");
        }
        let headers = self.headers(message).into_iter().flat_map(HeaderMap::keys);
        headers.for_each(|name| visit(name.as_str().as_bytes()));
    }

    #[inline]
    fn header_values<'a>(&'a self, message: BodyKind, name: &[u8], mut visit: impl FnMut(&'a [u8])) {
        if message == BodyKind::Request
            && name.eq_ignore_ascii_case(b"host")
            && let Some(host) = self.implied_host()
        {
            return visit(host.as_bytes());
        }
        if let Some(headers) = self.headers(message) {
            names::with(name, |name| {
                headers.get_all(name).iter().for_each(|value| visit(value.as_bytes()));
            });
        }
    }

    fn set_header(&mut self, message: BodyKind, name: &[u8], value: &[u8]) -> Result<(), Refused> {
        self.remove_twins(message, name);
        insert(self.headers_mut(message), name, value)
    }

    fn add_header(&mut self, message: BodyKind, name: &[u8], value: &[u8]) -> Result<(), Refused> {
        self.remove_twins(message, name);
        append(self.headers_mut(message), name, value)
    }

    fn remove_header(&mut self, message: BodyKind, name: &[u8]) {
        self.remove_twins(message, name);
        let headers = self.headers_mut(message);
        names::with(name, |name| headers.remove(name));
    }

    fn poll_body(
        &mut self,
        message: BodyKind,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame, BoxError>>> {
        self.body_mut(message).poll_piece(cx)
    }

    #[inline]
    fn body_ended(&self, message: BodyKind) -> bool {
        self.body(message).is_none_or(Body::is_end_stream)
    }

    #[inline]
    fn body_ready(&self, message: BodyKind) -> bool {
        self.body(message).is_none_or(Body::is_ready)
    }

    fn body_remaining(&self, message: BodyKind) -> Option<u64> {
        self.body(message).map_or(Some(0), |body| body.size_hint().exact())
    }

    fn body_account(&self, message: BodyKind) -> Option<BodyAccount> {
        let extensions = match message {
            BodyKind::Request => self.0.request.as_ref().map(Request::extensions),
            BodyKind::Response => self.0.response.as_ref().map(Response::extensions),
        };
        extensions.and_then(|extensions| extensions.get::<BodyAccount>().cloned())
    }

    fn is_sheddable(&self) -> bool {
        self.0.sheddable
    }

    fn set_body_account(&mut self, message: BodyKind, account: &BodyAccount) {
        let extensions = match message {
            BodyKind::Request => self.request_mut().extensions_mut(),
            BodyKind::Response => self.response_mut().extensions_mut(),
        };
        extensions.insert(account.clone());
    }

    fn set_body(&mut self, message: BodyKind, mut body: Outgoing) {
        if self.0.folds_underscores {
            body.trailers.fold_underscores();
        }
        self.body_mut(message).rework(body);
    }
}

//! A [`Host`](super::Host) over the types of the `http` crate.

mod inform;
mod parts;
mod view;

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::header::HOST;
use http::uri::{Authority, PathAndQuery};
use http::{HeaderMap, Request, Response, Uri};
use http_body::Body as HttpBody;

pub use self::inform::Inform;
use self::parts::{Parts, RecycledParts, spare};
use super::Body;
use crate::abi::BodyKind;
use crate::error::BoxError;

/// Extension of a request that a guest is still [writing](crate::Stream) when the next handler gets it.
///
/// The guest continues after the next handler has responded, even if the response has no body, for as long as the next
/// handler reads. A client that stops sending a request once it has the complete response should therefore make an
/// exception for requests with this extension.
#[derive(Clone, Copy, Debug)]
pub struct StreamedRequest(());

/// A host for the request and response types of the `http` crate.
///
/// It is created with the request. If the guest proceeds, [`take_request`](Self::take_request) returns the request for
/// the next handler, whose response is passed to [`set_response`](Self::set_response).
/// [`into_response`](Self::into_response) returns the response for the client.
///
/// ```
/// use http::{Request, Response};
/// use http_wasm_host::{Body, BoxError, Engine, Guest, HttpHost, Outcome};
///
/// // A guest that lets all requests proceed.
/// let guest = Guest::<HttpHost>::load(&Engine::new()?, br#"(module
///   (memory (export "memory") 1)
///   (func (export "handle_request") (result i64) i64.const 1)
///   (func (export "handle_response") (param i32 i32)))"#)?;
///
/// # futures_executor::block_on(async {
/// let request = Request::get("/orders").body(Body::empty())?;
/// let response = match guest.handle_request(HttpHost::new(request, None)).await? {
///     // The guest has responded itself.
///     Outcome::Respond(host) => host.into_response(),
///     Outcome::Next(mut pinned) => {
///         let keep_head = pinned.reads_request();
///         let request = pinned.host_mut().take_request(keep_head);
///         // This is where the next handler is called.
///         let response = Response::new(Body::from(format!("you asked for {}", request.uri())));
///         pinned.host_mut().set_response(response);
///         pinned.handle_response().await?.host.into_response()
///     }
///     // The guest hasn't been loaded for that: see `GuestBuilder::stream`.
///     Outcome::Streams(_) => unreachable!(),
///     // The guest has failed, and fails open: call the next handler without it.
///     Outcome::Bypassed { mut host, .. } => {
///         let _request = host.take_request(false);
///         Response::new(Body::empty())
///     }
/// };
/// assert_eq!(response.status(), 200);
/// # Ok::<(), BoxError>(())
/// # })?;
/// # Ok::<(), BoxError>(())
/// ```
#[derive(Debug)]
pub struct HttpHost(Box<Parts>);

impl HttpHost {
    /// Creates a host for a request, with the client's address if it is known.
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
        // It is empty. Setting the body afterwards lets the compiler copy the head straight to its place.
        if let slot @ None = &mut parts.request {
            let (head, body) = request.into_parts();
            let request = slot.insert(Request::from_parts(head, Body::empty()));
            *request.body_mut() = Body::new(body);
            add_missing_path(request.uri_mut());
        }
        Self(parts)
    }

    /// Creates a host like [`new`](Self::new), with the request in `request`, which is empty afterwards. This is faster
    /// than passing a request.
    #[inline]
    #[must_use]
    pub fn take_from(request: &mut Request<Body>, source_addr: Option<SocketAddr>) -> Self {
        let mut parts = spare();
        parts.version = request.version();
        parts.source_addr = source_addr;
        // It is empty. This lets the compiler copy the request straight to its place.
        if let slot @ None = &mut parts.request {
            add_missing_path(slot.insert(std::mem::take(request)).uri_mut());
        }
        Self(parts)
    }

    /// Makes a field that the guest sets, adds or removes also replace fields whose names differ only in `-` and `_`:
    /// many servers (CGI, WSGI, PHP) treat such names as equal, so a client's `X_User` would appear beside a guest's
    /// `x-user`, or instead of it. This applies to headers and trailers of requests and responses. It doesn't change
    /// what the guest reads.
    #[must_use]
    pub fn fold_underscores(mut self) -> Self {
        self.0.folds_underscores = true;
        self
    }

    /// Allows the request to be refused before others when memory for instances runs short; see
    /// [`LocalHost::is_sheddable`](crate::LocalHost::is_sheddable).
    #[must_use]
    pub fn sheddable(mut self) -> Self {
        self.0.sheddable = true;
        self
    }

    /// Sets the number by which a [`Tracer`](crate::Tracer) recognises the exchange. Defaults to 0.
    #[must_use]
    pub fn traced_as(mut self, trace_id: u64) -> Self {
        self.0.trace_id = trace_id;
        self
    }

    /// Sends the informational responses (1xx) of the guest to `to`. By default they are dropped.
    #[must_use]
    pub fn inform_with(mut self, to: Arc<dyn Inform>) -> Self {
        self.0.informational = Some(to);
        self
    }

    /// Takes the request for the next handler. With `keep_head`, its head stays readable here for `handle_response`;
    /// see [`Pinned::reads_request`](crate::Pinned::reads_request).
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

    /// Creates the host for the next guest of a chain, with this one's request and client address. It has the effect of
    /// [`take_request`](Self::take_request) and [`new`](Self::new), without copying the message. With `keep_head`, the
    /// request's head stays readable here too.
    ///
    /// The new host [folds underscores](Self::fold_underscores) if this one does; other settings have their defaults.
    #[inline]
    #[must_use]
    pub fn pass_request(&mut self, keep_head: bool) -> Self {
        let mut parts = spare();
        parts.version = self.0.request.as_ref().map_or(self.0.version, Request::version);
        parts.source_addr = self.0.source_addr;
        parts.folds_underscores = self.0.folds_underscores;
        std::mem::swap(&mut parts.request, &mut self.0.request);
        let request = parts.request.get_or_insert_default();
        self.0.method.clone_from(request.method());
        if keep_head {
            self.0.request = Some(head_of(request));
        }
        add_missing_path(request.uri_mut());
        Self(parts)
    }

    /// Sets the next handler's response to that of `next`, the host of the next guest of a chain. It has the effect of
    /// [`into_response`](Self::into_response) and [`set_response`](Self::set_response), without a copy of the message
    /// on its way.
    #[inline]
    pub fn set_response_of(&mut self, mut next: Self) {
        next.response_mut();
        std::mem::swap(&mut self.0.response, &mut next.0.response);
        drop(RecycledParts(Some(next.0)));
    }

    /// Sets the next handler's response.
    #[inline]
    pub fn set_response<B>(&mut self, response: Response<B>)
    where
        B: HttpBody<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        if self.0.response.is_some() {
            self.drop_response();
        }
        // It is empty. Setting the body afterwards lets the compiler copy the head straight to its place.
        if let slot @ None = &mut self.0.response {
            let (head, body) = response.into_parts();
            let response = slot.insert(Response::from_parts(head, Body::empty()));
            *response.body_mut() = Body::new(body);
        }
    }

    /// Drops what a guest has set of the response, which is rare. As a cold function, this isn't inlined into
    /// `set_response`.
    #[cold]
    fn drop_response(&mut self) {
        self.0.response = None;
    }

    /// Returns the response for the client. A response that the guest has written has no `content-length` header: its
    /// body knows its size, and servers declare that.
    #[inline]
    pub fn into_response(self) -> Response<Body> {
        RecycledParts(Some(self.0)).response()
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

    /// HTTP/2's `:authority`, which takes the place of a missing `host` header.
    #[inline]
    fn authority(&self) -> Option<&str> {
        self.uri()?.authority().map(Authority::as_str)
    }

    /// The authority of a request without a `host` header.
    #[inline]
    fn implied_host(&self) -> Option<&str> {
        let authority = self.authority()?;
        let has_host = self.headers(BodyKind::Request).is_some_and(|headers| headers.contains_key(HOST));
        (!has_host).then_some(authority)
    }
}

/// The request's head, without its extensions.
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

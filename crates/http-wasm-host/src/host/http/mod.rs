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
use crate::message::trailers::is_twin;

/// A request and response of the `http` crate.
///
/// It starts with the request. When the guest proceeds, [`take_request`](Self::take_request) gives the request
/// for the next handler, whose answer goes into [`set_response`](Self::set_response); what the client gets is
/// [`into_response`](Self::into_response).
#[derive(Debug)]
pub struct HttpHost(Box<Parts>);

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
    /// [`LocalHost::is_sheddable`](crate::LocalHost::is_sheddable).
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

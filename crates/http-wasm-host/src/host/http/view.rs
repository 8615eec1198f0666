//! How guests see the messages of an [`HttpHost`], and what they do to them.

use std::net::SocketAddr;
use std::task::{Context, Poll};

use http::header::{CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::uri::{Authority, PathAndQuery};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, Version};
use http_body::Body as _;

use super::parts::spare;
use super::{HttpHost, StreamedRequest, head_of};
use crate::abi::BodyKind;
use crate::error::{BoxError, Refused};
use crate::host::header_map::{Variants, append, insert, remove, to_header_map};
use crate::host::{Body, BodyState, HeadChange, LocalHost, names};
use crate::message::body_budget::BodyAccount;
use crate::message::{Fields, Frame, HeaderChange, Outgoing};

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

    const STREAMS: bool = true;

    const STREAMS_REQUESTS: bool = true;

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

    #[inline]
    fn uri(&self) -> &[u8] {
        let path = self.uri().and_then(Uri::path_and_query);
        path.map_or(b"/", |path| path.as_str().as_bytes())
    }

    #[inline]
    fn change_head(&mut self, change: HeadChange<'_>) -> Result<(), Refused> {
        match change {
            HeadChange::Method(method) => {
                if let Ok(method) = Method::from_bytes(method) {
                    *self.request_mut().method_mut() = method;
                }
                Ok(())
            }
            HeadChange::Uri(uri) => self.set_uri(uri),
            HeadChange::Authority(authority) => {
                self.set_authority(authority);
                Ok(())
            }
            HeadChange::Status(status) => {
                if let Ok(status) = StatusCode::from_u16(status) {
                    *self.response_mut().status_mut() = status;
                }
                Ok(())
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

    fn inform(&mut self, status: u16, headers: Option<&Fields>) {
        if let (Some(to), Ok(status)) = (&self.0.informational, StatusCode::from_u16(status)) {
            let headers = match headers {
                Some(headers) => to_header_map(headers),
                None => {
                    self.0.response.as_ref().map(|response| response.headers().clone()).unwrap_or_default()
                }
            };
            to.inform(status, headers);
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
        let mut is_absent = true;
        if let Some(headers) = self.headers(message) {
            names::with(name, |name| {
                headers.get_all(name).iter().for_each(|value| {
                    is_absent = false;
                    visit(value.as_bytes());
                });
            });
        }
        if is_absent
            && message == BodyKind::Request
            && name.eq_ignore_ascii_case(b"host")
            && let Some(host) = self.authority()
        {
            visit(host.as_bytes());
        }
    }

    fn change_header(
        &mut self,
        message: BodyKind,
        name: &[u8],
        change: HeaderChange<'_>,
    ) -> Result<(), Refused> {
        let variants = if self.0.folds_underscores { Variants::Removed } else { Variants::Kept };
        let headers = self.headers_mut(message);
        match change {
            HeaderChange::Set(value) => insert(headers, name, value, variants),
            HeaderChange::Add(value) => append(headers, name, value, variants),
            HeaderChange::Remove => {
                remove(headers, name, variants);
                Ok(())
            }
        }
    }

    fn poll_body(
        &mut self,
        message: BodyKind,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame, BoxError>>> {
        self.body_mut(message).poll_piece(cx)
    }

    #[inline]
    fn body_state(&self, message: BodyKind) -> BodyState {
        self.body(message).map_or(BodyState::Ended, Body::state)
    }

    fn body_remaining(&self, message: BodyKind) -> Option<u64> {
        self.body(message).map_or(Some(0), |body| body.size_hint().exact())
    }

    fn trace_id(&self) -> u64 {
        self.0.trace_id
    }

    fn is_sheddable(&self) -> bool {
        self.0.sheddable
    }

    fn body_account(
        &mut self,
        message: BodyKind,
        open: impl FnOnce() -> Option<BodyAccount>,
    ) -> Option<BodyAccount> {
        let extensions = match message {
            BodyKind::Request => self.request_mut().extensions_mut(),
            BodyKind::Response => self.response_mut().extensions_mut(),
        };
        if let Some(account) = extensions.get::<BodyAccount>() {
            return Some(account.clone());
        }
        let account = open()?;
        extensions.insert(account.clone());
        Some(account)
    }

    fn set_body(&mut self, message: BodyKind, mut body: Outgoing) {
        if self.0.folds_underscores {
            body.trailers.fold_underscores();
        }
        self.body_mut(message).rework(body);
        if message == BodyKind::Request {
            self.declare_request();
        }
    }

    fn split(&mut self, message: BodyKind) -> Option<Self> {
        let mut split = self.without_messages();
        match message {
            BodyKind::Request => split.0.request = Some(self.split_request()),
            BodyKind::Response => split.0.response = Some(self.split_response()),
        }
        Some(split)
    }
}

impl HttpHost {
    fn split_request(&mut self) -> Request<Body> {
        let copy = head_of(self.request_mut());
        let mut request = std::mem::replace(self.request_mut(), copy);
        *self.request_mut().body_mut() = std::mem::take(request.body_mut());
        request.extensions_mut().insert(StreamedRequest(()));
        request
    }

    fn split_response(&mut self) -> Response<Body> {
        let (head, body) = std::mem::take(self.response_mut()).into_parts();
        let rest = self.response_mut();
        *rest.status_mut() = head.status;
        *rest.version_mut() = head.version;
        *rest.headers_mut() = head.headers.clone();
        *rest.body_mut() = body;
        Response::from_parts(head, Body::empty())
    }

    /// A host for one message of this one.
    fn without_messages(&self) -> Self {
        let mut parts = spare();
        parts.method = self.0.request.as_ref().map_or(&self.0.method, Request::method).clone();
        parts.version = self.0.version;
        parts.source_addr = self.0.source_addr;
        parts.folds_underscores = self.0.folds_underscores;
        parts.sheddable = self.0.sheddable;
        Self(parts)
    }

    /// Declares a body of unknown length. hyper's client, among others, sends a GET request without its body otherwise.
    fn declare_request(&mut self) {
        let request = self.request_mut();
        let is_sized = request.body().size_hint().exact().is_some();
        // Other versions don't have the header.
        if is_sized || request.version() != Version::HTTP_11 {
            return;
        }
        let headers = request.headers_mut();
        if ![CONTENT_LENGTH, TRANSFER_ENCODING].iter().any(|name| headers.contains_key(name)) {
            headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
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
}

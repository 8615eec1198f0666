//! The next handler.

use std::io;
use std::path::Path;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, Uri, header, uri};
use http_body_util::{BodyExt as _, Full};
use http_wasm_tower::{Body, BoxError};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;

use super::request::SampleResponse;
use super::seen::SeenRequest;

/// The kinds of next handler.
#[derive(Debug, Clone)]
pub(crate) enum Next {
    /// Responds with this response.
    Fixed(SampleResponse),
    /// Responds with the request as JSON, as `serve --upstream echo` does.
    Echo,
    /// An HTTP server.
    Url(Uri),
    /// Fails without a response.
    Fails,
}

impl Default for Next {
    /// Responds with 200 and `hello world`.
    fn default() -> Self {
        let mut response =
            SampleResponse { body: Bytes::from_static(b"hello world"), ..SampleResponse::default() };
        response.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        Self::Fixed(response)
    }
}

impl Next {
    /// A file with a response in HTTP/1.1 format, `echo`, `none`, or the URL of a server.
    ///
    /// # Errors
    /// A description of what is wrong with it.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        match text {
            "echo" => return Ok(Self::Echo),
            "none" => return Ok(Self::Fails),
            _ => {}
        }
        if text.starts_with("https://") {
            return Err(
                "only http:// URLs are supported here; use `serve --upstream` for https://".to_owned()
            );
        }
        if text.starts_with("http://") {
            let uri: Uri = text.parse().map_err(|error| format!("invalid URL: {error}"))?;
            return Ok(Self::Url(uri));
        }
        SampleResponse::read(Path::new(text)).map(Self::Fixed)
    }

    /// The response to a request whose body has been collected.
    pub(super) async fn respond(&self, request: &SeenRequest) -> Result<Response<Body>, BoxError> {
        match self {
            Self::Fixed(response) => Ok(response.build()),
            Self::Echo => {
                let mut echoed = request.rebuild()?;
                *echoed.body_mut() = Body::from(request.content.body.clone());
                Ok(http_wasm_gateway::echo(echoed).await)
            }
            Self::Url(server) => forward(server, request).await,
            Self::Fails => Err(Box::new(io::Error::other("the next handler fails"))),
        }
    }
}

impl Next {
    /// The response to a request.
    pub(crate) async fn answer(&self, request: Request<Body>) -> Result<Response<Body>, BoxError> {
        self.respond(&SeenRequest::of(request).await).await
    }
}

impl SeenRequest {
    fn rebuild(&self) -> Result<Request<Body>, http::Error> {
        let mut request = Request::builder().method(&*self.method).uri(&*self.uri).body(Body::empty())?;
        *request.headers_mut() = self.content.headers.clone();
        Ok(request)
    }
}

async fn forward(server: &Uri, request: &SeenRequest) -> Result<Response<Body>, BoxError> {
    let mut parts = uri::Parts::default();
    parts.scheme = server.scheme().cloned();
    parts.authority = server.authority().cloned();
    parts.path_and_query = Some(request.uri.parse()?);
    let (mut head, _) = request.rebuild()?.into_parts();
    head.uri = Uri::from_parts(parts)?;
    // These belong to the connection to the server.
    for name in [header::TRANSFER_ENCODING, header::CONNECTION] {
        head.headers.remove(name);
    }
    let client = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
    let request = Request::from_parts(head, Full::new(request.content.body.clone()));
    let response = client.request(request).await?;
    Ok(response.map(|body| Body::new(body.map_err(BoxError::from))))
}

//! Messages as their recipients see them.

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::BodyExt as _;
use http_wasm_tower::Body;

/// A request as the next handler receives it.
#[derive(Debug, Clone)]
pub(crate) struct SeenRequest {
    pub(crate) method: String,
    pub(crate) uri: String,
    pub(crate) version: String,
    pub(crate) content: Content,
}

/// A response as the client got it.
#[derive(Debug, Clone)]
pub(crate) struct SeenResponse {
    pub(crate) status: u16,
    pub(crate) content: Content,
}

/// Headers, body and trailers.
#[derive(Debug, Clone, Default)]
pub(crate) struct Content {
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) trailers: HeaderMap,
    /// Why the body is incomplete, if it is.
    pub(crate) broken: Option<String>,
}

impl SeenRequest {
    pub(crate) async fn of(request: Request<Body>) -> Self {
        let (head, body) = request.into_parts();
        Self {
            method: head.method.to_string(),
            uri: head.uri.path_and_query().map_or_else(|| head.uri.to_string(), ToString::to_string),
            version: format!("{:?}", head.version),
            content: Content::of(head.headers, body).await,
        }
    }
}

impl SeenResponse {
    pub(crate) async fn of(response: Response<Body>) -> Self {
        let (head, body) = response.into_parts();
        Self { status: head.status.as_u16(), content: Content::of(head.headers, body).await }
    }
}

impl Content {
    async fn of(headers: HeaderMap, mut body: Body) -> Self {
        let mut content = Self { headers, ..Self::default() };
        let mut data = Vec::new();
        while let Some(frame) = body.frame().await {
            match frame.map(|frame| frame.into_data()) {
                Ok(Ok(piece)) => data.extend_from_slice(&piece),
                Ok(Err(frame)) => content.trailers = frame.into_trailers().unwrap_or_default(),
                Err(error) => {
                    content.broken = Some(error.to_string());
                    break;
                }
            }
        }
        content.body = data.into();
        content
    }

    /// The values of this header, as text.
    pub(crate) fn values(&self, name: &str) -> Vec<String> {
        let values = self.headers.get_all(name);
        values.iter().map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()).collect()
    }
}

//! What stands behind the guests: upstreams, and what the gateway answers by itself.

mod echo;
mod hello;

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Method, Response, StatusCode, header};

use crate::body::{BoxBody, full};
use crate::inbound::Inbound;
use crate::proxy::Proxy;

/// The innermost handler. Cheap to clone; all clones share the proxy's pool of connections.
#[derive(Debug, Clone)]
pub(crate) enum Backend {
    Echo,
    Hello,
    Proxy(Arc<Proxy>),
}

impl Backend {
    pub(crate) async fn respond(&self, inbound: &mut Inbound) -> Response<BoxBody> {
        if inbound.request.method() == Method::CONNECT {
            // A 200 would open a tunnel, and there is nowhere to open one to.
            return plain_text(StatusCode::NOT_IMPLEMENTED, "CONNECT is not supported\n");
        }
        match self {
            Self::Echo => echo::respond(inbound.take()).await,
            Self::Hello => hello::respond(),
            Self::Proxy(proxy) => proxy.respond(inbound).await,
        }
    }
}

pub(crate) fn plain_text(status: StatusCode, text: &'static str) -> Response<BoxBody> {
    content(status, "text/plain; charset=utf-8", text)
}

fn content(status: StatusCode, content_type: &'static str, bytes: impl Into<Bytes>) -> Response<BoxBody> {
    let mut response = Response::new(full(bytes));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

//! The body of a response, in either HTTP version.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::connections::http1::Tunnel;
use super::{http1, http2};
use crate::body::BoxError;

/// The body of a response. It holds its connection until the body ends.
#[derive(Debug)]
pub(in crate::proxy) enum ResponseBody {
    Http1(http1::ResponseBody),
    Http2(http2::ResponseBody),
}

impl ResponseBody {
    /// Returns the body, if all of it has arrived. Its connection is then free.
    pub(in crate::proxy) fn into_whole(self) -> Result<Bytes, Self> {
        match self {
            Self::Http1(body) => body.into_whole().map_err(Self::Http1),
            Self::Http2(_) => Err(self),
        }
    }

    /// Returns the connection, if it has switched to another protocol.
    pub(in crate::proxy) fn into_tunnel(self) -> Option<Tunnel> {
        match self {
            Self::Http1(body) => body.into_tunnel(),
            Self::Http2(_) => None,
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match Pin::get_mut(self) {
            Self::Http1(body) => Pin::new(body).poll_frame(cx),
            Self::Http2(body) => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Http1(body) => body.is_end_stream(),
            Self::Http2(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Http1(body) => body.size_hint(),
            Self::Http2(body) => body.size_hint(),
        }
    }
}

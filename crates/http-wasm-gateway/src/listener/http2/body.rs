//! Request bodies of HTTP/2.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::task::AtomicWaker;
use h2::{Reason, RecvStream};
use http_body::{Body, Frame, SizeHint};

use super::unread::UnreadStream;
use crate::field_values::any_padded;
use crate::listener::request::Received;

/// Whether a client that waits for `100 Continue` should get it, which is as soon as the body is polled.
#[derive(Debug, Default)]
pub(super) struct Continue {
    wanted: AtomicBool,
    sender: AtomicWaker,
}

impl Continue {
    fn want(&self) {
        if !self.wanted.swap(true, Ordering::AcqRel) {
            self.sender.wake();
        }
    }

    pub(super) fn poll_wanted(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.sender.register(cx.waker());
        if self.wanted.load(Ordering::Acquire) { Poll::Ready(()) } else { Poll::Pending }
    }
}

/// The body of one request.
#[derive(Debug)]
pub(super) struct RequestBody {
    stream: RecvStream,
    /// How many bytes are left, if the length was declared.
    left: Option<u64>,
    data_ended: bool,
    proceed: Option<Arc<Continue>>,
    /// Dropped after the stream, which drops its unread content.
    unread: Option<UnreadStream>,
}

impl RequestBody {
    pub(super) fn new(
        stream: RecvStream,
        length: Option<u64>,
        proceed: Option<Arc<Continue>>,
        unread: Option<UnreadStream>,
    ) -> Self {
        Self { stream, left: length, data_ended: false, proceed, unread }
    }
}

impl Received for RequestBody {
    fn into_whole(self) -> Result<Bytes, Self> {
        if self.is_end_stream() { Ok(Bytes::new()) } else { Err(self) }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = h2::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        let this = &mut *self;
        if let Some(proceed) = this.proceed.take() {
            proceed.want();
        }
        while !this.data_ended {
            match ready!(this.stream.poll_data(cx)) {
                // This frame only ends the stream.
                Some(Ok(data)) if data.is_empty() => {}
                Some(Ok(data)) => {
                    // This fails if the stream is closed, which doesn't matter.
                    let _ = this.stream.flow_control().release_capacity(data.len());
                    if let Some(unread) = &this.unread {
                        unread.read(data.len());
                    }
                    if let Some(left) = &mut this.left {
                        *left = left.saturating_sub(data.len() as u64);
                    }
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => this.data_ended = true,
            }
        }
        match ready!(this.stream.poll_trailers(cx)) {
            // The message is malformed, as it would be with such a head.
            Ok(Some(trailers)) if any_padded(&trailers) => {
                Poll::Ready(Some(Err(Reason::PROTOCOL_ERROR.into())))
            }
            Ok(Some(trailers)) => Poll::Ready(Some(Ok(Frame::trailers(trailers)))),
            Ok(None) => Poll::Ready(None),
            Err(error) => Poll::Ready(Some(Err(error))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.stream.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        if self.is_end_stream() {
            return SizeHint::with_exact(0);
        }
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

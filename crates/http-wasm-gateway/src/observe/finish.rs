//! Finds out when a request is over, and tells the observers.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::Response;
use http_body::{Body, Frame, SizeHint};

use super::{Exchange, Observe};
use crate::body::{BoxBody, BoxError, boxed};

/// Tells the observers as soon as it is dropped: with the response's body, or with a request that got no response.
#[derive(Debug)]
struct Finish {
    exchange: Arc<Exchange>,
    observers: Arc<[Arc<dyn Observe>]>,
    bytes: u64,
    complete: bool,
}

impl Drop for Finish {
    fn drop(&mut self) {
        let outcome = self.exchange.outcome(self.bytes, self.complete);
        for observer in self.observers.iter() {
            observer.finished(&outcome);
        }
    }
}

/// Waits for the response, and counts its body.
pub(super) async fn observed(
    exchange: Arc<Exchange>,
    observers: Arc<[Arc<dyn Observe>]>,
    response: impl Future<Output = Response<BoxBody>>,
) -> Response<BoxBody> {
    for observer in observers.iter() {
        observer.started();
    }
    let finish = Finish { exchange, observers, bytes: 0, complete: false };
    let response = response.await;
    finish.exchange.answered(response.status());
    response.map(|body| {
        let mut finish = finish;
        // Nobody may ask an empty body for its end.
        finish.complete = body.is_end_stream();
        boxed(Counted { finish, body })
    })
}

/// A request's body that counts what is taken of it.
#[derive(Debug)]
pub(super) struct Received {
    exchange: Arc<Exchange>,
    body: BoxBody,
}

impl Received {
    /// The body; one that has ended already needs no counting.
    pub(super) fn counted(exchange: &Arc<Exchange>, body: BoxBody) -> BoxBody {
        if body.is_end_stream() {
            return body;
        }
        boxed(Self { exchange: exchange.clone(), body })
    }
}

impl Body for Received {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if let Some(Ok(frame)) = &frame {
            self.exchange.received(frame.data_ref().map_or(0, Bytes::len));
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A response's body that counts what is taken of it.
#[derive(Debug)]
struct Counted {
    finish: Finish,
    body: BoxBody,
}

impl Body for Counted {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => self.finish.bytes += frame.data_ref().map_or(0, |data| data.len() as u64),
            Some(Err(_)) => {}
            None => self.finish.complete = true,
        }
        // With a known length nobody asks again once the last byte is there.
        self.finish.complete |= self.body.is_end_stream();
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

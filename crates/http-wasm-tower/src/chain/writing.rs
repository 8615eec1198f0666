//! A guest that writes the request while it is sent.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http_wasm_host::{Error, HttpHost, Outcome, RequestStream};

use super::observer::GuestObserver;

/// A guest that writes the request while it is sent. Its call is abandoned if this is dropped before it has ended.
pub(crate) struct WritingGuest<G: GuestObserver> {
    pub(super) stream: RequestStream<HttpHost>,
    /// Until the call has ended.
    observer: Option<G>,
}

impl<G: GuestObserver> WritingGuest<G> {
    pub(super) fn new(stream: RequestStream<HttpHost>, observer: G) -> Self {
        Self { stream, observer: Some(observer) }
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<(Result<Outcome<HttpHost>, Error>, G)> {
        let result = ready!(Pin::new(&mut self.stream).poll(cx));
        let observer = self.observer.take().expect("taken only when the call has ended");
        Poll::Ready((result, observer))
    }
}

impl<G: GuestObserver> Drop for WritingGuest<G> {
    fn drop(&mut self) {
        if let Some(observer) = self.observer.take()
            && let Some(call) = self.stream.abandon()
        {
            observer.abandoned(call);
        }
    }
}

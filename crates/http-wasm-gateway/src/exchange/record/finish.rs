//! Detects the end of a request, and notifies the observers.

use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Response, StatusCode};
use http_body::{Body as _, Frame};
use tokio::sync::oneshot;

use super::finished::{FinishedRequest, RequestObserver};
use super::request::RequestRecord;
use crate::body::{BoxBody, BoxError, boxed, observed};

/// Notifies the observers when it is dropped: with the response's body, with a tunnel, or with a request that got no
/// response.
#[derive(Debug)]
pub(crate) struct Finish {
    pub(crate) record: Arc<RequestRecord>,
    observers: Arc<[Arc<dyn RequestObserver>]>,
    bytes: u64,
    complete: bool,
}

impl Drop for Finish {
    fn drop(&mut self) {
        let notes = self.record.notes();
        let finished = FinishedRequest {
            record: &self.record,
            duration: self.record.started().elapsed(),
            attempts: &notes.attempts,
            guests: &notes.guests,
            messages: &notes.messages,
            response_bytes: self.bytes,
            complete: self.complete,
        };
        for observer in self.observers.iter() {
            observer.finished(&finished);
        }
    }
}

impl Finish {
    /// Notifies them that the request has started.
    pub(crate) fn of(record: Arc<RequestRecord>, observers: Arc<[Arc<dyn RequestObserver>]>) -> Self {
        for observer in observers.iter() {
            observer.started();
        }
        Self { record, observers, bytes: 0, complete: false }
    }

    /// Called when the response switches to another protocol. The tunnel then records how many bytes it relays.
    pub(crate) fn with_tunnel(mut self, status: StatusCode, tunnel: oneshot::Sender<Self>) {
        self.record.set_status(status);
        self.complete = true;
        // If the tunnel has already ended, this is the end too.
        let _ = tunnel.send(self);
    }

    /// Records how many bytes a tunnel has relayed from the client and to it.
    pub(crate) fn carried(&mut self, from_client: u64, to_client: u64) {
        self.record.add_request_bytes(from_client);
        self.bytes += to_client;
    }

    /// Called when the response is available. Counts its body.
    pub(crate) fn with(mut self, response: &mut Response<BoxBody>) {
        self.record.set_status(response.status());
        let body = std::mem::take(response.body_mut());
        // An empty body may never be polled, nor is one that the response can't have.
        let has_none = self.record.method == Method::HEAD
            || matches!(response.status(), StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        self.complete = has_none || body.is_end_stream();
        let counted = observed(body, move |frame, ended| {
            // The whole guard is held here, because it notifies the observers when it is dropped.
            let finish = &mut self;
            finish.bytes += bytes(frame);
            finish.complete |= ended;
        });
        *response.body_mut() = boxed(counted);
    }
}

/// Counts the bytes of a request's body, unless it has already ended.
pub(crate) fn received(record: &Arc<RequestRecord>, body: BoxBody) -> BoxBody {
    if body.is_end_stream() {
        return body;
    }
    let record = record.clone();
    boxed(observed(body, move |frame, _| record.add_request_bytes(bytes(frame))))
}

fn bytes(frame: Option<&Result<Frame<Bytes>, BoxError>>) -> u64 {
    let data = frame.and_then(|frame| frame.as_ref().ok()).and_then(Frame::data_ref);
    data.map_or(0, |data| data.len() as u64)
}

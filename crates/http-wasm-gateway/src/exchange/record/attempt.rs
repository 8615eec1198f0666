//! One attempt to send a request to an upstream.

use std::error::Error as StdError;
use std::sync::Arc;
use std::time::Instant;

use http::{HeaderMap, StatusCode};
use opentelemetry::trace::SpanContext;

use super::request::RequestRecord;
use super::upstream::{UpstreamAttempt, UpstreamFailure};
use crate::error_text::Causes;

/// Records the result of one attempt. If it is dropped without a result, the attempt was abandoned.
#[derive(Debug)]
pub(crate) struct Attempt(Option<Open>);

#[derive(Debug)]
struct Open {
    record: Arc<RequestRecord>,
    upstream: Arc<str>,
    address: Arc<str>,
    span: Option<SpanContext>,
    started: Instant,
}

impl Attempt {
    /// Begins an attempt to send a request with these headers. If there are traces, its `traceparent` identifies this
    /// attempt afterwards.
    pub(crate) fn begin(
        headers: &mut HeaderMap,
        record: Option<&Arc<RequestRecord>>,
        upstream: &Arc<str>,
        address: &Arc<str>,
    ) -> Self {
        Self(record.cloned().map(|record| {
            let span = record.trace.as_ref().map(|trace| trace.child(headers));
            let (upstream, address) = (upstream.clone(), address.clone());
            Open { record, upstream, address, span, started: Instant::now() }
        }))
    }

    /// Records that the response head has arrived.
    pub(crate) fn answered(mut self, status: StatusCode) {
        self.end(|| Ok(status));
    }

    /// Records that there will be no response.
    pub(crate) fn failed(mut self, kind: UpstreamFailure, why: &(dyn StdError + 'static)) {
        self.end(|| Err((kind, Causes(why).to_string())));
    }

    fn end(&mut self, result: impl FnOnce() -> Result<StatusCode, (UpstreamFailure, String)>) {
        if let Some(Open { record, upstream, address, span, started }) = self.0.take() {
            let (began, took) = (started - record.started(), started.elapsed());
            record.add_attempt(UpstreamAttempt { upstream, address, span, began, took, result: result() });
        }
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        self.end(|| Err((UpstreamFailure::Abandoned, "abandoned before a response".to_owned())));
    }
}

//! Responses that don't come from the upstream.

use http_wasm_host::{BoxError, Fields, InMemoryHost, NoBodyMemory};

use crate::failure::{self, Failure};
use crate::filter::Filter;

/// A response that doesn't come from the upstream.
pub(crate) struct Reply {
    status: u16,
    headers: Fields,
    body: Vec<u8>,
    details: &'static str,
}

impl Reply {
    /// The response to a request whose filter failed.
    pub(crate) fn failed() -> Self {
        Self { status: 500, headers: Fields::new(), body: Vec::new(), details: "http_wasm_failed" }
    }

    /// The response to a request that can't be sent, or whose response can't.
    pub(crate) fn of_error(error: &BoxError) -> Self {
        let mut reply = Self::failed();
        if error.is::<NoBodyMemory>() {
            reply.status = 503;
            reply.headers.set(b"retry-after", failure::RETRY_SECONDS.to_string().as_bytes());
        }
        reply
    }

    pub(crate) fn of_guest(mut response: Box<InMemoryHost>) -> Self {
        let (body, _) = response.response.take_body();
        let headers = std::mem::take(&mut response.response.headers);
        Self { status: response.status, headers, body, details: "http_wasm_reply" }
    }

    /// The response to a request whose guest failed closed.
    pub(crate) fn of_failure(failure: &Failure) -> Box<InMemoryHost> {
        failure.log();
        let mut response = Box::new(InMemoryHost::new("", ""));
        response.status = failure.status();
        if let Some(seconds) = failure.retry_after() {
            response.response.headers.set(b"retry-after", seconds.to_string().as_bytes());
        }
        response
    }

    /// Passes the response to Envoy, which may destroy the stream meanwhile.
    pub(crate) fn send(mut self, filter: &Filter, is_grpc: bool) {
        if is_grpc && !self.headers.contains(b"grpc-status") {
            let status = failure::grpc_status(self.status);
            self.headers.set(b"grpc-status", status.to_string().as_bytes());
        }
        filter.send_response(self.status, &self.headers, &self.body, self.details.as_bytes());
    }
}

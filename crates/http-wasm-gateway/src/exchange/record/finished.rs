//! Completed requests, and their observers.

use std::fmt;
use std::time::Duration;

use super::guest::{Culprit, GuestMessage, GuestTimes};
use super::request::RequestRecord;
use super::upstream::UpstreamAttempt;

/// An observer of requests. It is called on the request's own path, so it must not block.
pub(crate) trait RequestObserver: fmt::Debug + Send + Sync {
    /// Called when a request has arrived. [`finished`](Self::finished) is called for it exactly once.
    fn started(&self) {}

    /// Called when a request is complete.
    fn finished(&self, request: &FinishedRequest<'_>);
}

/// A completed request: its record, and how it ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FinishedRequest<'a> {
    pub(crate) record: &'a RequestRecord,
    /// The time from the request's head to the last byte of the response.
    pub(crate) duration: Duration,
    /// The attempts to send it to an upstream. Empty if a guest or the gateway responded; several if it was retried.
    pub(crate) attempts: &'a [UpstreamAttempt],
    /// The durations of the guests' calls, in the order in which the guests saw the request.
    pub(crate) guests: &'a [GuestTimes],
    /// What its guests logged, if the trace is sent.
    pub(crate) messages: &'a [GuestMessage],
    /// Body bytes that were passed to the connection.
    pub(crate) response_bytes: u64,
    /// Whether the response's body was complete.
    pub(crate) complete: bool,
}

impl FinishedRequest<'_> {
    /// The result of the request as a word for logs. The first one that applies is used.
    pub(crate) fn outcome(&self) -> &'static str {
        let failed = |culprit| {
            let mut guests = self.guests.iter().filter_map(|guest| guest.failure?.culprit());
            let upstream = self.attempts.last().and_then(UpstreamAttempt::culprit);
            guests.any(|guests| guests == culprit) || upstream == Some(culprit)
        };
        match self.record.status() {
            None => "abandoned",
            Some(_) if self.record.has_client_failed() => "client_failed",
            Some(_) if failed(Culprit::Guest) => "guest_failed",
            Some(_) if failed(Culprit::Client) => "client_failed",
            Some(_) if failed(Culprit::Upstream) => "upstream_failed",
            Some(_) if !self.complete => "incomplete",
            Some(_) => "complete",
        }
    }
}

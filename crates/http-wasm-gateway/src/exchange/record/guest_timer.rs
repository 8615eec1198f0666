//! Measures how long a guest takes.

use std::sync::Arc;
use std::time::Instant;

use http_wasm_tower::{AbandonedCall, Error, GuestObserver, StreamEnd};

use super::guest::{GuestFailure, GuestTimes};
use super::request::RequestRecord;

/// Records the durations of one guest's calls for a request.
#[derive(Debug)]
pub(crate) struct GuestTimer<'a> {
    record: &'a Arc<RequestRecord>,
    guest: &'a Arc<str>,
    began: Instant,
    /// When the guest passed the request on, and when it received the response.
    left: Option<Instant>,
    back: Option<Instant>,
}

impl<'a> GuestTimer<'a> {
    /// Called when the guest starts.
    pub(crate) fn start(record: &'a Arc<RequestRecord>, guest: &'a Arc<str>) -> Self {
        Self { record, guest, began: Instant::now(), left: None, back: None }
    }
}

impl GuestObserver for GuestTimer<'_> {
    fn passed(&mut self) {
        self.left = Some(Instant::now());
    }

    fn resumed(&mut self) {
        self.back = Some(Instant::now());
    }

    fn finished(self, error: Option<&Error>) {
        let times = self.times(error);
        self.record.add_guest(times);
    }

    fn abandoned(self, _: AbandonedCall) {
        let times = self.times(None);
        self.record.add_guest(GuestTimes { failure: Some(GuestFailure::Abandoned), ..times });
    }
}

impl GuestTimer<'_> {
    /// Called when the guest continues while its response is sent. Returns what to call when that ends.
    pub(crate) fn begin_stream(self) -> impl FnOnce(&StreamEnd<'_>) + Send + use<> {
        let times = self.times(None);
        let (record, guest, began) = (self.record.clone(), self.guest.clone(), times.began);
        let back = self.back.unwrap_or(self.began);
        self.record.add_guest(times);
        move |end| {
            let failure = match end {
                StreamEnd::Failed(error) => Some(GuestFailure::Failed(error.kind())),
                StreamEnd::Abandoned(_) => Some(GuestFailure::Abandoned),
                _ => None,
            };
            record.end_stream(&guest, began, back.elapsed(), failure);
        }
    }

    /// Until now.
    fn times(&self, error: Option<&Error>) -> GuestTimes {
        let now = Instant::now();
        let start = self.record.started();
        GuestTimes {
            guest: self.guest.clone(),
            began: self.began - start,
            resumed: self.back.map(|back| back - start),
            request: self.left.unwrap_or(now) - self.began,
            response: self.back.map(|back| now - back),
            failure: error.map(|error| GuestFailure::Failed(error.kind())),
        }
    }
}

//! Measures how long a guest takes.

use std::sync::Arc;
use std::time::Instant;

use http_wasm_tower::{Error, GuestObserver};

use super::guest::GuestTimes;
use super::request::RequestRecord;

/// Records the durations of one guest's calls for a request.
#[derive(Debug)]
pub(crate) struct GuestTimer<'a> {
    record: &'a RequestRecord,
    guest: &'a Arc<str>,
    began: Instant,
    /// When the guest passed the request on, and when it received the response.
    left: Option<Instant>,
    back: Option<Instant>,
}

impl<'a> GuestTimer<'a> {
    /// Called when the guest starts.
    pub(crate) fn start(record: &'a RequestRecord, guest: &'a Arc<str>) -> Self {
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
        let now = Instant::now();
        let start = self.record.started();
        self.record.add_guest(GuestTimes {
            guest: self.guest.clone(),
            began: self.began - start,
            resumed: self.back.map(|back| back - start),
            request: self.left.unwrap_or(now) - self.began,
            response: self.back.map(|back| now - back),
            failure: error.map(|error| error.kind().name()),
        });
    }
}

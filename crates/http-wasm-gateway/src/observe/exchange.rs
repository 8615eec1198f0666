//! What is noted about a request while it is under way.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Instant, SystemTime};

use http::{Method, Request, StatusCode, Version};

use super::{AttemptNote, GuestTimes, RequestOutcome};
use crate::listener::Client;

/// Notes about one request.
#[derive(Debug)]
pub(crate) struct Exchange {
    started: Instant,
    started_at: SystemTime,
    client: Client,
    method: Method,
    target: String,
    version: Version,
    route: OnceLock<Arc<str>>,
    upstream: OnceLock<Arc<str>>,
    attempts: Mutex<Vec<AttemptNote>>,
    guests: Mutex<Vec<GuestTimes>>,
    status: OnceLock<StatusCode>,
}

impl Exchange {
    pub(crate) fn begin<B>(request: &Request<B>, client: Client) -> Self {
        Self {
            started: Instant::now(),
            started_at: SystemTime::now(),
            client,
            method: request.method().clone(),
            target: request.uri().path_and_query().map_or_else(String::new, ToString::to_string),
            version: request.version(),
            route: OnceLock::new(),
            upstream: OnceLock::new(),
            attempts: Mutex::default(),
            guests: Mutex::default(),
            status: OnceLock::new(),
        }
    }

    /// When the request came in.
    pub(super) fn started(&self) -> Instant {
        self.started
    }

    /// The route that took the request.
    pub(crate) fn took(&self, route: &Arc<str>) {
        // Nothing is noted twice; should it be, the first note holds.
        let _ = self.route.set(route.clone());
    }

    /// The upstream that the request was sent to.
    pub(super) fn went_to(&self, upstream: &Arc<str>) {
        let _ = self.upstream.set(upstream.clone());
    }

    /// What became of one sending to an upstream.
    pub(super) fn tried(&self, attempt: AttemptNote) {
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner).push(attempt);
    }

    /// The response has a head.
    pub(crate) fn answered(&self, status: StatusCode) {
        let _ = self.status.set(status);
    }

    /// What a guest took. The innermost is done first.
    pub(super) fn passed(&self, times: GuestTimes) {
        self.guests.lock().unwrap_or_else(PoisonError::into_inner).insert(0, times);
    }

    pub(super) fn outcome(&self, response_bytes: u64, complete: bool) -> RequestOutcome {
        RequestOutcome {
            started: self.started_at,
            duration: self.started.elapsed(),
            client: self.client.addr,
            method: self.method.clone(),
            target: self.target.clone(),
            version: self.version,
            route: self.route.get().cloned(),
            upstream: self.upstream.get().cloned(),
            attempts: self.attempts.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            guests: self.guests.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            status: self.status.get().copied(),
            response_bytes,
            complete,
        }
    }
}

//! State that all streams of a route share.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http_wasm_tower::Chain;
use tokio::time::Instant;

use crate::config;
use crate::stage::CurrentStage;

/// State that all streams of a route share.
pub(super) struct Processor {
    pub(super) chain: Chain,
    /// Whether Envoy selects the route again after changes.
    pub(super) reselects_route: bool,
    /// How long guests may take to process a head.
    timeout: Option<Duration>,
    /// The most bytes that the body of a client's request may have.
    pub(super) max_body: Option<u64>,
    /// Whether the gateway is draining.
    pub(super) stage: CurrentStage,
    /// Whether any stream has begun with a request.
    sees_requests: AtomicBool,
}

impl Processor {
    pub(super) fn new(
        chain: Chain,
        settings: &config::ExtProc,
        max_body: Option<u64>,
        stage: CurrentStage,
    ) -> Self {
        Self {
            chain,
            reselects_route: settings.reselect_route,
            timeout: settings.timeout.map(|time| time.0),
            max_body,
            stage,
            sees_requests: AtomicBool::new(false),
        }
    }

    /// The deadline for guests to process a head that has just arrived.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.timeout.map(|timeout| Instant::now() + timeout)
    }

    /// Records that a stream has begun with a request.
    pub(super) fn has_request(&self) {
        self.sees_requests.store(true, Ordering::Relaxed);
    }

    /// Whether Envoy sends requests, and not only responses.
    pub(super) fn sees_requests(&self) -> bool {
        self.sees_requests.load(Ordering::Relaxed)
    }
}

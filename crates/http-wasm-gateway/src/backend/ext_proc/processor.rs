//! What all streams of a route share.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http_wasm_tower::Chain;
use tokio::time::Instant;

use crate::config;
use crate::stage::CurrentStage;

/// What all streams of a route share.
pub(super) struct Processor {
    pub(super) chain: Chain,
    /// Whether Envoy selects its route again.
    pub(super) reselects_route: bool,
    /// How long guests may take to process a head.
    timeout: Option<Duration>,
    /// How many bytes the body of a client's request may have.
    pub(super) max_body: Option<u64>,
    /// Whether the gateway is draining.
    pub(super) stage: CurrentStage,
    /// Whether a stream has ever begun with a request.
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

    /// Until when guests may process a head that has come now.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.timeout.map(|timeout| Instant::now() + timeout)
    }

    /// A stream begins with a request.
    pub(super) fn has_request(&self) {
        self.sees_requests.store(true, Ordering::Relaxed);
    }

    /// Whether Envoy sends requests, and not their responses alone.
    pub(super) fn sees_requests(&self) -> bool {
        self.sees_requests.load(Ordering::Relaxed)
    }
}

//! Labels. Their values are names from the configuration or values of the enums here, so clients can't increase their
//! number.

use std::sync::Arc;

use http::StatusCode;
use http_wasm_tower::{DropReason, Phase};
use prometheus_client::encoding::EncodeLabelSet;

/// The label of requests without a route.
const NO_ROUTE: &str = "none";

/// All values of [`code`].
pub(super) const CODES: [&str; 6] = ["1xx", "2xx", "3xx", "4xx", "5xx", "none"];

/// All values of [`phase`].
pub(super) const PHASES: [&str; 3] = ["request", "response", "start"];

/// Values of the label `result` for an instance that was checked out for a request.
pub(super) const CHECKOUTS: [&str; 2] = ["hit", "miss"];

/// All values of [`dropped`].
pub(super) const DROPS: [&str; 6] = ["failed", "cancelled", "unclean", "outgrown", "idle", "other"];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct RouteCode {
    pub(super) route: Arc<str>,
    pub(super) code: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct RouteLabel {
    pub(super) route: Arc<str>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct FieldDropped {
    pub(super) reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct GuestLabel {
    pub(super) guest: Arc<str>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct GuestPhase {
    pub(super) guest: Arc<str>,
    pub(super) phase: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct GuestFailure {
    pub(super) guest: Arc<str>,
    pub(super) phase: &'static str,
    pub(super) kind: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct GuestCheckout {
    pub(super) guest: Arc<str>,
    pub(super) result: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct GuestDrop {
    pub(super) guest: Arc<str>,
    pub(super) reason: &'static str,
}

/// Why no memory was available for the body of a request.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Refusal {
    pub(super) reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct GuestState {
    pub(super) guest: Arc<str>,
    pub(super) state: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct UpstreamLabel {
    pub(super) upstream: Arc<str>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct UpstreamCode {
    pub(super) upstream: Arc<str>,
    pub(super) code: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct UpstreamFailed {
    pub(super) upstream: Arc<str>,
    pub(super) kind: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct UpstreamAddress {
    pub(super) upstream: Arc<str>,
    pub(super) address: Arc<str>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ReloadResult {
    pub(super) result: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Build {
    pub(super) version: &'static str,
}

/// The label `route` of a request.
pub(super) fn route(route: Option<&Arc<str>>) -> Arc<str> {
    route.cloned().unwrap_or_else(|| NO_ROUTE.into())
}

/// The label `code`: the status's class, or "none" for a request that got no response.
pub(super) fn code(status: Option<StatusCode>) -> &'static str {
    match status.map(|status| status.as_u16() / 100) {
        Some(1) => "1xx",
        Some(2) => "2xx",
        Some(3) => "3xx",
        Some(4) => "4xx",
        Some(_) => "5xx",
        None => "none",
    }
}

/// The label `phase`. A guest that fails outside of both phases has failed while an instance started.
pub(super) fn phase(phase: Option<Phase>) -> &'static str {
    match phase {
        Some(Phase::Request) => "request",
        Some(Phase::Response) => "response",
        None => "start",
    }
}

/// The label `reason` of an instance that was dropped.
pub(super) fn dropped(reason: DropReason) -> &'static str {
    match reason {
        DropReason::Failed => "failed",
        DropReason::Cancelled => "cancelled",
        DropReason::Unclean => "unclean",
        DropReason::Outgrown => "outgrown",
        DropReason::Idle => "idle",
        // A reason that a later version of the core may add.
        _ => "other",
    }
}

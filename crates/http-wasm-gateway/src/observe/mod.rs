//! Observes requests for metrics, the access log and traces, and provides what operators can query.

mod access_log;
mod active;
mod metrics;
mod monitor;
mod observers;
mod recent;
mod request_id;
#[cfg(test)]
mod tests;
mod traces;

pub(crate) use self::active::{Configured, ConfiguredGuest, ConfiguredRoute};
pub(crate) use self::metrics::{CONTENT_TYPE, GuestCounts, RouteCounts, UpstreamCounts, resident_memory};
pub(crate) use self::monitor::{Monitor, Reload, ReloadError};
pub(crate) use self::observers::{ObservedRequest, Observers, Sinks};
pub(crate) use self::recent::RecentError;

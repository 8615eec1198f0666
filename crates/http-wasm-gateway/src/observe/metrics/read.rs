//! Reads the counts for `/status`.

use std::collections::BTreeMap;
use std::hash::Hash;
use std::sync::Arc;

use http_wasm_tower::ErrorKind;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use serde::Serialize;

use super::labels::{
    CHECKOUTS, CODES, DROPS, GuestCheckout, GuestDrop, GuestFailure, GuestPhase, PHASES, RouteCode,
    UpstreamCode, UpstreamFailed, UpstreamLabel,
};
use super::latency::LatencyCounts;
use super::registry::Metrics;
use crate::exchange::UpstreamFailure;

/// Counts other than 0, by label.
type Counts = BTreeMap<&'static str, u64>;

/// The counts of one guest.
#[derive(Debug, Serialize)]
pub(crate) struct GuestCounts {
    /// Calls by phase.
    calls: BTreeMap<&'static str, LatencyCounts>,
    failures: Counts,
    checkouts: Counts,
    dropped: Counts,
}

/// The counts of a route's requests.
#[derive(Debug, Serialize)]
pub(crate) struct RouteCounts {
    requests: Counts,
    /// Durations of all requests.
    durations: Option<LatencyCounts>,
}

/// The counts of requests to an upstream.
#[derive(Debug, Serialize)]
pub(crate) struct UpstreamCounts {
    requests: Counts,
    failures: Counts,
    durations: Option<LatencyCounts>,
}

impl Metrics {
    /// The number of requests that aren't complete.
    pub(crate) fn requests_in_flight(&self) -> i64 {
        self.in_flight.get()
    }

    /// Reloads of the configuration, by result.
    pub(crate) fn reloads(&self) -> BTreeMap<&'static str, u64> {
        [("success", true), ("failure", false)].map(|(name, ok)| (name, self.reloads_with(ok).get())).into()
    }

    pub(crate) fn of_guest(&self, guest: &Arc<str>) -> GuestCounts {
        let families = &self.series.guests;
        let calls = PHASES.into_iter().filter_map(|phase| {
            let latency = families.calls.get(&GuestPhase { guest: guest.clone(), phase })?.read();
            Some((phase, latency))
        });
        let failures = ErrorKind::NAMES.into_iter().map(|kind| {
            let of_phase =
                |phase| count(&families.failures, &GuestFailure { guest: guest.clone(), phase, kind });
            (kind, PHASES.into_iter().map(of_phase).sum())
        });
        let checkouts = CHECKOUTS.into_iter().map(|result| {
            (result, count(&families.checkouts, &GuestCheckout { guest: guest.clone(), result }))
        });
        let dropped = DROPS
            .into_iter()
            .map(|reason| (reason, count(&families.dropped, &GuestDrop { guest: guest.clone(), reason })));
        GuestCounts {
            calls: calls.collect(),
            failures: some(failures),
            checkouts: some(checkouts),
            dropped: some(dropped),
        }
    }

    /// `route` is the name of a route. Requests that matched none are counted under "none".
    pub(crate) fn of_route(&self, route: &str) -> RouteCounts {
        let route: Arc<str> = route.into();
        let labels = |code| RouteCode { route: route.clone(), code };
        let durations =
            CODES.into_iter().filter_map(|code| Some(self.series.durations.get(&labels(code))?.read()));
        RouteCounts {
            requests: some(CODES.into_iter().map(|code| (code, count(&self.series.requests, &labels(code))))),
            durations: durations.reduce(LatencyCounts::and),
        }
    }

    pub(crate) fn of_upstream(&self, upstream: &str) -> UpstreamCounts {
        let upstream: Arc<str> = upstream.into();
        let requests = CODES.into_iter().map(|code| {
            (code, count(&self.series.upstream_requests, &UpstreamCode { upstream: upstream.clone(), code }))
        });
        let failures = UpstreamFailure::ALL.into_iter().map(UpstreamFailure::name).map(|kind| {
            (
                kind,
                count(&self.series.upstream_failures, &UpstreamFailed { upstream: upstream.clone(), kind }),
            )
        });
        UpstreamCounts {
            requests: some(requests),
            failures: some(failures),
            durations: self
                .series
                .upstream_durations
                .get(&UpstreamLabel { upstream: upstream.clone() })
                .map(|latency| latency.read()),
        }
    }
}

impl LatencyCounts {
    /// Adds the counts of both, which have the same bounds.
    fn and(mut self, other: Self) -> Self {
        self.count += other.count;
        self.sum_seconds += other.sum_seconds;
        for (bucket, more) in self.buckets.iter_mut().zip(other.buckets) {
            *bucket += more;
        }
        self
    }
}

/// Returns the count under these labels, without creating a series.
fn count<L: Clone + Hash + Eq>(family: &Family<L, Counter>, labels: &L) -> u64 {
    family.get(labels).map_or(0, |counter| counter.get())
}

fn some(counts: impl Iterator<Item = (&'static str, u64)>) -> Counts {
    counts.filter(|(_, count)| *count > 0).collect()
}

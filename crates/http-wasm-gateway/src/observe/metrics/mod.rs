//! Metrics in the OpenMetrics format, which Prometheus reads.
//!
//! Counters live as long as the process, whatever configurations come and go; gauges are read when somebody asks.

mod gauges;
mod guest;
mod labels;
mod latency;
mod process;
mod read;

use std::fmt;
use std::sync::Arc;

use prometheus_client::encoding::text;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Metric, Registry, Unit};

use self::guest::Families;
use self::labels::{
    Build, GuestPhase, OfGuest, OfRoute, OfUpstream, ReloadResult, RouteCode, UpstreamCode, UpstreamFailed,
};
use super::active::Active;
use super::recent::Recent;
use super::{AttemptNote, RequestOutcome};

pub(crate) use self::guest::GuestMetrics;
pub(crate) use self::labels::failure as failure_kind;
pub(crate) use self::latency::{Latency, LatencyCounts};
pub(crate) use self::process::resident_memory;
pub(crate) use self::read::{GuestCounts, RouteCounts, UpstreamCounts};

/// The media type of [`Metrics::encode`].
pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What all metrics of ours begin with.
const PREFIX: &str = "http_wasm";

type CallLatency = Family<GuestPhase, Latency, fn() -> Latency>;
type StartLatency = Family<OfGuest, Latency, fn() -> Latency>;

/// All that is counted.
pub(crate) struct Metrics {
    registry: Registry,
    in_flight: Gauge,
    requests: Family<RouteCode, Counter>,
    durations: Family<RouteCode, Latency, fn() -> Latency>,
    response_bytes: Family<OfRoute, Counter>,
    incomplete: Family<OfRoute, Counter>,
    guests: Families,
    upstream_requests: Family<UpstreamCode, Counter>,
    upstream_failures: Family<UpstreamFailed, Counter>,
    upstream_durations: Family<OfUpstream, Latency, fn() -> Latency>,
    reloads: Family<ReloadResult, Counter>,
}

impl Metrics {
    pub(super) fn new(active: Arc<Active>) -> Self {
        let calls: fn() -> Latency = Latency::of_calls;
        let requests: fn() -> Latency = Latency::of_requests;
        let mut registry = Registry::default();
        registry.register_collector(Box::new(process::Process));
        let to = registry.sub_registry_with_prefix(PREFIX);
        to.register("build", "The version of the gateway", Info::new(Build { version: VERSION }));
        let metrics = Self {
            in_flight: register(to, "requests_in_flight", "Requests that are not over", Gauge::default()),
            requests: register(
                to,
                "requests",
                "Requests that are over, by route and class of status",
                Family::default(),
            ),
            durations: register_with_unit(
                to,
                "request_duration",
                "Time from a request's head to the end of its response",
                Unit::Seconds,
                Family::new_with_constructor(requests),
            ),
            response_bytes: register_with_unit(
                to,
                "response",
                "Bytes of response bodies that were handed to clients' connections",
                Unit::Bytes,
                Family::default(),
            ),
            incomplete: register(
                to,
                "responses_incomplete",
                "Responses whose body did not end as it should: the client went away, or the body broke off",
                Family::default(),
            ),
            guests: Families {
                calls: register_with_unit(
                    to,
                    "guest_call_duration",
                    "Time of a call of a guest, with what it waited for; phase is request or response",
                    Unit::Seconds,
                    Family::new_with_constructor(calls),
                ),
                replayed: register_with_unit(
                    to,
                    "guest_replayed",
                    "Bytes of bodies that a guest read and that go on after it",
                    Unit::Bytes,
                    Family::default(),
                ),
                failures: register(
                    to,
                    "guest_failures",
                    "Calls and starts of a guest that failed, by kind",
                    Family::default(),
                ),
                checkouts: register(
                    to,
                    "guest_checkouts",
                    "Instances taken for requests: hit when one was idle in the pool, miss when one had to be made",
                    Family::default(),
                ),
                starts: register_with_unit(
                    to,
                    "guest_instance_start",
                    "Time to make an instance, start-up included",
                    Unit::Seconds,
                    Family::new_with_constructor(calls),
                ),
                dropped: register(
                    to,
                    "guest_instances_dropped",
                    "Instances that were dropped, by reason",
                    Family::default(),
                ),
            },
            upstream_requests: register(
                to,
                "upstream_requests",
                "Requests sent to an upstream that it answered, by class of status",
                Family::default(),
            ),
            upstream_failures: register(
                to,
                "upstream_failures",
                "Requests sent to an upstream that got no answer, by kind",
                Family::default(),
            ),
            upstream_durations: register_with_unit(
                to,
                "upstream_duration",
                "Time from sending a request to the head of the upstream's answer",
                Unit::Seconds,
                Family::new_with_constructor(requests),
            ),
            reloads: register(
                to,
                "config_reloads",
                "Times that the configuration was read again, by result",
                Family::default(),
            ),
            registry: Registry::default(),
        };
        for result in [true, false] {
            // Both are there from the beginning, so that the first failure is seen as an increase.
            metrics.reloads_with(result);
        }
        registry.register_collector(Box::new(gauges::Gauges(active)));
        Self { registry, ..metrics }
    }

    /// All metrics in the format of [`CONTENT_TYPE`].
    pub(crate) fn encode(&self) -> String {
        let mut text = String::new();
        // Writing to a string fails only if a metric does, and none of these can.
        let _ = text::encode(&mut text, &self.registry);
        text
    }

    pub(super) fn guest(&self, name: &str, recent: Arc<Recent>) -> Arc<GuestMetrics> {
        Arc::new(GuestMetrics::new(name, &self.guests, recent))
    }

    pub(super) fn reloaded(&self, ok: bool) {
        self.reloads_with(ok).inc();
    }

    fn reloads_with(&self, ok: bool) -> Counter {
        let result = if ok { "success" } else { "failure" };
        self.reloads.get_or_create_owned(&ReloadResult { result })
    }

    pub(super) fn started(&self) {
        self.in_flight.inc();
    }

    pub(super) fn finished(&self, outcome: &RequestOutcome) {
        self.in_flight.dec();
        let route = labels::route(outcome.route.as_ref());
        let labels = RouteCode { route: route.clone(), code: labels::code(outcome.status) };
        self.requests.get_or_create(&labels).inc();
        self.durations.get_or_create(&labels).observe(outcome.duration);
        let labels = OfRoute { route };
        self.response_bytes.get_or_create(&labels).inc_by(outcome.response_bytes);
        if !outcome.complete {
            self.incomplete.get_or_create(&labels).inc();
        }
        for attempt in &outcome.attempts {
            self.tried(attempt);
        }
    }

    fn tried(&self, attempt: &AttemptNote) {
        let upstream = attempt.upstream.clone();
        match &attempt.result {
            Ok(status) => {
                let labels = UpstreamCode { upstream: upstream.clone(), code: labels::code(Some(*status)) };
                self.upstream_requests.get_or_create(&labels).inc();
                self.upstream_durations.get_or_create(&OfUpstream { upstream }).observe(attempt.took);
            }
            Err((failure, _)) => {
                self.upstream_failures
                    .get_or_create(&UpstreamFailed { upstream, kind: failure.name() })
                    .inc();
            }
        }
    }
}

fn register<M: Metric + Clone>(to: &mut Registry, name: &str, help: &str, metric: M) -> M {
    to.register(name, help, metric.clone());
    metric
}

fn register_with_unit<M: Metric + Clone>(
    to: &mut Registry,
    name: &str,
    help: &str,
    unit: Unit,
    metric: M,
) -> M {
    to.register_with_unit(name, help, unit, metric.clone());
    metric
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

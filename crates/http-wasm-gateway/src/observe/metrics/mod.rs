//! Metrics in the OpenMetrics format, which Prometheus reads.
//!
//! Counters go on whatever configurations come and go, for as long as anything of that name is there; gauges are read when somebody asks.

mod gauges;
mod guest;
mod labels;
mod latency;
mod process;
mod read;
mod series;

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use prometheus_client::encoding::text;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Metric, Registry, Unit};

use self::labels::{Build, ReloadResult};
use self::series::{Name, Series};
use super::RequestOutcome;
use super::active::Active;
use super::recent::Recent;
use crate::config::Config;

pub(crate) use self::guest::GuestMetrics;
pub(crate) use self::labels::failure as failure_kind;
pub(crate) use self::latency::{Latency, LatencyCounts};
pub(crate) use self::process::resident_memory;
pub(crate) use self::read::{GuestCounts, RouteCounts, UpstreamCounts};
pub(crate) use self::series::Names;

/// The media type of [`Metrics::encode`].
pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What all metrics of ours begin with.
const PREFIX: &str = "http_wasm";

/// All that is counted.
pub(crate) struct Metrics {
    registry: Registry,
    in_flight: Gauge,
    series: Arc<Series>,
    reloads: Family<ReloadResult, Counter>,
}

impl Metrics {
    pub(super) fn new(active: Arc<Active>) -> Self {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(process::Process));
        let to = registry.sub_registry_with_prefix(PREFIX);
        to.register("build", "The version of the gateway", Info::new(Build { version: VERSION }));
        let metrics = Self {
            in_flight: register(to, "requests_in_flight", "Requests that are not over", Gauge::default()),
            series: Arc::new(Series::register(to)),
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
        self.series.forget(Instant::now());
        let mut text = String::new();
        // Writing to a string fails only if a metric does, and none of these can.
        let _ = text::encode(&mut text, &self.registry);
        text
    }

    pub(super) fn guest(&self, name: &str, recent: Arc<Recent>) -> Arc<GuestMetrics> {
        Arc::new(GuestMetrics::new(name, &self.series, recent))
    }

    /// The series of this configuration's routes and upstreams stay for as long as this is kept.
    pub(super) fn names(&self, config: &Config) -> Names {
        let routes = config.routes.iter().enumerate();
        let routes = routes.map(|(index, route)| Name::Route(route.name_at(index).into()));
        let upstreams = config.upstreams.keys().map(|name| Name::Upstream(name.as_str().into()));
        Names::used(&self.series, routes.chain(upstreams))
    }

    /// What is told when nothing has happened for as long as series are kept.
    #[cfg(test)]
    pub(crate) fn encode_later(&self) -> String {
        self.series.forget(Instant::now() + series::KEPT);
        self.encode()
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
        self.series.finished(outcome);
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

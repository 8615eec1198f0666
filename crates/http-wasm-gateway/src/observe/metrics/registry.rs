//! All counters and histograms.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use prometheus_client::encoding::text;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use super::guest::GuestMetrics;
use super::labels::{Build, ReloadResult};
use super::register::{PREFIX, register};
use super::series::{Name, Names, Series};
use super::{gauges, process};
use crate::config::Config;
use crate::exchange::FinishedRequest;
use crate::observe::active::Active;
use crate::observe::recent::Recent;

/// The media type of [`Metrics::encode`].
pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// All counters and histograms.
pub(crate) struct Metrics {
    registry: Registry,
    pub(super) in_flight: Gauge,
    pub(super) series: Arc<Series>,
    reloads: Family<ReloadResult, Counter>,
}

impl Metrics {
    pub(in crate::observe) fn new(active: Arc<Active>) -> Self {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(process::Process));
        let to = registry.sub_registry_with_prefix(PREFIX);
        to.register("build", "The version of the gateway", Info::new(Build { version: VERSION }));
        let metrics = Self {
            in_flight: register(to, "requests_in_flight", "Requests in flight", Gauge::default()),
            series: Arc::new(Series::register(to)),
            reloads: register(
                to,
                "config_reloads",
                "Reloads of the configuration, by result",
                Family::default(),
            ),
            registry: Registry::default(),
        };
        for result in [true, false] {
            // Both series exist from the start, so that the first failure shows up as an increase.
            metrics.reloads_with(result);
        }
        registry.register_collector(Box::new(gauges::Gauges(active)));
        Self { registry, ..metrics }
    }

    /// Encodes all metrics in the format of [`CONTENT_TYPE`].
    pub(crate) fn encode(&self) -> String {
        self.series.forget(Instant::now());
        let mut text = String::new();
        // Writing to a string only fails if a metric fails, which none of these can.
        let _ = text::encode(&mut text, &self.registry);
        text
    }

    pub(in crate::observe) fn guest(&self, name: &str, recent: Arc<Recent>) -> Arc<GuestMetrics> {
        Arc::new(GuestMetrics::new(name, &self.series, recent))
    }

    /// Keeps the series of this configuration's routes and upstreams until the result is dropped.
    pub(in crate::observe) fn names(&self, config: &Config) -> Names {
        let routes = config.routes.iter().enumerate();
        let routes = routes.map(|(index, route)| Name::Route(route.name_at(index).into()));
        let upstreams = config.upstreams.keys().map(|name| Name::Upstream(name.as_str().into()));
        Names::used(&self.series, routes.chain(upstreams))
    }

    /// Encodes the metrics as if nothing had happened for as long as unused series are kept.
    #[cfg(test)]
    pub(crate) fn encode_later(&self) -> String {
        self.series.forget(Instant::now() + super::series::KEPT);
        self.encode()
    }

    pub(in crate::observe) fn reloaded(&self, ok: bool) {
        self.reloads_with(ok).inc();
    }

    pub(super) fn reloads_with(&self, ok: bool) -> Counter {
        let result = if ok { "success" } else { "failure" };
        self.reloads.get_or_create_owned(&ReloadResult { result })
    }

    pub(in crate::observe) fn started(&self) {
        self.in_flight.inc();
    }

    pub(in crate::observe) fn finished(&self, request: &FinishedRequest<'_>) {
        self.in_flight.dec();
        self.series.finished(request);
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

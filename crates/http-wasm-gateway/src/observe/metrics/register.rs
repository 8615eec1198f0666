//! Registers metrics.

use prometheus_client::registry::{Metric, Registry, Unit};

/// The prefix of the gateway's own metrics.
pub(super) const PREFIX: &str = "http_wasm";

pub(super) fn register<M: Metric + Clone>(to: &mut Registry, name: &str, help: &str, metric: M) -> M {
    to.register(name, help, metric.clone());
    metric
}

pub(super) fn register_with_unit<M: Metric + Clone>(
    to: &mut Registry,
    name: &str,
    help: &str,
    unit: Unit,
    metric: M,
) -> M {
    to.register_with_unit(name, help, unit, metric.clone());
    metric
}

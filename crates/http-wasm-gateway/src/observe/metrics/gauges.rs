//! Gauges of guests, their memory and upstreams, which are read at each scrape.

use std::fmt;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;

use super::labels::{GuestLabel, GuestState, Refusal, UpstreamAddress};
use super::register::PREFIX;
use crate::observe::access_log::lost_lines;
use crate::observe::active::{Active, Configured};

/// Reads the gauges of the configuration in use.
#[derive(Debug)]
pub(super) struct Gauges(pub(super) Arc<Active>);

impl Collector for Gauges {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        single(
            &mut encoder,
            "ready",
            "Whether requests are served: 1 or 0",
            None,
            u64::from(self.0.is_ready()),
        )?;
        let name = format!("{PREFIX}_access_log_lines_lost");
        let help = "Access log lines that were lost because the disk was full or too slow.";
        ConstCounter::new(lost_lines()).encode(encoder.encode_descriptor(
            &name,
            help,
            None,
            MetricType::Counter,
        )?)?;
        match self.0.configured() {
            Some(configured) => of_configured(&configured, &mut encoder),
            None => Ok(()),
        }
    }
}

fn of_configured(configured: &Configured, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
    let since = configured.since.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let loaded = "When the configuration in use was read, since the Unix epoch";
    single(encoder, "config_loaded_timestamp", loaded, Some(&Unit::Seconds), since)?;
    let used = configured.engine.memory_in_use() as u64;
    let help = "Memory of the instances of all guests";
    single(encoder, "guests_memory", help, Some(&Unit::Bytes), used)?;
    let budget = configured.memory_budget as u64;
    let help = "Maximum memory of the instances of all guests";
    single(encoder, "guests_memory_budget", help, Some(&Unit::Bytes), budget)?;
    of_bodies(configured, encoder)?;
    let name = format!("{PREFIX}_code_cache_discarded");
    let help = "Discarded code cache entries: damaged, or writable by other users.";
    let metric = encoder.encode_descriptor(&name, help, None, MetricType::Counter)?;
    ConstCounter::new(configured.engine.code_cache_discarded()).encode(metric)?;
    let label = |name: &Arc<str>| GuestLabel { guest: name.clone() };
    family(encoder, "guest_up", "Whether a guest is loaded: 1 or 0", None, |one| {
        configured
            .guests
            .iter()
            .try_for_each(|guest| one(&label(&guest.name), u64::from(guest.loaded.is_some())))
    })?;
    family(encoder, "guest_memory", "Memory of a guest's instances", Some(&Unit::Bytes), |one| {
        configured.stats().try_for_each(|(name, stats)| one(&label(name), stats.memory_bytes))
    })?;
    family(encoder, "guest_instances", "Instances by state: idle in the pool, or busy", None, |one| {
        configured.stats().try_for_each(|(name, stats)| {
            let state = |state| GuestState { guest: name.clone(), state };
            one(&state("idle"), stats.idle)?;
            one(&state("busy"), stats.live.saturating_sub(stats.idle))
        })
    })?;
    let help = "Instances pinned to messages that the guest rewrites while they are sent (`stream`)";
    family(encoder, "guest_streams", help, None, |one| {
        configured.stats().try_for_each(|(name, stats)| one(&label(name), stats.streaming))
    })?;
    of_addresses(configured, encoder)
}

fn of_bodies(configured: &Configured, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
    let memory = configured.engine.body_budget().memory();
    let help = "Memory of the bodies that are held for guests";
    single(encoder, "bodies_memory", help, Some(&Unit::Bytes), memory.held as u64)?;
    let help = "Maximum memory of the bodies that are held for guests";
    single(encoder, "bodies_memory_budget", help, Some(&Unit::Bytes), memory.limit as u64)?;
    let name = format!("{PREFIX}_bodies_memory_refusals");
    let help = "Requests that got no memory for their bodies, or lost it to others.";
    let mut metric = encoder.encode_descriptor(&name, help, None, MetricType::Counter)?;
    for (reason, count) in [("full", memory.refused), ("evicted", memory.evicted)] {
        ConstCounter::new(count).encode(metric.encode_family(&Refusal { reason })?)?;
    }
    Ok(())
}

/// The configuration determines the number of series, as for guests.
fn of_addresses(configured: &Configured, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
    let all: Vec<_> = configured
        .addresses()
        .map(|(upstream, status)| {
            (UpstreamAddress { upstream: upstream.clone(), address: status.url.as_str().into() }, status)
        })
        .collect();
    let help = "Whether an upstream's address is healthy: 1 or 0";
    family(encoder, "upstream_address_up", help, None, |one| {
        all.iter().try_for_each(|(labels, status)| one(labels, u64::from(status.is_up())))
    })?;
    let help = "Requests in flight on an upstream's address, including responses in progress and tunnels";
    family(encoder, "upstream_address_requests_in_flight", help, None, |one| {
        all.iter().try_for_each(|(labels, status)| one(labels, status.in_flight as u64))
    })?;
    family(encoder, "upstream_address_tunnels", "Open tunnels to an upstream's address", None, |one| {
        all.iter().try_for_each(|(labels, status)| one(labels, status.tunnels as u64))
    })?;
    let name = format!("{PREFIX}_upstream_address_failures");
    let help = "Requests that failed on an upstream's address, or timed out.";
    let mut metric = encoder.encode_descriptor(&name, help, None, MetricType::Counter)?;
    all.iter().try_for_each(|(labels, status)| {
        ConstCounter::new(status.failures).encode(metric.encode_family(labels)?)
    })?;
    let name = format!("{PREFIX}_upstream_address_informational_dropped");
    let help = "Informational responses (1xx) of an upstream's address that were not sent to clients.";
    let mut metric = encoder.encode_descriptor(&name, help, None, MetricType::Counter)?;
    all.iter().try_for_each(|(labels, status)| {
        ConstCounter::new(status.informational_dropped).encode(metric.encode_family(labels)?)
    })
}

/// A gauge without labels.
fn single(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    unit: Option<&Unit>,
    value: u64,
) -> Result<(), fmt::Error> {
    let name = format!("{PREFIX}_{name}");
    let metric = encoder.encode_descriptor(&name, &format!("{help}."), unit, MetricType::Gauge)?;
    ConstGauge::new(value).encode(metric)
}

/// A family of gauges. `write` is called with a function that writes one of them.
fn family<L: EncodeLabelSet>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    unit: Option<&Unit>,
    write: impl FnOnce(&mut dyn FnMut(&L, u64) -> Result<(), fmt::Error>) -> Result<(), fmt::Error>,
) -> Result<(), fmt::Error> {
    let name = format!("{PREFIX}_{name}");
    let mut metric = encoder.encode_descriptor(&name, &format!("{help}."), unit, MetricType::Gauge)?;
    write(&mut |labels, value| ConstGauge::new(value).encode(metric.encode_family(labels)?))
}

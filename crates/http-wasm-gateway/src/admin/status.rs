//! `/status`: the current state, as JSON.

use std::collections::BTreeMap;
use std::time::SystemTime;

use http_wasm_tower::Guest;
use serde::Serialize;

use crate::guests::LoadedGuest;
use crate::listener::ListenerStatus;
use crate::observe::{
    Configured, ConfiguredGuest, ConfiguredRoute, GuestCounts, Monitor, RecentError, ReloadError,
    RouteCounts, UpstreamCounts, resident_memory,
};
use crate::proxy::{AddressStatus, Proxy};
use crate::stage::Stage;
use crate::time::rfc3339;

/// The gateway's status. Times of day are RFC 3339 in UTC, durations in seconds, sizes in bytes.
#[derive(Debug, Serialize)]
pub(super) struct Status {
    version: &'static str,
    stage: Stage,
    #[serde(serialize_with = "rfc3339")]
    now: SystemTime,
    #[serde(serialize_with = "rfc3339")]
    started: SystemTime,
    process_memory_bytes: Option<u64>,
    requests_in_flight: i64,
    configuration: Option<Configuration>,
    reloads: BTreeMap<&'static str, u64>,
    /// Why the last reload failed, if it did.
    reload_error: Option<ReloadError>,
    listeners: Vec<ListenerStatus>,
    guests_memory: Option<Memory>,
    bodies_memory: Option<Bodies>,
    guests: Vec<GuestStatus>,
    routes: Vec<RouteStatus>,
    /// Requests that matched no route, or were rejected before one was found.
    no_route: RouteCounts,
    upstreams: Vec<UpstreamStatus>,
    /// Newest first.
    errors: Vec<RecentError>,
}

#[derive(Debug, Serialize)]
struct Configuration {
    sha256: String,
    #[serde(serialize_with = "rfc3339")]
    since: SystemTime,
    /// Settings that have changed and take effect only after a restart.
    at_next_start: Vec<&'static str>,
}

#[derive(Debug, Serialize)]
struct Memory {
    used_bytes: usize,
    budget_bytes: usize,
}

/// Bodies that are held on behalf of requests.
#[derive(Debug, Serialize)]
struct Bodies {
    used_bytes: usize,
    budget_bytes: usize,
    /// Requests that found no room.
    refused: u64,
    /// Requests that were evicted in favour of others.
    evicted: u64,
}

#[derive(Debug, Serialize)]
struct GuestStatus {
    name: String,
    up: bool,
    optional: bool,
    facts: Option<Facts>,
    pool: Option<Pool>,
    #[serde(flatten)]
    counts: GuestCounts,
}

/// Statistics of a guest since it was loaded.
#[derive(Debug, Serialize)]
struct Facts {
    /// SHA-256 of its file.
    sha256: String,
    #[serde(serialize_with = "rfc3339")]
    since: SystemTime,
    features: Vec<&'static str>,
    compile_seconds: f64,
    start_seconds: f64,
    /// Memory of an instance after its start-up.
    memory_bytes: usize,
    snapshot: bool,
}

#[derive(Debug, Serialize)]
struct Pool {
    live: u64,
    idle: u64,
    created: u64,
    memory_bytes: u64,
}

#[derive(Debug, Serialize)]
struct RouteStatus {
    #[serde(flatten)]
    route: ConfiguredRoute,
    #[serde(flatten)]
    counts: RouteCounts,
}

#[derive(Debug, Serialize)]
struct UpstreamStatus {
    name: String,
    addresses: Vec<AddressStatus>,
    #[serde(flatten)]
    counts: UpstreamCounts,
}

impl Status {
    pub(super) fn of(monitor: &Monitor) -> Self {
        let configured = monitor.active.configured();
        let configured = configured.as_deref();
        let metrics = &monitor.metrics;
        Self {
            version: env!("CARGO_PKG_VERSION"),
            stage: monitor.active.stage(),
            now: SystemTime::now(),
            started: monitor.started,
            process_memory_bytes: resident_memory(),
            requests_in_flight: metrics.requests_in_flight(),
            configuration: configured.map(Configuration::of),
            reloads: metrics.reloads(),
            reload_error: monitor.reload_error(),
            listeners: monitor.listeners(),
            guests_memory: configured.map(Memory::of),
            bodies_memory: configured.map(Bodies::of),
            guests: each(configured, |all| &all.guests, |guest| GuestStatus::of(guest, monitor)),
            routes: each(
                configured,
                |all| &all.routes,
                |route| RouteStatus { route: route.clone(), counts: metrics.of_route(&route.name) },
            ),
            no_route: metrics.of_route("none"),
            upstreams: each(configured, |all| &all.upstreams, |proxy| UpstreamStatus::of(proxy, monitor)),
            errors: monitor.recent.newest_first(),
        }
    }
}

fn each<'a, T: 'a, S>(
    configured: Option<&'a Configured>,
    list: impl FnOnce(&'a Configured) -> &'a [T],
    status: impl FnMut(&'a T) -> S,
) -> Vec<S> {
    configured.map_or(&[][..], list).iter().map(status).collect()
}

impl Configuration {
    fn of(configured: &Configured) -> Self {
        Self {
            sha256: configured.sha256.clone(),
            since: configured.since,
            at_next_start: configured.at_next_start.clone(),
        }
    }
}

impl Memory {
    fn of(configured: &Configured) -> Self {
        Self { used_bytes: configured.engine.memory_in_use(), budget_bytes: configured.memory_budget }
    }
}

impl Bodies {
    fn of(configured: &Configured) -> Self {
        let memory = configured.engine.body_budget().memory();
        Self {
            used_bytes: memory.held,
            budget_bytes: memory.limit,
            refused: memory.refused,
            evicted: memory.evicted,
        }
    }
}

impl GuestStatus {
    fn of(guest: &ConfiguredGuest, monitor: &Monitor) -> Self {
        Self {
            name: guest.name.to_string(),
            up: guest.loaded.is_some(),
            optional: guest.optional,
            facts: guest.loaded.as_ref().map(Facts::of),
            pool: guest.loaded.as_ref().map(|loaded| Pool::of(&loaded.guest)),
            counts: monitor.metrics.of_guest(&guest.name),
        }
    }
}

impl Facts {
    fn of(loaded: &LoadedGuest) -> Self {
        let facts = loaded.guest.facts();
        Self {
            sha256: loaded.sha256.clone(),
            since: loaded.since,
            features: facts.features.names().collect(),
            compile_seconds: facts.compile_time.as_secs_f64(),
            start_seconds: facts.start_time.as_secs_f64(),
            memory_bytes: facts.memory_bytes,
            snapshot: facts.snapshot.is_some(),
        }
    }
}

impl Pool {
    fn of(guest: &Guest) -> Self {
        let stats = guest.stats();
        Self { live: stats.live, idle: stats.idle, created: stats.created, memory_bytes: stats.memory_bytes }
    }
}

impl UpstreamStatus {
    fn of(proxy: &std::sync::Arc<Proxy>, monitor: &Monitor) -> Self {
        Self {
            name: proxy.name().to_string(),
            addresses: proxy.addresses().collect(),
            counts: monitor.metrics.of_upstream(proxy.name()),
        }
    }
}

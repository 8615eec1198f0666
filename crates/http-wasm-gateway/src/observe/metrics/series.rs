//! The labelled series. They are kept while the names in them are used, and a while longer, so that the last counts can
//! be scraped.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::{Registry, Unit};

use super::families::Families;
use super::labels::{
    self, CODES, FieldDropped, RouteCode, RouteLabel, UpstreamCode, UpstreamFailed, UpstreamLabel,
};
use super::latency::Latency;
use super::register::{register, register_with_unit};
use crate::exchange::{Dropped, FinishedRequest, UpstreamAttempt, UpstreamFailure};

/// How long series are kept after their name was last used. Prometheus itself considers a value current for this long.
pub(super) const KEPT: Duration = Duration::from_secs(5 * 60);

/// All series that name guests, routes or upstreams.
#[derive(Debug)]
pub(super) struct Series {
    pub(super) requests: Family<RouteCode, Counter>,
    pub(super) durations: Family<RouteCode, Latency, fn() -> Latency>,
    pub(super) response_bytes: Family<RouteLabel, Counter>,
    pub(super) incomplete: Family<RouteLabel, Counter>,
    fields_dropped: Family<FieldDropped, Counter>,
    pub(super) guests: Families,
    pub(super) upstream_requests: Family<UpstreamCode, Counter>,
    pub(super) upstream_failures: Family<UpstreamFailed, Counter>,
    pub(super) upstream_durations: Family<UpstreamLabel, Latency, fn() -> Latency>,
    uses: Mutex<HashMap<Name, NameUsers>>,
}

/// The users of a name.
#[derive(Debug, Default)]
struct NameUsers {
    users: usize,
    /// When the last user disappeared.
    unused: Option<Instant>,
}

/// The subject of a series.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Name {
    Guest(Arc<str>),
    Route(Arc<str>),
    Upstream(Arc<str>),
}

/// Names that are in use until this is dropped.
#[derive(Debug)]
pub(crate) struct Names {
    series: Arc<Series>,
    names: Vec<Name>,
}

impl Names {
    pub(super) fn used(series: &Arc<Series>, names: impl IntoIterator<Item = Name>) -> Self {
        // This also removes series if the metrics are never scraped.
        series.forget(Instant::now());
        let names: Vec<_> = names.into_iter().collect();
        let mut uses = series.uses();
        for name in &names {
            let uses = uses.entry(name.clone()).or_default();
            (uses.users, uses.unused) = (uses.users + 1, None);
        }
        drop(uses);
        Self { series: series.clone(), names }
    }
}

impl Drop for Names {
    fn drop(&mut self) {
        let mut all = self.series.uses();
        for name in &self.names {
            if let Some(uses) = all.get_mut(name) {
                uses.users -= 1;
                uses.unused = (uses.users == 0).then(Instant::now);
            }
        }
    }
}

impl Series {
    pub(super) fn register(to: &mut Registry) -> Self {
        let requests: fn() -> Latency = Latency::of_requests;
        Self {
            requests: register(
                to,
                "requests",
                "Completed requests, by route and status class",
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
                "Bytes of response bodies passed to client connections",
                Unit::Bytes,
                Family::default(),
            ),
            incomplete: register(
                to,
                "responses_incomplete",
                "Responses whose body did not complete: the client disconnected, or the body ended \
                 prematurely",
                Family::default(),
            ),
            fields_dropped: register(
                to,
                "request_fields_dropped",
                "Dropped request header fields: untrusted claims about the client, and names with an \
                 underscore",
                Family::default(),
            ),
            guests: Families::register(to),
            upstream_requests: register(
                to,
                "upstream_requests",
                "Requests that an upstream responded to, by status class",
                Family::default(),
            ),
            upstream_failures: register(
                to,
                "upstream_failures",
                "Requests to an upstream that got no response, by kind",
                Family::default(),
            ),
            upstream_durations: register_with_unit(
                to,
                "upstream_duration",
                "Time from sending a request to the head of the upstream's response",
                Unit::Seconds,
                Family::new_with_constructor(requests),
            ),
            uses: Mutex::default(),
        }
    }

    pub(super) fn finished(&self, request: &FinishedRequest<'_>) {
        let route = labels::route(request.record.route());
        let labels = RouteCode { route: route.clone(), code: labels::code(request.record.status()) };
        self.requests.get_or_create(&labels).inc();
        self.durations.get_or_create(&labels).observe(request.duration);
        let labels = RouteLabel { route };
        self.response_bytes.get_or_create(&labels).inc_by(request.response_bytes);
        if !request.complete {
            self.incomplete.get_or_create(&labels).inc();
        }
        let Dropped { claims, underscores } = request.record.dropped;
        for (reason, count) in [("claim", claims), ("underscore", underscores)] {
            if count > 0 {
                self.fields_dropped.get_or_create(&FieldDropped { reason }).inc_by(count.into());
            }
        }
        for attempt in request.attempts {
            self.add_attempt(attempt);
        }
    }

    fn add_attempt(&self, attempt: &UpstreamAttempt) {
        let upstream = attempt.upstream.clone();
        match &attempt.result {
            Ok(status) => {
                let labels = UpstreamCode { upstream: upstream.clone(), code: labels::code(Some(*status)) };
                self.upstream_requests.get_or_create(&labels).inc();
                self.upstream_durations.get_or_create(&UpstreamLabel { upstream }).observe(attempt.took);
            }
            Err((failure, _)) => {
                self.upstream_failures
                    .get_or_create(&UpstreamFailed { upstream, kind: failure.name() })
                    .inc();
            }
        }
    }

    /// Removes the series whose names haven't been used for a while.
    pub(super) fn forget(&self, now: Instant) {
        // Locked until the series are removed, so that a new user of a name can't lose its series.
        self.uses().retain(|name, uses| {
            let stays = uses.unused.is_none_or(|since| now.saturating_duration_since(since) < KEPT);
            if !stays {
                self.remove(name);
            }
            stays
        });
    }

    fn remove(&self, name: &Name) {
        match name {
            Name::Guest(guest) => self.guests.remove(guest),
            Name::Route(route) => self.remove_route(route),
            Name::Upstream(upstream) => self.remove_upstream(upstream),
        }
    }

    fn remove_route(&self, route: &Arc<str>) {
        for code in CODES {
            let labels = RouteCode { route: route.clone(), code };
            self.requests.remove(&labels);
            self.durations.remove(&labels);
        }
        let labels = RouteLabel { route: route.clone() };
        self.response_bytes.remove(&labels);
        self.incomplete.remove(&labels);
    }

    fn remove_upstream(&self, upstream: &Arc<str>) {
        for code in CODES {
            self.upstream_requests.remove(&UpstreamCode { upstream: upstream.clone(), code });
        }
        for kind in UpstreamFailure::ALL.map(UpstreamFailure::name) {
            self.upstream_failures.remove(&UpstreamFailed { upstream: upstream.clone(), kind });
        }
        self.upstream_durations.remove(&UpstreamLabel { upstream: upstream.clone() });
    }

    fn uses(&self) -> MutexGuard<'_, HashMap<Name, NameUsers>> {
        self.uses.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

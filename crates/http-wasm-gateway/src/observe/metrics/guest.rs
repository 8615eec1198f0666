//! Metrics of a single guest.

use std::sync::Arc;
use std::time::Duration;

use http_wasm_tower::{Call, DropReason, Error, Observer, Phase};
use prometheus_client::metrics::counter::Counter;

use super::labels::{self, GuestCheckout, GuestDrop, GuestFailure, GuestLabel, GuestPhase};
use super::latency::Latency;
use super::series::{Name, Names, Series};
use crate::exchange::Culprit;
use crate::observe::recent::{ErrorSource, Recent};

/// The metrics of a guest. Series that every request updates are looked up once, here.
#[derive(Debug)]
pub(crate) struct GuestMetrics {
    guest: Arc<str>,
    request: PerPhase,
    response: PerPhase,
    hits: Counter,
    misses: Counter,
    starts: Latency,
    series: Arc<Series>,
    recent: Arc<Recent>,
    /// Keeps the guest's series while the guest can still do anything.
    _name: Names,
}

#[derive(Debug)]
struct PerPhase {
    took: Latency,
    replayed: Counter,
}

impl GuestMetrics {
    pub(super) fn new(guest: &str, series: &Arc<Series>, recent: Arc<Recent>) -> Self {
        let guest: Arc<str> = guest.into();
        // This comes before the first series, so that none is removed with those of another guest of the same name.
        let name = Names::used(series, [Name::Guest(guest.clone())]);
        let families = &series.guests;
        let phase = |phase| {
            let labels = GuestPhase { guest: guest.clone(), phase: labels::phase(Some(phase)) };
            PerPhase {
                took: families.calls.get_or_create_owned(&labels),
                replayed: families.replayed.get_or_create_owned(&labels),
            }
        };
        let checkout =
            |result| families.checkouts.get_or_create_owned(&GuestCheckout { guest: guest.clone(), result });
        Self {
            request: phase(Phase::Request),
            response: phase(Phase::Response),
            hits: checkout("hit"),
            misses: checkout("miss"),
            starts: families.starts.get_or_create_owned(&GuestLabel { guest: guest.clone() }),
            series: series.clone(),
            recent,
            guest,
            _name: name,
        }
    }

    fn failed(&self, error: &Error) {
        let (phase, kind) = (labels::phase(error.phase()), error.kind().name());
        self.series
            .guests
            .failures
            .get_or_create(&GuestFailure { guest: self.guest.clone(), phase, kind })
            .inc();
        // Clients break off requests all the time, which operators can't change.
        if Culprit::of(error.kind()) != Culprit::Client {
            self.recent.add(ErrorSource::Guest, &self.guest, kind, error);
        }
    }
}

impl Observer for GuestMetrics {
    fn checked_out(&self, _: &str, hit: bool) {
        if hit { &self.hits } else { &self.misses }.inc();
    }

    fn called(&self, _: &str, call: &Call<'_>) {
        let phase = match call.phase {
            Phase::Request => &self.request,
            Phase::Response => &self.response,
        };
        phase.took.observe(call.took);
        if call.replayed_bytes > 0 {
            phase.replayed.inc_by(call.replayed_bytes as u64);
        }
        if let Some(error) = call.error {
            self.failed(error);
        }
    }

    fn created(&self, _: &str, took: Duration, error: Option<&Error>) {
        self.starts.observe(took);
        if let Some(error) = error {
            self.failed(error);
        }
    }

    fn dropped(&self, _: &str, reason: DropReason) {
        let reason = labels::dropped(reason);
        self.series.guests.dropped.get_or_create(&GuestDrop { guest: self.guest.clone(), reason }).inc();
    }
}

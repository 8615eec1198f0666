//! The metrics of all guests.

use std::sync::Arc;

use http_wasm_tower::ErrorKind;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::{Registry, Unit};

use super::labels::{
    CHECKOUTS, DROPS, GuestCheckout, GuestDrop, GuestFailure, GuestLabel, GuestPhase, PHASES,
};
use super::latency::Latency;
use super::register::{register, register_with_unit};

pub(super) type CallLatency = Family<GuestPhase, Latency, fn() -> Latency>;
pub(super) type StartLatency = Family<GuestLabel, Latency, fn() -> Latency>;

/// The metrics of all guests.
#[derive(Debug)]
pub(super) struct Families {
    pub(super) calls: CallLatency,
    pub(super) replayed: Family<GuestPhase, Counter>,
    pub(super) failures: Family<GuestFailure, Counter>,
    pub(super) checkouts: Family<GuestCheckout, Counter>,
    pub(super) starts: StartLatency,
    pub(super) dropped: Family<GuestDrop, Counter>,
}

impl Families {
    pub(super) fn register(to: &mut Registry) -> Self {
        let calls: fn() -> Latency = Latency::of_calls;
        Self {
            calls: register_with_unit(
                to,
                "guest_call_duration",
                "Duration of a guest call, including waiting; phase is request or response",
                Unit::Seconds,
                Family::new_with_constructor(calls),
            ),
            replayed: register_with_unit(
                to,
                "guest_replayed",
                "Body bytes that a guest read and that are forwarded after it",
                Unit::Bytes,
                Family::default(),
            ),
            failures: register(
                to,
                "guest_failures",
                "Failed calls and start-ups of a guest, by kind",
                Family::default(),
            ),
            checkouts: register(
                to,
                "guest_checkouts",
                "Instances checked out for requests: hit if one was idle in the pool, miss if one had to be \
                 created",
                Family::default(),
            ),
            starts: register_with_unit(
                to,
                "guest_instance_start",
                "Time to create an instance, including start-up",
                Unit::Seconds,
                Family::new_with_constructor(calls),
            ),
            dropped: register(
                to,
                "guest_instances_dropped",
                "Dropped instances, by reason",
                Family::default(),
            ),
        }
    }

    pub(super) fn remove(&self, guest: &Arc<str>) {
        for phase in PHASES {
            let labels = GuestPhase { guest: guest.clone(), phase };
            self.calls.remove(&labels);
            self.replayed.remove(&labels);
            for kind in ErrorKind::NAMES {
                self.failures.remove(&GuestFailure { guest: guest.clone(), phase, kind });
            }
        }
        for result in CHECKOUTS {
            self.checkouts.remove(&GuestCheckout { guest: guest.clone(), result });
        }
        self.starts.remove(&GuestLabel { guest: guest.clone() });
        for reason in DROPS {
            self.dropped.remove(&GuestDrop { guest: guest.clone(), reason });
        }
    }
}

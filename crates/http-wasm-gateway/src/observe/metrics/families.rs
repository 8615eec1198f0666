//! The metrics of all guests.

use std::sync::Arc;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::{Registry, Unit};

use super::labels::{
    CHECKOUTS, DROPS, FAILURES, GuestCheckout, GuestDrop, GuestFailure, GuestPhase, OfGuest, PHASES,
};
use super::latency::Latency;
use super::register::{register, register_with_unit};

pub(super) type CallLatency = Family<GuestPhase, Latency, fn() -> Latency>;
pub(super) type StartLatency = Family<OfGuest, Latency, fn() -> Latency>;

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
        }
    }

    pub(super) fn remove(&self, guest: &Arc<str>) {
        for phase in PHASES {
            let labels = GuestPhase { guest: guest.clone(), phase };
            self.calls.remove(&labels);
            self.replayed.remove(&labels);
            for kind in FAILURES {
                self.failures.remove(&GuestFailure { guest: guest.clone(), phase, kind });
            }
        }
        for result in CHECKOUTS {
            self.checkouts.remove(&GuestCheckout { guest: guest.clone(), result });
        }
        self.starts.remove(&OfGuest { guest: guest.clone() });
        for reason in DROPS {
            self.dropped.remove(&GuestDrop { guest: guest.clone(), reason });
        }
    }
}

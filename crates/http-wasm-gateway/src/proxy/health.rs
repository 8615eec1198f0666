//! The health of an address, according to the requests sent to it and active health checks.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::config::{ActiveHealth, PassiveHealth};

/// The maximum number of times that the ejection time is doubled while an address keeps failing.
const MAX_DOUBLINGS: u32 = 5;

/// The health of one address.
#[derive(Debug)]
pub(super) struct Health {
    passive: PassiveHealth,
    state: Mutex<State>,
    /// If this is set, the address is healthy, and there are no failures that a success would clear. Requests then
    /// don't take the lock.
    is_sound: AtomicBool,
}

/// The state of an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Condition {
    Healthy,
    /// It has failed too often, and is ejected for this long.
    Out(Duration),
    /// The active health check reports it as unhealthy.
    Unhealthy,
}

#[derive(Debug, Default)]
struct State {
    /// Total number of failed requests.
    all_failures: u64,
    /// Consecutive failed requests.
    failures: u32,
    /// How often it has been ejected since a request last succeeded.
    times_out: u32,
    /// When the ejection ends.
    out_until: Option<Instant>,
    /// Whether the active health check reports it as unhealthy.
    is_down: bool,
    /// Consecutive results that contradict the current state.
    contrary: u32,
}

impl Health {
    pub(super) fn new(passive: &PassiveHealth) -> Self {
        Self { passive: passive.clone(), state: Mutex::default(), is_sound: AtomicBool::new(true) }
    }

    /// Whether it receives requests.
    pub(super) fn is_up(&self) -> bool {
        self.is_sound.load(Ordering::Relaxed) || self.condition() == Condition::Healthy
    }

    /// The current state, with the reason why it doesn't receive requests.
    pub(super) fn condition(&self) -> Condition {
        let state = self.state();
        match state.out_until {
            _ if state.is_down => Condition::Unhealthy,
            None => Condition::Healthy,
            Some(until) => match until.saturating_duration_since(Instant::now()) {
                Duration::ZERO => Condition::Healthy,
                left => Condition::Out(left),
            },
        }
    }

    /// Total number of failed requests.
    pub(super) fn all_failures(&self) -> u64 {
        self.state().all_failures
    }

    /// Records that a request got a response.
    pub(super) fn succeeded(&self) {
        if self.is_sound.load(Ordering::Relaxed) {
            return;
        }
        let mut state = self.state();
        (state.failures, state.times_out, state.out_until) = (0, 0, None);
        self.is_sound.store(!state.is_down, Ordering::Relaxed);
    }

    /// Records that a request failed or timed out. Returns the ejection time if this ejects the address.
    pub(super) fn failed(&self) -> Option<Duration> {
        let mut state = self.state();
        self.is_sound.store(false, Ordering::Relaxed);
        let now = Instant::now();
        state.failures += 1;
        state.all_failures += 1;
        // Requests that started before the ejection provide no new information.
        if state.failures < self.passive.failures.get() || state.out_until.is_some_and(|until| until > now) {
            return None;
        }
        // The first failure after an ejection ejects the address again, because no request has succeeded in between.
        state.failures = self.passive.failures.get() - 1;
        let out = self.passive.retry_after.0.saturating_mul(1 << state.times_out.min(MAX_DOUBLINGS));
        state.times_out += 1;
        state.out_until = Some(now + out);
        Some(out)
    }

    /// Records the result of an active health check. Returns whether the health changed.
    pub(super) fn answered(&self, healthy: bool, asked: &ActiveHealth) -> bool {
        let mut state = self.state();
        if healthy != state.is_down {
            state.contrary = 0;
            return false;
        }
        state.contrary += 1;
        let needed = if healthy { asked.healthy_after } else { asked.unhealthy_after };
        let changed = state.contrary >= needed.get();
        if changed {
            state.is_down = !healthy;
            // If it is up again, the next response sets this.
            self.is_sound.store(false, Ordering::Relaxed);
            state.contrary = 0;
        }
        changed
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Health, MAX_DOUBLINGS};
    use crate::config::{ActiveHealth, PassiveHealth, Time};

    fn health() -> Health {
        Health::new(&PassiveHealth { failures: 2.try_into().unwrap(), retry_after: Time::seconds(10) })
    }

    #[tokio::test(start_paused = true)]
    async fn consecutive_failures_eject_an_address_for_a_growing_time() {
        let health = health();
        assert_eq!(health.failed(), None);
        health.succeeded();
        assert_eq!(health.failed(), None, "one success in between restarts the count");
        assert!(health.is_up());
        let mut expected = Duration::from_secs(10);
        for round in 0..=MAX_DOUBLINGS + 1 {
            let out = health.failed().expect("it is taken out");
            assert_eq!(out, expected, "round {round}");
            assert!(!health.is_up());
            assert_eq!(health.failed(), None, "it is out already");
            tokio::time::advance(out).await;
            assert!(health.is_up());
            if round < MAX_DOUBLINGS {
                expected *= 2;
            }
        }
        health.succeeded();
        assert_eq!(health.failed(), None, "it has to fail as often as at first");
        assert_eq!(health.failed(), Some(Duration::from_secs(10)));
    }

    #[test]
    fn consecutive_health_checks_make_an_address_unhealthy_and_healthy() {
        let asked = ActiveHealth {
            healthy_after: 2.try_into().unwrap(),
            unhealthy_after: 3.try_into().unwrap(),
            ..ActiveHealth::default()
        };
        let health = health();
        let answer_all = |answers: &[bool]| {
            answers.iter().map(|&healthy| health.answered(healthy, &asked)).collect::<Vec<_>>()
        };
        assert_eq!(
            answer_all(&[false, false, true, false, false, false]),
            [false, false, false, false, false, true]
        );
        assert!(!health.is_up());
        assert_eq!(answer_all(&[true, false, true, true]), [false, false, false, true]);
        assert!(health.is_up());
    }
}

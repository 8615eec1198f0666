//! Back-off for a guest that keeps failing to start.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Consecutive failures before requests are rejected. Fewer may be bad luck, which only affects single requests.
const FREE: u32 = 3;

const FIRST: Duration = Duration::from_millis(100);

const LONGEST: Duration = Duration::from_secs(30);

/// After repeated failures to create an instance, allows one attempt at a time, at increasing intervals.
#[derive(Debug, Default)]
pub(crate) struct Backoff(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    failures: u32,
    /// The attempt in progress.
    probe: Option<u64>,
    next_probe: u64,
    until: Option<Instant>,
}

/// Permission to create an instance. If it is dropped without a result, for example by a cancelled request, it doesn't
/// count as an attempt.
#[derive(Debug)]
pub(crate) struct Attempt<'a> {
    backoff: &'a Backoff,
    /// Set for an attempt that is allowed while others are rejected. Attempts that began before the failures don't have
    /// it.
    probe: Option<u64>,
}

impl Backoff {
    /// Returns permission to try, or how long to wait before asking again.
    pub(crate) fn attempt(&self) -> Result<Attempt<'_>, Duration> {
        let mut state = self.lock();
        if state.failures >= FREE {
            let now = Instant::now();
            let wait = state.until.map_or(Duration::ZERO, |until| until.saturating_duration_since(now));
            if !wait.is_zero() || state.probe.is_some() {
                return Err(wait.max(FIRST));
            }
            state.next_probe += 1;
            state.probe = Some(state.next_probe);
            return Ok(Attempt { backoff: self, probe: state.probe });
        }
        Ok(Attempt { backoff: self, probe: None })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Attempt<'_> {
    pub(crate) fn succeeded(self) {
        let mut state = self.backoff.lock();
        (state.failures, state.until) = (0, None);
    }

    pub(crate) fn failed(self) {
        let mut state = self.backoff.lock();
        state.failures = state.failures.saturating_add(1);
        let doublings = state.failures.saturating_sub(FREE).min(16);
        state.until = Some(Instant::now() + FIRST.saturating_mul(1 << doublings).min(LONGEST));
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        let mut state = self.backoff.lock();
        if self.probe.is_some() && state.probe == self.probe {
            state.probe = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_are_admitted_up_to_the_failure_threshold() {
        let backoff = Backoff::default();
        for _ in 0..FREE {
            backoff.attempt().expect("leave to try").failed();
        }
        let until = backoff.lock().until.expect("a pause");
        match backoff.attempt() {
            Err(wait) => assert!(wait > Duration::ZERO && wait <= FIRST, "{wait:?}"),
            Ok(_) => assert!(Instant::now() >= until, "leave before the pause is over"),
        }
    }

    #[test]
    fn after_the_pause_one_attempt_is_admitted_at_a_time() {
        let backoff = Backoff::default();
        backoff.lock().failures = FREE;
        let probe = backoff.attempt().expect("leave to try");
        assert!(backoff.attempt().is_err());
        drop(probe);
        backoff.attempt().expect("leave to try, as the other was cancelled").succeeded();
        assert!(backoff.attempt().is_ok() && backoff.attempt().is_ok());
    }

    #[test]
    fn attempts_from_before_the_failures_do_not_admit_a_second_probe() {
        let backoff = Backoff::default();
        let earlier = [(); 3].map(|()| backoff.attempt().expect("leave to try"));
        backoff.lock().failures = FREE;
        let probe = backoff.attempt().expect("leave to try");
        let [cancelled, failed, succeeded] = earlier;
        drop(cancelled);
        assert!(backoff.attempt().is_err());
        failed.failed();
        backoff.lock().until = None;
        assert!(backoff.attempt().is_err());
        succeeded.succeeded();
        assert!(backoff.attempt().is_ok());
        backoff.lock().failures = FREE;
        assert!(backoff.attempt().is_err(), "the first is still on its way");
        drop(probe);
        assert!(backoff.attempt().is_ok());
    }

    #[test]
    fn the_pause_doubles_up_to_its_maximum() {
        let backoff = Backoff::default();
        let mut waits = Vec::new();
        for _ in 0..40 {
            backoff.lock().until = None;
            let before = Instant::now();
            backoff.attempt().expect("leave to try").failed();
            let until = backoff.lock().until.expect("a pause");
            // The minimum and maximum length of the pause, which began somewhere in between.
            waits.push(until - Instant::now()..=until - before);
        }
        assert!(waits[FREE as usize].contains(&(FIRST * 2)), "{waits:?}");
        assert!(waits.iter().all(|wait| *wait.start() <= LONGEST), "{waits:?}");
        assert!(waits[39].contains(&LONGEST), "{waits:?}");
        let wait = backoff.attempt().expect_err("no leave");
        assert!(wait > LONGEST - Duration::from_secs(5) && wait <= LONGEST, "{wait:?}");
    }
}

//! A rate limit.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

const SECOND: u64 = 1_000_000_000;

/// A limit per second that allows bursts of one second's worth: a token bucket, stored as the time at which it is full
/// again.
#[derive(Debug)]
pub(super) struct Rate {
    per_second: u32,
    /// The cost of one event, in nanoseconds. Times are in nanoseconds since `start`.
    cost: u64,
    start: Instant,
    full_at: AtomicU64,
}

impl Rate {
    /// With 0, nothing is admitted.
    pub(super) fn new(per_second: u32) -> Self {
        let cost = SECOND.checked_div(per_second.into()).unwrap_or(SECOND + 1);
        Self { per_second, cost, start: Instant::now(), full_at: AtomicU64::new(0) }
    }

    pub(super) fn per_second(&self) -> u32 {
        self.per_second
    }

    /// Takes one token, if there is one left.
    pub(super) fn admits(&self) -> bool {
        self.admits_at(u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX - 2 * SECOND))
    }

    fn admits_at(&self, now: u64) -> bool {
        let take = |full_at: u64| {
            let full_at = full_at.max(now) + self.cost;
            (full_at - now <= SECOND).then_some(full_at)
        };
        self.full_at.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admitted(rate: &Rate, now: u64, asked: usize) -> usize {
        (0..asked).filter(|_| rate.admits_at(now)).count()
    }

    #[test]
    fn a_burst_of_one_second_is_admitted_and_then_the_rate() {
        let rate = Rate::new(1000);
        assert_eq!(admitted(&rate, 0, 5000), 1000);
        assert_eq!(admitted(&rate, SECOND / 10, 5000), 100);
        assert_eq!(admitted(&rate, SECOND / 10, 5000), 0);
        assert_eq!(admitted(&rate, SECOND / 5, 50), 50);
        assert_eq!(admitted(&rate, 100 * SECOND, 5000), 1000, "silence saves no more than a second's worth");
    }

    #[test]
    fn the_long_run_average_does_not_exceed_the_rate() {
        let rate = Rate::new(3);
        let all: usize = (0..1000).map(|tenth| admitted(&rate, tenth * SECOND / 10, 100)).sum();
        assert!((300..=303).contains(&all), "{all}");
    }

    #[test]
    fn a_rate_of_zero_admits_nothing_and_the_maximum_rate_everything() {
        assert_eq!(admitted(&Rate::new(0), 5 * SECOND, 10), 0);
        assert_eq!(admitted(&Rate::new(u32::MAX), 5, 10_000), 10_000);
    }
}

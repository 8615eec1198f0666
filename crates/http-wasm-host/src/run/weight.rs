//! Measures how long a guest's calls compute.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use crate::engine::Engine;

/// A guest whose calls usually compute for at least this long is heavy.
const HEAVY: Duration = Duration::from_millis(1);

/// A heavy guest whose calls usually compute for less than this is no longer heavy. In between, nothing changes.
const LIGHT: Duration = Duration::from_micros(500);

/// The number of recent calls whose median is taken.
const SAMPLES: usize = 16;

/// The median is updated after this many further calls.
const INTERVAL: u32 = 8;

/// If a guest is known not to be heavy, an instance measures one in this many calls.
const SPARSE: u32 = 16;

/// How many medians a call may compute for before another call gets its turn.
const SLICE: u32 = 3;

const SHORTEST_SLICE: Duration = Duration::from_millis(6);
const LONGEST_SLICE: Duration = Duration::from_millis(100);

/// How long the calls of one of a guest's two functions compute. Threads share it without a lock; a few lost samples
/// don't matter.
#[derive(Debug, Default)]
pub(crate) struct Weight {
    /// In microseconds.
    samples: [AtomicU32; SAMPLES],
    count: AtomicU32,
    is_heavy: AtomicBool,
    /// In ticks.
    slice: AtomicU64,
}

impl Weight {
    /// Whether calls usually compute for so long that it pays to limit how many do so at once.
    #[inline]
    pub(crate) fn is_heavy(&self) -> bool {
        self.is_heavy.load(Ordering::Relaxed)
    }

    /// How many ticks a call may compute for while others wait.
    pub(crate) fn slice(&self) -> u64 {
        self.slice.load(Ordering::Relaxed)
    }

    /// Whether an instance measures the call with this number.
    pub(crate) fn measures(&self, call: u32) -> bool {
        self.is_heavy() || self.count.load(Ordering::Relaxed) < SAMPLES as u32 || call.is_multiple_of(SPARSE)
    }

    /// Adds a call that has computed for this long.
    pub(crate) fn add(&self, computed: Duration, engine: &Engine) {
        let micros = u32::try_from(computed.as_micros()).unwrap_or(u32::MAX);
        let count = self.count.fetch_add(1, Ordering::Relaxed);
        self.samples[count as usize % SAMPLES].store(micros, Ordering::Relaxed);
        if (count + 1).is_multiple_of(INTERVAL) {
            self.judge((count as usize + 1).min(SAMPLES), engine);
        }
        // Keeps the counter from wrapping around.
        if count >= u32::MAX / 2 {
            self.count.store(SAMPLES as u32, Ordering::Relaxed);
        }
    }

    fn judge(&self, samples: usize, engine: &Engine) {
        let mut samples: Vec<_> = self.samples[..samples].iter().map(|s| s.load(Ordering::Relaxed)).collect();
        samples.sort_unstable();
        let median = Duration::from_micros(samples[samples.len() / 2].into());
        let slice = median.saturating_mul(SLICE).clamp(SHORTEST_SLICE, LONGEST_SLICE);
        self.slice.store(engine.in_ticks(slice).ticks, Ordering::Relaxed);
        if median >= HEAVY {
            self.is_heavy.store(true, Ordering::Relaxed);
        } else if median < LIGHT {
            self.is_heavy.store(false, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_is_heavy_while_most_of_its_recent_calls_are_slow() {
        let (weight, engine) = (Weight::default(), Engine::builder().slots(0).build().unwrap());
        let calls = |count: usize, micros: u64| {
            (0..count).for_each(|_| weight.add(Duration::from_micros(micros), &engine));
            weight.is_heavy()
        };
        assert!(!calls(7, 3_000), "too few to tell");
        assert!(calls(1, 3_000));
        assert_eq!(weight.slice(), engine.in_ticks(Duration::from_millis(9)).ticks);
        assert!(calls(7, 10), "most were long");
        assert!(calls(25, 700), "neither heavy nor light");
        assert!(!calls(16, 10));
        assert!(!calls(7, 1_000_000), "most are short");
    }

    #[test]
    fn only_a_sample_of_the_calls_of_a_light_guest_is_measured() {
        let (weight, engine) = (Weight::default(), Engine::builder().slots(0).build().unwrap());
        let measured = || (1..=160).filter(|call| weight.measures(*call)).count();
        assert_eq!(measured(), 160, "nothing is known");
        (0..SAMPLES).for_each(|_| weight.add(Duration::from_micros(10), &engine));
        assert_eq!(measured(), 10);
        (0..SAMPLES).for_each(|_| weight.add(HEAVY, &engine));
        assert_eq!(measured(), 160);
    }
}

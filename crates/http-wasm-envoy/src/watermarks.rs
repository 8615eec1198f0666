//! Back-pressure between Envoy and guests that stream a response.

use std::cell::Cell;

/// Whether the client keeps up, and Envoy's buffer limit.
///
/// Envoy calls the watermark hooks within other calls, when the stream may have borrowed its other state.
#[derive(Default)]
pub(crate) struct Watermarks {
    /// The number of buffers above their high watermark: Envoy's on the way to the client, and the one below.
    above: Cell<u32>,
    /// Whether this filter has left bytes in Envoy's buffer, above its limit.
    holds: Cell<bool>,
    /// Envoy's own limit.
    limit: Cell<Option<u64>>,
}

/// How Envoy reads a response that guests may stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pace {
    /// As fast as the client reads.
    Runs,
    /// Not at all until what this filter has left in Envoy's buffer is taken out.
    Stops,
    /// Like any other response.
    Normal,
}

/// Larger than any piece of a body.
const OUT_OF_REACH: u64 = 1 << 30;

impl Watermarks {
    /// Records that a buffer has exceeded its high watermark.
    pub(crate) fn rise(&self) {
        self.above.set(self.above.get().saturating_add(1));
    }

    /// Records that a buffer has been drained to its low watermark.
    pub(crate) fn fall(&self) {
        self.above.set(self.above.get().saturating_sub(1));
    }

    /// Whether the client is slower than what is sent to it.
    pub(crate) fn is_full(&self) -> bool {
        self.above.get() > u32::from(self.holds.get())
    }

    /// The buffer limit for `pace`; `current` is Envoy's.
    pub(super) fn limit_for(&self, pace: Pace, current: impl FnOnce() -> u64) -> u64 {
        let own = self.limit.get().unwrap_or_else(current);
        self.limit.set(Some(own));
        self.holds.set(pace == Pace::Stops);
        match pace {
            Pace::Runs => own.max(OUT_OF_REACH),
            Pace::Stops => 1,
            Pace::Normal => own,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_filter_itself_holds_does_not_count_as_a_slow_client() {
        let watermarks = Watermarks::default();
        assert_eq!(watermarks.limit_for(Pace::Runs, || 1000), OUT_OF_REACH);
        assert_eq!(watermarks.limit_for(Pace::Stops, || unreachable!()), 1);
        watermarks.rise();
        assert!(!watermarks.is_full());
        watermarks.rise();
        assert!(watermarks.is_full(), "the client is slow too");
        watermarks.fall();
        watermarks.fall();
        assert_eq!(watermarks.limit_for(Pace::Normal, || unreachable!()), 1000);
        watermarks.fall();
        watermarks.rise();
        assert!(watermarks.is_full());
    }
}

//! Back-pressure between Envoy and guests that stream.

use std::cell::Cell;

use http_wasm_host::BodyKind;

/// Whether the client keeps up, and Envoy's buffer limit.
///
/// Envoy calls the watermark hooks within other calls, when the stream may have borrowed its other state.
#[derive(Default)]
pub(crate) struct Watermarks {
    /// The number of buffers above their high watermark: Envoy's on the way to the client, and the one below.
    above: Cell<u32>,
    /// The pace of the request and that of the response.
    paces: [Cell<Pace>; 2],
    /// Envoy's own limit.
    limit: Cell<Option<u64>>,
}

/// How Envoy reads a message that guests may stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Pace {
    /// Like any other message.
    #[default]
    Normal,
    /// As fast as the receiver reads.
    Runs,
    /// Not at all until what this filter has left in Envoy's buffer is taken out. Others keep this many bytes there.
    Stops(usize),
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
        let holds = matches!(self.paces[BodyKind::Response as usize].get(), Pace::Stops(_));
        self.above.get() > u32::from(holds)
    }

    /// The buffer limit, which both directions share, when `kind` has this pace; `current` is Envoy's.
    pub(super) fn limit_for(&self, kind: BodyKind, pace: Pace, current: impl FnOnce() -> u64) -> u64 {
        let own = self.limit.get().unwrap_or_else(current);
        self.limit.set(Some(own));
        self.paces[kind as usize].set(pace);
        // Nothing is sent in one direction while this filter stops the other.
        match self.paces.iter().map(Cell::get).max().unwrap_or_default() {
            Pace::Runs => own.max(OUT_OF_REACH),
            Pace::Stops(others) => others as u64 + 1,
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
        let limit_for = |pace| watermarks.limit_for(BodyKind::Response, pace, || 1000);
        assert_eq!(limit_for(Pace::Runs), OUT_OF_REACH);
        assert_eq!(limit_for(Pace::Stops(0)), 1);
        watermarks.rise();
        assert!(!watermarks.is_full());
        watermarks.rise();
        assert!(watermarks.is_full(), "the client is slow too");
        watermarks.fall();
        watermarks.fall();
        assert_eq!(limit_for(Pace::Normal), 1000);
        watermarks.fall();
        watermarks.rise();
        assert!(watermarks.is_full());
    }

    #[test]
    fn a_request_that_stops_is_not_a_slow_client() {
        let watermarks = Watermarks::default();
        let limit_for = |kind, pace| watermarks.limit_for(kind, pace, || 1000);
        assert_eq!(limit_for(BodyKind::Request, Pace::Stops(0)), 1);
        assert_eq!(limit_for(BodyKind::Response, Pace::Runs), 1);
        watermarks.rise();
        assert!(watermarks.is_full());
        assert_eq!(limit_for(BodyKind::Request, Pace::Normal), OUT_OF_REACH);
        assert_eq!(limit_for(BodyKind::Response, Pace::Normal), 1000);
    }
}

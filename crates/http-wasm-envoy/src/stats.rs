//! Metrics in Envoy's statistics.
#![expect(unsafe_code, reason = "they are defined through Envoy's interface")]

use std::cell::RefCell;
use std::time::{Duration, Instant};

use crate::ffi::{Buf, ConfigPtr, callbacks};
use crate::filter::Filter;

/// The outcome of a guest's call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CallOutcome {
    /// The guest has passed the request on.
    Next,
    /// The guest has responded.
    Respond,
    /// The guest has handled the response.
    Handled,
    /// The guest has failed closed.
    Failed,
    /// The guest has failed open.
    FailedOpen,
}

impl CallOutcome {
    const ALL: [Self; 5] = [Self::Next, Self::Respond, Self::Handled, Self::Failed, Self::FailedOpen];

    /// Its name in metrics.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Next => "next",
            Self::Respond => "respond",
            Self::Handled => "handled",
            Self::Failed => "failed",
            Self::FailedOpen => "failed_open",
        }
    }
}

/// A filter's metrics. All filters share the same counter and histogram, with the filter's name as a label.
pub(crate) struct Stats {
    filter: String,
    calls: Option<usize>,
    duration: Option<usize>,
}

impl Stats {
    /// Defines the metrics. Envoy allows this only while it creates a filter's configuration.
    pub(crate) fn define(filter: &str, envoy: ConfigPtr) -> Self {
        let labels = ["filter", "guest", "outcome"].map(|label| Buf::of(label.as_bytes()));
        let (mut calls, mut duration) = (None, None);
        if let Some(functions) = callbacks() {
            let mut id = 0;
            let name = Buf::of(b"http_wasm_calls");
            // SAFETY: Envoy is making the configuration, and all pointers are valid for the call.
            let result = unsafe {
                (functions.http_filter_config_define_counter)(
                    envoy,
                    name,
                    labels.as_ptr(),
                    labels.len(),
                    &mut id,
                )
            };
            calls = (result == 0).then_some(id);
            if let Some(define) = functions.http_filter_config_define_histogram {
                let name = Buf::of(b"http_wasm_call_us");
                // SAFETY: as above.
                let result = unsafe { define(envoy, name, labels.as_ptr(), labels.len(), &mut id) };
                duration = (result == 0).then_some(id);
            }
        }
        Self { filter: filter.to_owned(), calls, duration }
    }

    /// The filter's name.
    pub(crate) fn filter(&self) -> &str {
        &self.filter
    }

    /// Records a guest's call that has ended.
    ///
    /// Envoy looks up a counter by its labels, which costs more than a guest's call. For this reason, calls are counted
    /// here and reported in batches, and only some of them are timed.
    pub(crate) fn record_call(&self, filter: &Filter, guest: &str, outcome: CallOutcome, started: Instant) {
        // All filters share one counter.
        let report = |labels: [&str; 3], calls| {
            if let Some(counter) = self.calls {
                filter.count(counter, labels, calls);
            }
        };
        COUNTS.with_borrow_mut(|counts| {
            let counts = counts.of(&self.filter, |mut old| old.report(started, report));
            let took = counts.add(guest, outcome).then(|| started.elapsed());
            if counts.is_due(started) {
                counts.report(started, report);
            }
            if let (Some(histogram), Some(took)) = (self.duration, took) {
                let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
                filter.record(histogram, [&*self.filter, guest, outcome.label()], micros);
            }
        });
    }
}

/// The calls of one filter's guests on this thread. They are kept when the filter gets a new configuration.
struct Counts {
    filter: String,
    guests: Vec<GuestCounts>,
    unreported: u64,
    /// When the next report is due, at the latest.
    next_report: Option<Instant>,
}

/// The calls of one guest.
struct GuestCounts {
    guest: String,
    /// By outcome.
    counts: [Count; CallOutcome::ALL.len()],
}

#[derive(Clone, Copy, Default)]
struct Count {
    calls: u64,
    /// How many of them have been reported.
    reported: u64,
}

/// The counts of all filters on this thread.
#[derive(Default)]
struct AllCounts(Vec<Counts>);

thread_local! {
    static COUNTS: RefCell<AllCounts> = RefCell::default();
}

/// Calls are reported after this number of them.
const REPORT_AFTER: u64 = 256;
/// Fewer calls are reported with the first one that begins after this time.
const REPORT_EVERY: Duration = Duration::from_secs(1);
/// The first call and then one in this many is timed.
const TIMED: u64 = 64;
/// The number of filters that a thread keeps counts for.
const FILTERS: usize = 64;

impl AllCounts {
    /// The counts of this filter. If there are too many filters, the oldest is evicted.
    fn of(&mut self, filter: &str, gives_way: impl FnOnce(Counts)) -> &mut Counts {
        let at = self.0.iter().position(|counts| counts.filter == filter).unwrap_or_else(|| {
            if self.0.len() >= FILTERS {
                gives_way(self.0.remove(0));
            }
            let filter = filter.to_owned();
            self.0.push(Counts { filter, guests: Vec::new(), unreported: 0, next_report: None });
            self.0.len() - 1
        });
        &mut self.0[at]
    }
}

impl Counts {
    /// Counts a call. Returns whether it is to be timed.
    fn add(&mut self, guest: &str, outcome: CallOutcome) -> bool {
        self.unreported += 1;
        let at = self.guests.iter().position(|counts| counts.guest == guest).unwrap_or_else(|| {
            self.guests.push(GuestCounts { guest: guest.to_owned(), counts: Default::default() });
            self.guests.len() - 1
        });
        let count = &mut self.guests[at].counts[outcome as usize];
        count.calls += 1;
        count.calls % TIMED == 1
    }

    fn is_due(&self, now: Instant) -> bool {
        self.unreported >= REPORT_AFTER || self.next_report.is_none_or(|next| now >= next)
    }

    fn report(&mut self, now: Instant, mut to: impl FnMut([&str; 3], u64)) {
        (self.unreported, self.next_report) = (0, Some(now + REPORT_EVERY));
        for GuestCounts { guest, counts } in &mut self.guests {
            for (outcome, count) in CallOutcome::ALL.into_iter().zip(counts) {
                if count.calls > count.reported {
                    to([&self.filter, guest, outcome.label()], count.calls - count.reported);
                    count.reported = count.calls;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_call_is_reported_once_and_one_in_64_of_each_kind_is_timed() {
        let mut all = AllCounts::default();
        let (mut next, mut reports, mut timed) = (0, 0, 0);
        let mut add_up = |[_, _, outcome]: [&str; 3], calls: u64| {
            if outcome == "next" {
                next += calls;
            }
        };
        let now = Instant::now();
        for call in 0..6400 {
            let counts = all.of(["a", "b"][call % 2], |_| panic!("there is room"));
            timed += u64::from(counts.add("a", CallOutcome::Next));
            counts.add("a", CallOutcome::Handled);
            if counts.is_due(now) {
                reports += 1;
                counts.report(now, &mut add_up);
            }
        }
        for counts in &mut all.0 {
            counts.report(now, &mut add_up);
        }
        assert_eq!((next, timed), (6400, 100));
        assert!(reports >= 2 * 6400 / 256, "{reports}");
    }

    #[test]
    fn the_counts_of_an_evicted_filter_are_reported() {
        let mut all = AllCounts::default();
        let mut reported = Vec::new();
        for filter in 0..FILTERS + 2 {
            let report = |labels: [&str; 3], calls| reported.push((labels.map(str::to_owned), calls));
            let counts = all.of(&filter.to_string(), |mut old| old.report(Instant::now(), report));
            counts.add("a", CallOutcome::Next);
        }
        let expected = |filter: &str| ([filter, "a", "next"].map(str::to_owned), 1);
        assert_eq!(reported, [expected("0"), expected("1")]);
        assert_eq!(all.0.len(), FILTERS);
    }
}

//! Counters in Envoy's statistics.
#![expect(unsafe_code, reason = "they are defined through Envoy's interface")]

use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::ffi::{Buf, ConfigPtr, callbacks};
use crate::filter::Filter;

/// Counters and histograms of a filter, with the filter's name as a label: Envoy shares them among all filters.
pub(crate) struct Stats {
    /// Tells this from those of other configurations.
    id: u64,
    filter: String,
    calls: Option<usize>,
    duration: Option<usize>,
}

impl Stats {
    /// Defines them. Only while a filter's configuration is made can that be done.
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
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self { id: NEXT.fetch_add(1, Ordering::Relaxed), filter: filter.to_owned(), calls, duration }
    }

    /// A guest's call is over.
    ///
    /// Envoy looks a counter with labels up by its name, which costs more than a guest's call does. So calls are
    /// counted here and reported together, and only some of them are timed.
    pub(crate) fn called(&self, filter: &Filter, guest: &str, outcome: &'static str, took: Duration) {
        COUNTS.with_borrow_mut(|counts| {
            let counts = counts.of(self.id);
            let is_timed = counts.add(guest, outcome);
            if counts.is_due() {
                counts.report(|guest, outcome, calls| {
                    if let Some(counter) = self.calls {
                        filter.count(counter, [&*self.filter, guest, outcome], calls);
                    }
                });
            }
            if let Some(histogram) = self.duration.filter(|_| is_timed) {
                let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
                filter.record(histogram, [&*self.filter, guest, outcome], micros);
            }
        });
    }
}

/// Calls of one filter's guests on this thread that have not been reported.
struct Counts {
    of: u64,
    counts: Vec<Count>,
    unreported: u64,
    reported: Option<Instant>,
}

struct Count {
    guest: String,
    outcome: &'static str,
    calls: u64,
    /// How many of them have been reported.
    reported: u64,
}

/// Those of all filters.
#[derive(Default)]
struct AllCounts(Vec<Counts>);

thread_local! {
    static COUNTS: RefCell<AllCounts> = RefCell::default();
}

/// Calls are reported after this many, or when this long has passed.
const REPORT_AFTER: (u64, Duration) = (64, Duration::from_secs(1));
/// One in this many calls is timed, and the first one.
const TIMED: u64 = 16;
/// Filters that a thread keeps counts of. Those of earlier configurations give way.
const FILTERS: usize = 64;

impl AllCounts {
    fn of(&mut self, id: u64) -> &mut Counts {
        let at = self.0.iter().position(|counts| counts.of == id).unwrap_or_else(|| {
            if self.0.len() >= FILTERS {
                self.0.remove(0);
            }
            self.0.push(Counts { of: id, counts: Vec::new(), unreported: 0, reported: None });
            self.0.len() - 1
        });
        &mut self.0[at]
    }
}

impl Counts {
    /// Whether this call is among those that are timed.
    fn add(&mut self, guest: &str, outcome: &'static str) -> bool {
        self.unreported += 1;
        let at = self.counts.iter().position(|count| count.guest == guest && count.outcome == outcome);
        let at = at.unwrap_or_else(|| {
            self.counts.push(Count { guest: guest.to_owned(), outcome, calls: 0, reported: 0 });
            self.counts.len() - 1
        });
        let count = &mut self.counts[at];
        count.calls += 1;
        count.calls % TIMED == 1
    }

    fn is_due(&self) -> bool {
        let (calls, time) = REPORT_AFTER;
        self.unreported >= calls || self.reported.is_none_or(|reported| reported.elapsed() >= time)
    }

    fn report(&mut self, mut to: impl FnMut(&str, &'static str, u64)) {
        (self.unreported, self.reported) = (0, Some(Instant::now()));
        for count in self.counts.iter_mut().filter(|count| count.calls > count.reported) {
            to(&count.guest, count.outcome, count.calls - count.reported);
            count.reported = count.calls;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_call_is_reported_once_and_one_in_sixteen_of_each_kind_is_timed() {
        let mut all = AllCounts::default();
        let (mut next, mut reports, mut timed) = (0, 0, 0);
        let mut add_up = |_: &str, outcome: &str, calls: u64| {
            if outcome == "next" {
                next += calls;
            }
        };
        for call in 0..1600 {
            let counts = all.of(call % 2);
            timed += u64::from(counts.add("a", "next"));
            counts.add("a", "handled");
            if counts.is_due() {
                reports += 1;
                counts.report(&mut add_up);
            }
        }
        for counts in &mut all.0 {
            counts.report(&mut add_up);
        }
        assert_eq!((next, timed), (1600, 100));
        assert!(reports >= 2 * 1600 / 64, "{reports}");
    }
}

//! Counters in Envoy's statistics.
#![expect(unsafe_code, reason = "they are defined through Envoy's interface")]

use std::time::Duration;

use crate::ffi::{Buf, ConfigPtr, callbacks};
use crate::filter::Filter;

/// Counters and histograms of a filter, with the filter's name as a label: Envoy shares them among all filters.
pub(crate) struct Stats {
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
        Self { filter: filter.to_owned(), calls, duration }
    }

    /// A guest's call is over.
    pub(crate) fn called(&self, filter: &Filter, guest: &str, outcome: &str, took: Duration) {
        let labels = [&*self.filter, guest, outcome];
        if let Some(calls) = self.calls {
            filter.count(calls, labels);
        }
        if let Some(duration) = self.duration {
            filter.record(duration, labels, u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
        }
    }
}

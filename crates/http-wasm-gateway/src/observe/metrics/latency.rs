//! A lock-free histogram of durations.
//!
//! The histogram of `prometheus-client` takes a lock for each observation and can't be read, but the status page needs
//! the counts.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::{MetricType, TypedMetric};
use serde::Serialize;

/// Upper bounds for guest calls, in nanoseconds: from a microsecond to the default deadline and beyond.
const CALL_BOUNDS: &[u64] = &[
    1_000,
    2_500,
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    1_000_000_000,
    5_000_000_000,
];

/// Upper bounds for whole requests and for upstreams, in nanoseconds.
const REQUEST_BOUNDS: &[u64] = &[
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
    2_500_000_000,
    5_000_000_000,
    10_000_000_000,
    30_000_000_000,
];

const NANOS: f64 = 1e9;

/// Counts durations by size. Clones share the counts.
#[derive(Clone)]
pub(crate) struct Latency(Arc<Counts>);

struct Counts {
    bounds: &'static [u64],
    /// One per bound, and one for everything above the last.
    buckets: Box<[AtomicU64]>,
    nanos: AtomicU64,
}

/// The counts so far.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct LatencyCounts {
    pub(crate) count: u64,
    pub(crate) sum_seconds: f64,
    /// The bounds of all buckets except the last, which has none.
    pub(crate) bounds_seconds: Vec<f64>,
    /// The count of each bucket, not cumulative.
    pub(crate) buckets: Vec<u64>,
}

impl Latency {
    /// A histogram for guest calls.
    pub(super) fn of_calls() -> Self {
        Self::new(CALL_BOUNDS)
    }

    /// A histogram for requests and upstreams.
    pub(super) fn of_requests() -> Self {
        Self::new(REQUEST_BOUNDS)
    }

    fn new(bounds: &'static [u64]) -> Self {
        let buckets = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Self(Arc::new(Counts { bounds, buckets, nanos: AtomicU64::new(0) }))
    }

    pub(super) fn observe(&self, took: Duration) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let bucket = self.0.bounds.partition_point(|&bound| bound < nanos);
        self.0.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.0.nanos.fetch_add(nanos, Ordering::Relaxed);
    }

    pub(crate) fn read(&self) -> LatencyCounts {
        let buckets: Vec<u64> = self.0.buckets.iter().map(|count| count.load(Ordering::Relaxed)).collect();
        LatencyCounts {
            // This is the sum of the buckets that were read, so that the two always agree.
            count: buckets.iter().sum(),
            sum_seconds: self.0.nanos.load(Ordering::Relaxed) as f64 / NANOS,
            bounds_seconds: self.0.bounds.iter().map(|&bound| bound as f64 / NANOS).collect(),
            buckets,
        }
    }
}

impl EncodeMetric for Latency {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), fmt::Error> {
        let counts = self.read();
        let bounds = counts.bounds_seconds.into_iter().chain([f64::INFINITY]);
        let buckets: Vec<(f64, u64)> = bounds.zip(counts.buckets).collect();
        encoder.encode_histogram::<NoLabelSet>(counts.sum_seconds, counts.count, &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

impl TypedMetric for Latency {
    const TYPE: MetricType = MetricType::Histogram;
}

impl fmt::Debug for Latency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.read().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Latency;

    #[test]
    fn a_duration_is_counted_once_in_the_first_matching_bucket() {
        let latency = Latency::of_calls();
        for nanos in [0, 1_000, 1_001, 2_500, 6_000_000_000] {
            latency.observe(Duration::from_nanos(nanos));
        }
        let counts = latency.read();
        assert_eq!((counts.buckets[0], counts.buckets[1]), (2, 2));
        assert_eq!(counts.buckets.last(), Some(&1), "beyond the last bound");
        assert_eq!((counts.count, counts.buckets.len()), (5, counts.bounds_seconds.len() + 1));
        assert!((counts.sum_seconds - 6.000_004_501).abs() < 1e-9, "{}", counts.sum_seconds);
    }
}

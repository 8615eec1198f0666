//! The results, as text and as JSON.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use http_wasm_gateway::counted;
use serde::Serialize;

use super::instances::BURST;

/// All results of `bench`.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) guest: String,
    pub(crate) request: String,
    pub(crate) outcome: String,
    pub(crate) compile_milliseconds: f64,
    pub(crate) handle_request: Times,
    /// `None` if the guest responds itself.
    pub(crate) handle_response: Option<Times>,
    /// How often each function is called for one request.
    pub(crate) host_calls: BTreeMap<&'static str, u64>,
    /// Creating an instance and dropping it.
    pub(crate) new_instance: Times,
    /// Concurrent requests to a pool with one instance, each from the start of the burst to its end.
    pub(crate) cold_burst: Times,
    /// The same requests again.
    pub(crate) warm_burst: Times,
    pub(crate) memory_bytes_per_idle_instance: Option<u64>,
    /// What remains allocated after the instance has been idle for too long and was dropped.
    pub(crate) memory_bytes_left_per_instance: Option<u64>,
    pub(crate) requests_per_second_on_one_thread: f64,
    pub(crate) threads: usize,
    /// With all threads busy.
    pub(crate) requests_per_second_per_thread: f64,
}

/// Statistics of many samples.
#[derive(Debug, Serialize)]
pub(crate) struct Times {
    pub(crate) median_nanoseconds: u64,
    pub(crate) p99_nanoseconds: u64,
    pub(crate) samples: usize,
}

impl Times {
    /// Of at least one sample.
    pub(crate) fn of(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        // The nearest rank: the smallest sample that is at least as large as this percentage of all samples.
        let percentile = |percent: usize| {
            let rank = (times.len() * percent).div_ceil(100).max(1);
            times.get(rank - 1).map_or(0, |time| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX))
        };
        Self { median_nanoseconds: percentile(50), p99_nanoseconds: percentile(99), samples: times.len() }
    }
}

impl fmt::Display for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.samples {
            1 => write!(f, "{} (once)", time(self.median_nanoseconds)),
            _ => write!(f, "median {}, p99 {}", time(self.median_nanoseconds), time(self.p99_nanoseconds)),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {}, {}", self.guest, self.request, self.outcome)?;
        line(f, "handle_request", &self.handle_request)?;
        match &self.handle_response {
            Some(times) => line(f, "handle_response", times)?,
            None => line(f, "handle_response", &"not called")?,
        }
        line(f, "host calls", &self.host_calls.values().sum::<u64>())?;
        for (name, count) in &self.host_calls {
            line(f, &format!("  {name}"), count)?;
        }
        line(f, "compilation", &format!("{:.1} ms", self.compile_milliseconds))?;
        line(f, "new instance", &self.new_instance)?;
        line(f, &format!("burst of {BURST}, cold"), &self.cold_burst)?;
        line(f, &format!("burst of {BURST}, warm"), &self.warm_burst)?;
        line(f, "idle instance", &kibibytes(self.memory_bytes_per_idle_instance))?;
        line(f, "after idle_ttl", &kibibytes(self.memory_bytes_left_per_instance))?;
        line(f, "one thread", &format!("{:.0} requests/s", self.requests_per_second_on_one_thread))?;
        let threads = counted(self.threads, "thread");
        write!(f, "  {threads:<22} {:.0} requests/s each", self.requests_per_second_per_thread)
    }
}

fn line(f: &mut fmt::Formatter<'_>, what: &str, value: &dyn fmt::Display) -> fmt::Result {
    writeln!(f, "  {what:<22} {value}")
}

fn kibibytes(bytes: Option<u64>) -> String {
    match bytes {
        Some(bytes) => format!("{:.1} KiB", bytes as f64 / 1024.0),
        None => "memory unknown".to_owned(),
    }
}

/// A time in a suitable unit.
fn time(nanoseconds: u64) -> String {
    match nanoseconds {
        0..10_000 => format!("{nanoseconds} ns"),
        10_000..10_000_000 => format!("{:.1} µs", nanoseconds as f64 / 1e3),
        _ => format!("{:.1} ms", nanoseconds as f64 / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_and_p99_are_nearest_ranks() {
        let times = Times::of((1..=200).rev().map(Duration::from_nanos).collect());
        assert_eq!((times.median_nanoseconds, times.p99_nanoseconds, times.samples), (100, 198, 200));
        let once = Times::of(vec![Duration::from_micros(12)]);
        assert_eq!((once.median_nanoseconds, once.p99_nanoseconds), (12_000, 12_000));
        assert_eq!(once.to_string(), "12.0 µs (once)");
    }
}

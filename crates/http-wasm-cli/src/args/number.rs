//! Numbers within bounds.

use std::num::NonZeroU32;
use std::str::FromStr as _;
use std::time::Duration;

use http_wasm_gateway::config::{Size, Time};

/// A count from 1 to a million.
pub(crate) fn parse_count(text: &str) -> Result<NonZeroU32, &'static str> {
    let count = text.parse().ok().filter(|count: &NonZeroU32| count.get() <= 1_000_000);
    count.ok_or("expected a number from 1 to 1000000")
}

/// A size with its unit, or a number of bytes.
pub(crate) fn parse_size(text: &str) -> Result<Size, String> {
    Size::from_str(text)
}

/// A duration with its unit, longer than 0.
pub(crate) fn parse_time(text: &str) -> Result<Time, String> {
    Time::from_str(text)
}

/// A number of seconds, from `LEAST` to a day.
pub(crate) fn seconds_from<const LEAST: u64>(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().filter(|seconds| (LEAST..=86_400).contains(seconds));
    seconds.map(Duration::from_secs).ok_or_else(|| format!("expected a number from {LEAST} to 86400"))
}

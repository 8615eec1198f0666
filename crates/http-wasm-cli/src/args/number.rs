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

/// A duration with its unit, from this number of seconds to a day.
pub(crate) fn time_from<const SECONDS: u64>(text: &str) -> Result<Duration, String> {
    let time = parse_time(text)?.0;
    let is_valid = (Duration::from_secs(SECONDS)..=Duration::from_secs(86_400)).contains(&time);
    is_valid.then_some(time).ok_or_else(|| format!("expected a duration from {SECONDS}s to 24h"))
}

//! Metrics in the OpenMetrics format, which Prometheus reads.
//!
//! Counters continue across configurations while anything with that name exists. Gauges are read at each scrape.

mod families;
mod gauges;
mod guest;
mod labels;
mod latency;
mod process;
mod read;
mod register;
mod registry;
mod series;

pub(crate) use self::process::resident_memory;
pub(crate) use self::read::{GuestCounts, RouteCounts, UpstreamCounts};
pub(crate) use self::registry::{CONTENT_TYPE, Metrics};
pub(crate) use self::series::Names;

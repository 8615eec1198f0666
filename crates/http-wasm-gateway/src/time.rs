//! Times as text.

use std::time::SystemTime;

/// A time in RFC 3339 format, in UTC, to the millisecond.
pub(crate) fn rfc3339<S: serde::Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&humantime::format_rfc3339_millis(*time))
}

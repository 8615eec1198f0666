//! The caps on a guest: those of the core, under the same names.

use std::num::NonZeroU32;

use http_wasm_tower::Limits;
use schemars::JsonSchema;
use serde::Serialize;

use crate::config::read::{Size, Time, section};

/// What one guest may use. Each cap is counted per request and response unless it says otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub struct GuestLimits {
    /// Bytes of one body kept because the guest read them. Over it, 413 for a request and 502 for a response.
    pub replay_bytes: Size,
    /// Body bytes that the guest writes.
    pub written_bytes: Size,
    /// Header fields that the guest sets or adds, trailers included.
    pub header_count: NonZeroU32,
    /// Names and values of those fields together.
    pub header_bytes: Size,
    /// Length of a URI that the guest sets.
    pub uri_bytes: Size,
    /// Length of one log message or line of output; the rest is cut off.
    pub log_line_bytes: Size,
    /// Log messages and lines of output that are logged in a second, all instances together; 0 logs nothing.
    pub log_rate: u32,
    /// Size of the configuration.
    pub config_bytes: Size,
    /// Linear memory of one instance.
    pub memory_bytes: Size,
    /// Elements of one table.
    pub table_elements: NonZeroU32,
    /// Time that the guest may compute in one phase without waiting for the host.
    pub deadline: Time,
    /// Time that one phase may take with all its waiting.
    pub total: Time,
    /// Memory by which an instance may have grown since its start and still be kept.
    pub retained_growth: Size,
    /// Time that the making of an instance may take.
    pub startup_deadline: Time,
}

section! {
    GuestLimits {
        replay_bytes, written_bytes, header_count, header_bytes, uri_bytes, log_line_bytes, log_rate, config_bytes,
        memory_bytes, table_elements, deadline, total, retained_growth, startup_deadline
    }
}

impl Default for GuestLimits {
    fn default() -> Self {
        Self::from(Limits::default())
    }
}

impl From<Limits> for GuestLimits {
    fn from(limits: Limits) -> Self {
        Self {
            replay_bytes: limits.replay_bytes.into(),
            written_bytes: limits.written_bytes.into(),
            header_count: count(limits.header_count),
            header_bytes: limits.header_bytes.into(),
            uri_bytes: limits.uri_bytes.into(),
            log_line_bytes: limits.log_line_bytes.into(),
            log_rate: limits.log_rate,
            config_bytes: limits.config_bytes.into(),
            memory_bytes: limits.memory_bytes.into(),
            table_elements: count(limits.table_elements),
            deadline: Time(limits.deadline),
            total: Time(limits.total),
            retained_growth: limits.retained_growth.into(),
            startup_deadline: Time(limits.startup_deadline),
        }
    }
}

fn count(number: usize) -> NonZeroU32 {
    u32::try_from(number).ok().and_then(NonZeroU32::new).unwrap_or(NonZeroU32::MAX)
}

impl From<&GuestLimits> for Limits {
    fn from(limits: &GuestLimits) -> Self {
        Self {
            replay_bytes: limits.replay_bytes.bytes(),
            written_bytes: limits.written_bytes.bytes(),
            header_count: limits.header_count.get() as usize,
            header_bytes: limits.header_bytes.bytes(),
            uri_bytes: limits.uri_bytes.bytes(),
            log_line_bytes: limits.log_line_bytes.bytes(),
            log_rate: limits.log_rate,
            config_bytes: limits.config_bytes.bytes(),
            memory_bytes: limits.memory_bytes.bytes(),
            table_elements: limits.table_elements.get() as usize,
            deadline: limits.deadline.0,
            total: limits.total.0,
            retained_growth: limits.retained_growth.bytes(),
            startup_deadline: limits.startup_deadline.0,
        }
    }
}

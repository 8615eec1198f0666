//! The limits of a guest: those of the core, under the same names.

use std::num::NonZeroU32;

use http_wasm_tower::Limits;
use schemars::JsonSchema;
use serde::Serialize;

use crate::config::read::{Size, Time, section};

/// Limits of one guest, counted per request and response unless stated otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub struct GuestLimits {
    /// Bytes of one body that are kept because the guest has read them. Above this, a request gets 413 and a response
    /// becomes a 502.
    pub replay_bytes: Size,
    /// How many times as large as a received body its content may be, if `bodies` is "decoded" and the content is
    /// larger than 1 MiB. Above this, a request gets 413 and a response becomes a 502.
    pub decoded_ratio: NonZeroU32,
    /// Body bytes that the guest writes.
    pub written_bytes: Size,
    /// Number of header fields that the guest sets or adds, trailers included.
    pub header_count: NonZeroU32,
    /// Total size of the names and values of header fields that the guest sets or adds.
    pub header_bytes: Size,
    /// Length of a URI that the guest sets.
    pub uri_bytes: Size,
    /// Length of one log message or line of output; longer ones are truncated.
    pub log_line_bytes: Size,
    /// Log messages and lines of output that are logged per second, over all instances together. With 0, nothing is
    /// logged.
    pub log_rate: u32,
    /// Size of the guest's configuration.
    pub config_bytes: Size,
    /// Linear memory of one instance: its memories together.
    pub memory_bytes: Size,
    /// Elements of the tables of one instance together.
    pub table_elements: NonZeroU32,
    /// How long the guest may compute in one phase without waiting for the host.
    pub deadline: Time,
    /// How long one phase may take, including all waiting.
    pub total: Time,
    /// How long a message that is sent while the guest writes it (`stream`) may take, from its head to its end. `total`
    /// doesn't apply to it.
    pub stream_total: Time,
    /// How long a guest that is still writing the request (`stream = "request"`) may wait for an upstream that has
    /// responded. After that, the rest is discarded, since the upstream doesn't seem to read it: it may be waiting for
    /// the client to read the response, which is sent only after the request.
    pub stream_stall: Time,
    /// How much the memory of an instance may have grown since its start for the instance to be kept.
    pub retained_growth: Size,
    /// How long creating an instance may take.
    pub startup_deadline: Time,
}

section! {
    GuestLimits {
        replay_bytes, decoded_ratio, written_bytes, header_count, header_bytes, uri_bytes, log_line_bytes, log_rate,
        config_bytes, memory_bytes, table_elements, deadline, total, stream_total, stream_stall,
        retained_growth, startup_deadline
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
            decoded_ratio: NonZeroU32::new(limits.decoded_ratio).unwrap_or(NonZeroU32::MIN),
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
            stream_total: Time(limits.stream_total),
            stream_stall: Time(limits.stream_stall),
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
            decoded_ratio: limits.decoded_ratio.get(),
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
            stream_total: limits.stream_total.0,
            stream_stall: limits.stream_stall.0,
            retained_growth: limits.retained_growth.bytes(),
            startup_deadline: limits.startup_deadline.0,
        }
    }
}

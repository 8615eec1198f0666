//! Limits what a guest can make the host hold in one exchange.

use std::time::Duration;

use crate::abi::BodyKind;
use crate::error::Reason;
use crate::limits::Limits;

/// What is left of the limits per exchange.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Budget {
    header_count: usize,
    header_bytes: usize,
    written_bytes: usize,
    uri_bytes: usize,
    pub(super) replay_bytes: usize,
    pub(super) total: Duration,
    pub(super) decoded_ratio: u32,
    header_count_limit: usize,
    header_bytes_limit: usize,
    written_bytes_limit: usize,
}

impl Budget {
    #[inline]
    pub(crate) fn new(limits: &Limits) -> Self {
        // Every field is named, so that a new limit can't be forgotten here.
        let Limits {
            replay_bytes,
            written_bytes,
            header_count,
            header_bytes,
            uri_bytes,
            total,
            decoded_ratio,
            // Limits of calls, instances and guests, which are checked elsewhere.
            deadline: _,
            stream_total: _,
            stream_stall: _,
            startup_deadline: _,
            memory_bytes: _,
            table_elements: _,
            retained_growth: _,
            config_bytes: _,
            log_line_bytes: _,
            log_rate: _,
        } = *limits;
        Self {
            header_count,
            header_bytes,
            written_bytes,
            uri_bytes,
            replay_bytes,
            total,
            decoded_ratio,
            header_count_limit: header_count,
            header_bytes_limit: header_bytes,
            written_bytes_limit: written_bytes,
        }
    }

    /// Charges a field that the guest sets or adds.
    pub(super) fn spend_field(&mut self, name: &[u8], value: &[u8]) -> Result<(), Reason> {
        let limit = self.header_count_limit;
        spend(&mut self.header_count, 1, "the number of header fields set (`header_count`)", limit)?;
        let limit = self.header_bytes_limit;
        spend(
            &mut self.header_bytes,
            name.len() + value.len(),
            "the size of the header fields set, in bytes (`header_bytes`),",
            limit,
        )
    }

    /// Charges an informational response like a header field, since a host may have to hold it.
    pub(super) fn spend_informational(&mut self) -> Result<(), Reason> {
        let limit = self.header_count_limit;
        spend(
            &mut self.header_count,
            1,
            "the number of header fields and informational responses set (`header_count`)",
            limit,
        )
    }

    /// Charges body bytes that the guest writes.
    pub(super) fn spend_written(&mut self, len: usize) -> Result<(), Reason> {
        let limit = self.written_bytes_limit;
        spend(
            &mut self.written_bytes,
            len,
            "the size of the bodies written, in bytes (`written_bytes`),",
            limit,
        )
    }

    pub(super) fn check_uri(&self, len: usize) -> Result<(), Reason> {
        if len > self.uri_bytes {
            return Err(Reason::Limit {
                what: "the length of the URI, in bytes (`uri_bytes`),",
                limit: self.uri_bytes,
            });
        }
        Ok(())
    }

    /// How many bytes of a message may be kept.
    pub(super) fn kept_limit(&self) -> usize {
        self.replay_bytes
    }

    /// Checks that `len` bytes of a message may be kept.
    pub(super) fn check_kept(&self, kind: BodyKind, len: usize) -> Result<(), Reason> {
        if len > self.replay_bytes {
            return Err(Reason::BodyTooLarge { kind, limit: self.replay_bytes });
        }
        Ok(())
    }
}

fn spend(left: &mut usize, amount: usize, what: &'static str, limit: usize) -> Result<(), Reason> {
    *left = left.checked_sub(amount).ok_or_else(|| Reason::Limit { what, limit })?;
    Ok(())
}

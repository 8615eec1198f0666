//! Limits what a guest can make the host hold in one exchange.

use std::time::Duration;

use crate::abi::BodyKind;
use crate::error::Reason;
use crate::limits::Limits;

/// The limits per exchange, and how much of them is used.
#[derive(Clone, Copy, Debug)]
pub(super) struct Budget {
    used: Used,
    header_count: usize,
    header_bytes: usize,
    written_bytes: usize,
    uri_bytes: usize,
    pub(super) replay_bytes: usize,
    pub(super) total: Duration,
    pub(super) decoded_ratio: u32,
}

/// What an exchange has used.
#[derive(Clone, Copy, Debug, Default)]
struct Used {
    header_count: usize,
    header_bytes: usize,
    written_bytes: usize,
}

impl Budget {
    pub(super) fn new(limits: &Limits) -> Self {
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
            used: Used::default(),
            header_count,
            header_bytes,
            written_bytes,
            uri_bytes,
            replay_bytes,
            total,
            decoded_ratio,
        }
    }

    /// Makes all of it available to another exchange.
    #[inline]
    pub(super) fn renew(&mut self) {
        self.used = Used::default();
    }

    /// Charges a field that the guest sets or adds.
    pub(super) fn spend_field(&mut self, name: &[u8], value: &[u8]) -> Result<(), Reason> {
        let Self { used, header_count, header_bytes, .. } = self;
        let what = "the number of header fields set (`header_count`)";
        spend(&mut used.header_count, 1, what, *header_count)?;
        let what = "the size of the header fields set, in bytes (`header_bytes`),";
        spend(&mut used.header_bytes, name.len() + value.len(), what, *header_bytes)
    }

    /// Charges an informational response like a header field, since a host may have to hold it.
    pub(super) fn spend_informational(&mut self) -> Result<(), Reason> {
        let what = "the number of header fields and informational responses set (`header_count`)";
        spend(&mut self.used.header_count, 1, what, self.header_count)
    }

    /// Charges body bytes that the guest writes.
    pub(super) fn spend_written(&mut self, len: usize) -> Result<(), Reason> {
        let what = "the size of the bodies written, in bytes (`written_bytes`),";
        spend(&mut self.used.written_bytes, len, what, self.written_bytes)
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

#[inline]
fn spend(used: &mut usize, amount: usize, what: &'static str, limit: usize) -> Result<(), Reason> {
    let total = used.checked_add(amount).filter(|&total| total <= limit);
    *used = total.ok_or_else(|| Reason::Limit { what, limit })?;
    Ok(())
}

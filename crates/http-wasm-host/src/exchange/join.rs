//! Merges what a guest has set before the next handler's call with the response.

use super::Exchange;
use super::framing::forget_framing;
use super::head::set_final_status;
use crate::abi::{BodyKind, Phase};
use crate::error::Reason;
use crate::host::Host;
use crate::message::{Fields, HeaderChange};
use crate::text::is_bodyless;

impl<H: Host> Exchange<H> {
    /// Merges the next handler's response, which is in the host, with what the guest has set before. The next handler's
    /// headers replace those of the same name (except that cookies of both are kept, the guest's first), its status
    /// replaces the guest's, and its body follows the guest's.
    #[inline]
    pub(crate) fn join_response(&mut self) -> Result<(), Reason> {
        self.answered = true;
        self.early.status = None;
        self.next_was_bodyless = is_bodyless(self.host.status()) || self.host.method() == b"HEAD";
        self.begin_response()
    }

    /// Called if the next handler returned no response. The guest then sees what it has set itself.
    pub(crate) fn join_error(&mut self) -> Result<(), Reason> {
        // There may have been a response that was never used.
        self.answered = false;
        forget_framing(self);
        self.begin_response()
    }

    #[inline]
    fn begin_response(&mut self) -> Result<(), Reason> {
        self.enter_response_phase();
        if self.answered && self.coding.is_some() {
            self.inspect_response_coding()?;
        }
        self.join_early_headers()?;
        self.response.begin_response();
        Ok(())
    }

    /// Starts the response phase with the guest's status, if it has set one and the next handler gave none.
    #[inline]
    pub(super) fn enter_response_phase(&mut self) {
        self.phase = Phase::Response;
        self.save_response();
        if let Some(status) = self.early.status {
            set_final_status(&mut *self.host, status);
        }
    }

    /// Uses the guest's headers as those of the response, which has no others.
    #[inline]
    pub(super) fn add_early_headers(&mut self) -> Result<(), Reason> {
        if self.early.headers.is_empty() {
            return Ok(());
        }
        let early = std::mem::take(&mut self.early.headers);
        let host = &mut *self.host;
        let mut fields = early.iter();
        fields
            .try_for_each(|(name, value)| {
                host.change_header(BodyKind::Response, name, HeaderChange::Add(value))
            })
            .map_err(Reason::refused)
    }

    #[inline]
    fn join_early_headers(&mut self) -> Result<(), Reason> {
        if self.early.headers.is_empty() {
            return Ok(());
        }
        let early = std::mem::take(&mut self.early.headers);
        join_headers(&mut *self.host, &early)
    }
}

/// Merges the guest's headers into the response's, which replace those of the same name. The guest's cookies precede
/// those of the response.
fn join_headers<H: Host>(host: &mut H, early: &Fields) -> Result<(), Reason> {
    const RESPONSE: BodyKind = BodyKind::Response;
    for name in early.names() {
        let mut nexts: Vec<Vec<u8>> = Vec::new();
        let is_cookie = name == b"set-cookie";
        let mut taken = false;
        host.header_values(RESPONSE, name, |value| {
            taken = true;
            if is_cookie {
                nexts.push(value.to_vec());
            }
        });
        if taken && !is_cookie {
            continue;
        }
        let mut values = early.values(name).chain(nexts.iter().map(Vec::as_slice));
        // The first value replaces the existing ones, and the others are added in their order.
        let first = values
            .next()
            .map_or(Ok(()), |first| host.change_header(RESPONSE, name, HeaderChange::Set(first)));
        first
            .and_then(|()| {
                values.try_for_each(|value| host.change_header(RESPONSE, name, HeaderChange::Add(value)))
            })
            .map_err(Reason::refused)?;
    }
    Ok(())
}

//! Joining what a guest set before the next handler was called with the response.

use super::Exchange;
use super::framing::forget_length;
use crate::abi::{BodyKind, Phase};
use crate::error::Reason;
use crate::host::Host;
use crate::message::{Fields, HeaderChange};
use crate::text::is_bodyless;

impl<H: Host> Exchange<H> {
    /// The next handler's response is in the host: merges what the guest set before it. The next handler's headers
    /// replace those of the same name (its cookies follow the guest's), its status wins, and its body follows the
    /// guest's.
    #[inline]
    pub(crate) fn join_response(&mut self) -> Result<(), Reason> {
        self.answered = true;
        self.early.status = None;
        self.next_was_bodyless = is_bodyless(self.host.status()) || self.host.method() == b"HEAD";
        self.begin_response()
    }

    /// The next handler returned no response: the guest sees what it has set itself.
    pub(crate) fn join_error(&mut self) -> Result<(), Reason> {
        // There may have been a response that nobody waited for.
        self.answered = false;
        forget_length(self);
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

    /// Begins the response phase with the guest's status, if it set one and the next handler didn't.
    #[inline]
    pub(super) fn enter_response_phase(&mut self) {
        self.phase = Phase::Response;
        self.save_response();
        if let Some(status) = self.early.status {
            self.host.set_status(status);
        }
    }

    /// Makes the guest's headers those of the response: there are no others.
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

/// Joins what the guest has set with the response's headers, which replace those of the same name. Cookies go before
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
        // The first one replaces the existing values, and the others follow in their order.
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

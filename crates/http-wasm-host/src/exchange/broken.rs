//! Rules of the exchange that are broken on purpose; see [`crate::mutation`].

use super::Exchange;
use crate::abi::{BodyKind, Features, Phase};
use crate::host::Host;
use crate::message::Fields;
use crate::mutation::Mutation;

/// Just before what the guest set is joined with the next handler's response.
pub(super) fn before_join<H: Host>(exchange: &mut Exchange<H>) {
    match exchange.mutation {
        Some(Mutation::EarlyStatusWins) => {
            if let Some(status) = exchange.early.status {
                exchange.host.set_status(status);
            }
        }
        Some(Mutation::EarlyHeadersWin) => {
            for name in exchange.early.headers.names().filter(|name| *name != b"set-cookie") {
                exchange.host.remove_header(BodyKind::Response, name);
            }
        }
        Some(Mutation::EarlyHeadersLost) => exchange.early.headers = Fields::new(),
        Some(Mutation::EarlyCookiesReplaced) => {
            let mut there = false;
            exchange.host.header_values(BodyKind::Response, b"set-cookie", |_| there = true);
            if there {
                exchange.early.headers.remove(b"set-cookie");
            }
        }
        Some(Mutation::EarlyCookiesLast) => {
            for value in exchange.early.headers.values(b"set-cookie") {
                let _fits = exchange.host.add_header(BodyKind::Response, b"set-cookie", value);
            }
            exchange.early.headers.remove(b"set-cookie");
        }
        Some(Mutation::EarlyBodyLost) => exchange.response.forget_written(),
        _ => {}
    }
}

/// Just before a message goes on: its Content-Length.
pub(super) fn before_finish<H: Host>(exchange: &mut Exchange<H>, message: BodyKind) -> Option<Vec<u8>> {
    if exchange.mutation == Some(Mutation::TrailersLost) && exchange.side_mut(message).edits_trailers() {
        exchange.side_mut(message).drop_trailers();
    }
    if exchange.mutation == Some(Mutation::ContentTypeInvented)
        && message == BodyKind::Response
        && exchange.response.is_written()
    {
        let _fits = exchange.host.set_header(message, b"content-type", b"text/plain; charset=utf-8");
    }
    let mut length = None;
    exchange.host.header_values(message, b"content-length", |value| length = Some(value.to_vec()));
    length
}

/// Just before a message goes on, its framing being right.
pub(super) fn after_finish<H: Host>(exchange: &mut Exchange<H>, message: BodyKind, length: Option<Vec<u8>>) {
    match (exchange.mutation, length) {
        (Some(Mutation::LengthKept), Some(length)) => {
            let _fits = exchange.host.set_header(message, b"content-length", &length);
        }
        (Some(Mutation::HeadLengthDropped), _) if exchange.client_sent_head => {
            exchange.host.remove_header(message, b"content-length");
        }
        _ => {}
    }
}

impl<H: Host> Exchange<H> {
    pub(crate) fn may_read_response(&self) -> bool {
        self.phase == Phase::Request || self.features.contains(Features::BUFFER_RESPONSE)
    }

    /// Whether the guest has written to the response's body in this phase.
    pub(crate) fn has_written_response(&self) -> bool {
        self.response.is_written()
    }

    /// Whether the guest has set a status before there was a response.
    pub(crate) fn has_early_status(&self) -> bool {
        self.early.status.is_some()
    }

    /// Enables features whatever the phase.
    pub(crate) fn force_features(&mut self, features: Features) {
        self.features = self.features | features;
    }

    /// Takes `buffer_request` away; gives the features as they were.
    pub(crate) fn without_buffer_request(&mut self) -> Features {
        let before = self.features;
        if self.phase == Phase::Request {
            self.features = Features::from_bits(before.bits() & !Features::BUFFER_REQUEST.bits());
        }
        before
    }

    pub(crate) fn restore_features(&mut self, features: Features) {
        self.features = features;
    }

    /// Forgets what was kept of earlier reads.
    pub(crate) fn forget_reads(&mut self, message: BodyKind) {
        self.side_mut(message).forget_kept();
    }
}

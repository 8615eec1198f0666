//! Passes a message on when the guest has finished with it.

use super::Exchange;
use super::framing::{frame_request, frame_response};
use crate::abi::BodyKind;
use crate::error::Reason;
use crate::host::Host;
use crate::runtime::Background;

impl<H: Host> Exchange<H> {
    /// The guest lets the request proceed: turns the host's request into the one for the next handler.
    #[inline]
    pub(super) fn finish_request(&mut self, background: &Background) {
        if self.coding.is_some() {
            self.request_decodable();
        }
        frame_request(self, background);
        self.release_ahead();
    }

    /// The guest responds itself: turns what it has set into the host's response.
    #[inline]
    pub(super) fn respond(&mut self, background: &Background) -> Result<(), Reason> {
        // What it has written is the whole body, not only its beginning.
        self.enter_response_phase();
        self.add_early_headers()?;
        self.finish_response(background);
        Ok(())
    }

    /// `handle_response` has returned: turns the host's response into the one for the client.
    #[inline]
    pub(super) fn finish_response(&mut self, background: &Background) {
        if self.streaming.is_none() || !self.finish_stream(BodyKind::Response) {
            frame_response(self, background);
        }
        self.release_ahead();
    }
}

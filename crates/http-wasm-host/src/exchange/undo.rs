//! Undoes the changes of a guest that fails open.

use super::Exchange;
use super::original::Originals;
use crate::abi::BodyKind;
use crate::host::Host;

impl<H: Host> Exchange<H> {
    /// Whether the guest's changes to a message may have to be undone.
    pub(super) fn is_undoable(&self, message: BodyKind) -> bool {
        self.originals.is_some() && !self.is_committed(message)
    }

    /// Saves the response before the guest can change it.
    #[inline]
    pub(super) fn save_response(&mut self) {
        if let Some(originals) = &mut self.originals {
            originals.response = Some(self.host.save_head(BodyKind::Response));
        }
    }

    /// Ends an exchange whose guest has failed on `message`. Returns the host with the original message, or `None` if
    /// the guest fails closed, bytes of the body have been lost, or a part of the message has been sent.
    pub(crate) fn undo(&mut self, message: BodyKind) -> Option<H> {
        let Originals { request, response } = *self.originals.take()?;
        if self.is_committed(message) || self.check_memory().is_err() {
            return None;
        }
        let state = self.state_mut(message);
        if state.is_original_lost() {
            return None;
        }
        if let Some(body) = state.take_original() {
            self.host.set_body(message, body);
        }
        if message == BodyKind::Request {
            self.host.restore_head(request);
        }
        if let Some(response) = response {
            self.host.restore_head(response);
        }
        self.end()
    }
}

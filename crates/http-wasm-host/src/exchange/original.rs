//! The original messages, for undoing the changes of a guest that fails open.

use crate::abi::BodyKind;
use crate::host::Host;

/// The original heads of an exchange's messages. The bodies that a guest has read are kept with their state.
pub(super) struct Originals<H: Host> {
    pub(super) request: H::Head,
    /// Set when the guest starts to handle the response.
    pub(super) response: Option<H::Head>,
}

impl<H: Host> Originals<H> {
    pub(super) fn new(host: &H) -> Self {
        Self { request: host.save_head(BodyKind::Request), response: None }
    }
}

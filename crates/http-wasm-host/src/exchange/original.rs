//! Messages in their original form, so that changes by a guest that fails open can be undone.

use crate::abi::BodyKind;
use crate::host::Host;

/// The original heads of an exchange's messages. What a guest has read of their bodies is kept where it is read.
pub(super) struct Originals<H: Host> {
    pub(super) request: H::Head,
    /// Set once the guest's part in the response begins.
    pub(super) response: Option<H::Head>,
}

impl<H: Host> Originals<H> {
    pub(super) fn new(host: &H) -> Self {
        Self { request: host.save_head(BodyKind::Request), response: None }
    }
}

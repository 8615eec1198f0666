//! Messages as they came, for a guest that fails open: what it did to them can be undone.

use crate::abi::BodyKind;
use crate::host::Host;

/// The heads of an exchange's messages as they came. What a guest has read of their bodies is kept where it is read.
pub(super) struct Originals<H: Host> {
    pub(super) request: H::Head,
    /// There once the guest's part in the response begins.
    pub(super) response: Option<H::Head>,
}

impl<H: Host> Originals<H> {
    pub(super) fn new(host: &H) -> Self {
        Self { request: host.save_head(BodyKind::Request), response: None }
    }
}

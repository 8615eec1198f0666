//! Whether a guest may have to wait for a message.

use super::Exchange;
use crate::abi::{BodyKind, Features, Phase};
use crate::host::{BodyState, Host};

/// What one of a guest's two functions may have to wait for, according to its code.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Waits {
    /// Whether it may read bodies.
    pub(crate) for_bodies: bool,
    /// Whether it may read trailers. They are available at once unless the guest may read the body before them.
    pub(crate) for_trailers: bool,
    /// Whether it may enable features.
    pub(crate) enables_features: bool,
    /// Whether it may sleep.
    pub(crate) sleeps: bool,
}

impl Waits {
    pub(crate) fn for_message(self) -> bool {
        self.for_bodies || self.for_trailers
    }
}

impl<H: Host> Exchange<H> {
    /// Whether a call into the guest in this phase may have to wait for a body or trailers.
    pub(crate) fn may_wait(&self, waits: Waits) -> bool {
        match self.phase {
            Phase::Request => {
                let reads_on = waits.for_bodies
                    || waits.enables_features
                    || self.features.contains(Features::BUFFER_REQUEST);
                reads_on && self.host.body_state(BodyKind::Request) == BodyState::Arriving
            }
            // Features are fixed by now, so a guest that may not read the response can't wait for it.
            Phase::Response => {
                self.features.contains(Features::BUFFER_RESPONSE)
                    && self.host.body_state(BodyKind::Response) == BodyState::Arriving
            }
        }
    }
}

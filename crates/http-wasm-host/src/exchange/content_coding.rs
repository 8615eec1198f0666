//! The content codings of an exchange, for a guest that gets decoded bodies.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use crate::abi::BodyKind;
use crate::bodies::Decoding;
use crate::coding::{Acceptable, List};
use crate::log;
use crate::message::Fields;

/// The state that all exchanges of a guest with decoded bodies share.
pub(crate) struct DecodedBodies {
    guest: Arc<str>,
    pub(super) settings: Decoding,
    /// A bit for each warning that has been logged.
    warned: AtomicU8,
}

impl DecodedBodies {
    pub(crate) fn new(guest: Arc<str>, settings: Decoding) -> Self {
        Self { guest, settings, warned: AtomicU8::new(0) }
    }

    /// Logs a warning once, however often it occurs.
    pub(super) fn warn_once(&self, bit: u8, warning: impl FnOnce() -> String) {
        if self.warned.fetch_or(bit, Ordering::Relaxed) & bit == 0 {
            tracing::warn!(target: log::TARGET, guest = &*self.guest, "{}", warning());
        }
    }
}

/// The content codings of one exchange.
pub(super) struct ContentCoding {
    pub(super) guest: Arc<DecodedBodies>,
    /// The codings that the client accepts.
    pub(super) accepts: Acceptable,
    pub(super) request: MessageCoding,
    pub(super) response: MessageCoding,
}

/// The content coding of one message.
#[derive(Default)]
pub(super) struct MessageCoding {
    /// The codings, if the message is decoded for the guest.
    pub(super) codings: Option<List>,
    /// The reason why the message can't be decoded.
    pub(super) undecodable: Option<&'static str>,
    /// `content-encoding` as received, if it can't be decoded.
    pub(super) received: Vec<u8>,
    /// Whether `cache-control` forbids changing the body.
    pub(super) no_transform: bool,
    /// `etag` as received.
    pub(super) etag: Option<Box<[u8]>>,
    /// `content-encoding` as set by the guest, for a body that it writes itself.
    pub(super) own: Fields,
}

impl ContentCoding {
    pub(super) fn message(&self, kind: BodyKind) -> &MessageCoding {
        match kind {
            BodyKind::Request => &self.request,
            BodyKind::Response => &self.response,
        }
    }

    pub(super) fn message_mut(&mut self, kind: BodyKind) -> &mut MessageCoding {
        match kind {
            BodyKind::Request => &mut self.request,
            BodyKind::Response => &mut self.response,
        }
    }
}

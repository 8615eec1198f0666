//! What an exchange knows of content coding, for a guest whose bodies are decoded.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use crate::abi::BodyKind;
use crate::bodies::Decoding;
use crate::coding::{Acceptable, List};
use crate::log;
use crate::message::Fields;

/// What all exchanges of a guest share whose bodies are decoded.
pub(crate) struct DecodedBodies {
    guest: Arc<str>,
    pub(super) settings: Decoding,
    /// A bit for each warning that the log has.
    warned: AtomicU8,
}

impl DecodedBodies {
    pub(crate) fn new(guest: Arc<str>, settings: Decoding) -> Self {
        Self { guest, settings, warned: AtomicU8::new(0) }
    }

    /// Logs something that is worth one line, however often it happens.
    pub(super) fn warn_once(&self, bit: u8, warning: impl FnOnce() -> String) {
        if self.warned.fetch_or(bit, Ordering::Relaxed) & bit == 0 {
            tracing::warn!(target: log::TARGET, guest = &*self.guest, "{}", warning());
        }
    }
}

/// Content coding in one exchange.
pub(super) struct ContentCoding {
    pub(super) guest: Arc<DecodedBodies>,
    /// What the client accepts.
    pub(super) accepts: Acceptable,
    pub(super) request: MessageCoding,
    pub(super) response: MessageCoding,
}

/// What is known of one message's coding.
#[derive(Default)]
pub(super) struct MessageCoding {
    /// It is decoded for the guest.
    pub(super) codings: Option<List>,
    /// Why it can't be decoded.
    pub(super) undecodable: Option<&'static str>,
    /// `content-encoding` as received, if it can't be decoded.
    pub(super) received: Vec<u8>,
    /// `cache-control` says that nobody may change the body.
    pub(super) no_transform: bool,
    /// As received.
    pub(super) etag: Option<Box<[u8]>>,
    /// `content-encoding` as the guest has set it for a body of its own.
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

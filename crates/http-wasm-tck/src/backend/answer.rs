//! The response that a request asks of the backend.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::payload::Payload;
use crate::text::{from_latin1, to_hex};
use crate::wire::{Fields, Framing};

/// A response of the backend.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply {
    pub(crate) status: u16,
    /// One character stands for one byte.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Payload,
    pub(crate) framing: Framing,
    pub(crate) trailers: Vec<(String, String)>,
    /// Trailers without a `trailer` field.
    pub(crate) unannounced: bool,
    pub(crate) informational: Vec<u16>,
    pub(crate) piece: usize,
    pub(crate) pause_ms: u64,
    /// The connection is closed instead of sending the body.
    #[serde(default)]
    pub(crate) is_cut: bool,
    #[serde(default)]
    pub(crate) timing: Timing,
}

/// When a response is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Timing {
    /// After the request.
    #[default]
    Last,
    /// After the request's head. Then the body is read.
    Early,
    /// After the request's head. Then the connection is closed, without reading the body.
    EarlyAndLast,
}

/// The backend's default response body.
pub(crate) const BODY: &str = "from the backend";

impl Default for Reply {
    fn default() -> Self {
        Self::text(200, BODY).header("x-from", "backend")
    }
}

impl Reply {
    /// Creates a response with a text body and its `content-length`.
    pub fn text(status: u16, body: &str) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: body.into(),
            framing: Framing::Length,
            trailers: Vec::new(),
            unannounced: false,
            informational: Vec::new(),
            piece: 0,
            pause_ms: 0,
            is_cut: false,
            timing: Timing::Last,
        }
    }

    /// Creates a response without a body, for statuses that have none.
    pub fn bodiless(status: u16) -> Self {
        Self { framing: Framing::None, ..Self::text(status, "") }
    }

    /// Creates a response with this many bytes of the pattern as its body.
    pub fn pattern(len: usize, framing: Framing) -> Self {
        Self { body: Payload::Pattern(len), framing, ..Self::default() }
    }

    /// Sets the status.
    pub fn status(mut self, status: u16) -> Self {
        self.status = status;
        self
    }

    /// Adds a header.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Adds a trailer, and sends the body in chunks.
    pub fn trailer(mut self, name: &str, value: &str) -> Self {
        self.trailers.push((name.to_owned(), value.to_owned()));
        self.framing = Framing::Chunked;
        self
    }

    /// Adds a trailer that no `trailer` field announces, and sends the body in chunks.
    pub fn unannounced_trailer(mut self, name: &str, value: &str) -> Self {
        self.unannounced = true;
        self.trailer(name, value)
    }

    /// Sends an informational response with this status first.
    pub fn after(mut self, informational: u16) -> Self {
        self.informational.push(informational);
        self
    }

    /// Sends the body in chunks, and aborts it before its end.
    pub fn cut(mut self) -> Self {
        (self.is_cut, self.framing) = (true, Framing::Chunked);
        self
    }

    /// Sends the body in pieces of this many bytes, with a pause between them.
    pub fn slowly(mut self, piece: usize, pause_ms: u64) -> Self {
        (self.piece, self.pause_ms) = (piece, pause_ms);
        self
    }

    /// Sends the response before the request's body is read.
    pub fn early(mut self) -> Self {
        self.timing = Timing::Early;
        self
    }

    /// Sends the response instead of reading the request's body, and closes the connection.
    pub fn closing(mut self) -> Self {
        self.timing = Timing::EarlyAndLast;
        self.header("connection", "close")
    }

    /// Whether the request's body isn't read.
    pub(crate) fn closes(&self) -> bool {
        self.timing == Timing::EarlyAndLast
    }

    pub(crate) fn pause(&self) -> Duration {
        Duration::from_millis(self.pause_ms)
    }

    /// The value of the header that requests it.
    pub(crate) fn encode(&self) -> String {
        serde_json::to_vec(self).map(|json| to_hex(&json)).unwrap_or_default()
    }

    /// The header lines, including framing.
    pub(super) fn fields(&self) -> Fields {
        let mut fields = to_fields(&self.headers);
        let framing = match self.framing {
            Framing::None => None,
            Framing::Length => Some(("Content-Length", self.body.len().to_string())),
            Framing::Chunked => Some(("Transfer-Encoding", "chunked".to_owned())),
            Framing::Close => Some(("Connection", "close".to_owned())),
        };
        fields.extend(framing.map(|(name, value)| (name.into(), value.into_bytes())));
        if !self.trailers.is_empty() && !self.unannounced {
            let names: Vec<&str> = self.trailers.iter().map(|trailer| &trailer.0[..]).collect();
            fields.push((b"Trailer".to_vec(), names.join(", ").into_bytes()));
        }
        fields
    }

    pub(super) fn trailers(&self) -> Fields {
        to_fields(&self.trailers)
    }
}

fn to_fields(pairs: &[(String, String)]) -> Fields {
    pairs.iter().map(|(name, value)| (from_latin1(name), from_latin1(value))).collect()
}

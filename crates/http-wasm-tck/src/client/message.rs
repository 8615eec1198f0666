//! Requests as they are sent, and responses as they are received.

use std::fmt;
use std::time::{Duration, Instant};

use crate::payload::Payload;
use crate::wire::{Fields, Framing, values};

/// The HTTP version used with the host under test.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Http {
    /// HTTP/1.1.
    #[default]
    One,
    /// HTTP/2 with prior knowledge.
    Two,
}

impl fmt::Display for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::One => "HTTP/1.1",
            Self::Two => "HTTP/2",
        })
    }
}

/// A request as it is sent.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) target: String,
    /// Set if the case uses a different `host` from that of the host under test.
    pub(crate) host: Option<String>,
    pub(crate) version: &'static str,
    pub(crate) fields: Fields,
    pub(crate) body: Payload,
    pub(crate) framing: Framing,
    pub(crate) trailers: Fields,
    pub(crate) piece: usize,
    pub(crate) pause: Duration,
    /// The request is aborted instead of ending.
    pub(crate) is_cut: bool,
}

impl Default for Request {
    fn default() -> Self {
        Self {
            method: "GET".to_owned(),
            target: "/".to_owned(),
            host: None,
            version: "HTTP/1.1",
            fields: Fields::new(),
            body: Payload::EMPTY,
            framing: Framing::None,
            trailers: Fields::new(),
            piece: 0,
            pause: Duration::ZERO,
            is_cut: false,
        }
    }
}

/// A response as it was received.
#[derive(Clone, Debug, Default)]
pub(crate) struct Response {
    pub(crate) informational: Vec<u16>,
    pub(crate) status: u16,
    pub(crate) fields: Fields,
    pub(crate) framing: Framing,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Fields,
    /// Time from the body's first byte to its end.
    pub(crate) streamed: Duration,
    /// Why the body is incomplete, if it is.
    pub(crate) broken: Option<String>,
}

impl Response {
    /// The values of a header.
    pub(crate) fn header(&self, name: &str) -> Vec<Vec<u8>> {
        values(&self.fields, name).map(<[u8]>::to_vec).collect()
    }

    /// The values of a trailer.
    pub(crate) fn trailer(&self, name: &str) -> Vec<Vec<u8>> {
        values(&self.trailers, name).map(<[u8]>::to_vec).collect()
    }
}

/// The time since the first byte arrived; zero if none has.
pub(super) fn since(first: Option<Instant>) -> Duration {
    first.map(|first| first.elapsed()).unwrap_or_default()
}

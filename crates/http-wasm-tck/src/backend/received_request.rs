//! A request as the backend received it.

use serde::{Deserialize, Serialize};

use crate::text::{from_latin1, hash, latin1};
use crate::wire::{Fields, Framing, Head};

/// A request as the backend received it. In strings, one character stands for one byte.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ReceivedRequest {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) version: String,
    /// Names in their original case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) framing: Framing,
    pub(crate) body_len: usize,
    pub(crate) body_hash: u32,
    /// The first bytes of the body.
    pub(crate) body: String,
    pub(crate) trailers: Vec<(String, String)>,
    /// Milliseconds from the body's first byte to its end.
    pub(crate) streamed_ms: u64,
    /// What was wrong with it on the wire.
    pub(crate) broken: Option<String>,
}

/// How much of a body is reported; length and hash identify the rest.
const BODY_SHOWN: usize = 64;

impl ReceivedRequest {
    pub(super) fn of(head: &Head) -> Self {
        let line = latin1(&head.first);
        // A target that contains a space must be shown unchanged.
        let (method, rest) = line.split_once(' ').unwrap_or((&line, ""));
        let (target, version) = rest.rsplit_once(' ').unwrap_or((rest, ""));
        Self {
            method: method.to_owned(),
            target: target.to_owned(),
            version: version.to_owned(),
            headers: to_texts(&head.fields),
            ..Self::default()
        }
    }

    pub(super) fn receive(&mut self, body: &[u8], trailers: &Fields) {
        self.body_len = body.len();
        self.body_hash = hash(body);
        self.body = latin1(&body[..body.len().min(BODY_SHOWN)]);
        self.trailers = to_texts(trailers);
    }

    /// The values of a header.
    pub(crate) fn header(&self, name: &str) -> Vec<Vec<u8>> {
        values(&self.headers, name)
    }

    /// The values of a trailer.
    pub(crate) fn trailer(&self, name: &str) -> Vec<Vec<u8>> {
        values(&self.trailers, name)
    }
}

fn to_texts(fields: &Fields) -> Vec<(String, String)> {
    fields.iter().map(|(name, value)| (latin1(name), latin1(value))).collect()
}

fn values(fields: &[(String, String)], name: &str) -> Vec<Vec<u8>> {
    let named = fields.iter().filter(|field| field.0.eq_ignore_ascii_case(name));
    named.map(|field| from_latin1(&field.1)).collect()
}

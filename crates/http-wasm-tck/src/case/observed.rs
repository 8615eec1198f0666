//! The results of an exchange.

use std::fmt;

use crate::backend::ReceivedRequest;
use crate::client::Response;

/// The results of an exchange.
pub(crate) struct Observed<'a> {
    pub(crate) response: Result<&'a Response, &'a str>,
    /// The requests that the backend got: usually one.
    pub(crate) backend: &'a [ReceivedRequest],
    /// The host's log, if known.
    pub(crate) log: Option<&'a str>,
    /// Whether the reference host's handling of traps is accepted.
    pub(crate) lenient: bool,
}

impl Observed<'_> {
    pub(super) fn response(&self) -> Result<&Response, Mismatch> {
        self.response.map_err(|error| Mismatch::new("a response", format!("none: {error}")))
    }

    pub(super) fn seen(&self) -> Result<&ReceivedRequest, Mismatch> {
        match self.backend {
            [seen] => Ok(seen),
            all => Err(Mismatch::new("one request at the backend", format!("{} requests", all.len()))),
        }
    }
}

/// A difference between the expected and the actual result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mismatch {
    pub(super) expected: String,
    pub(super) seen: String,
}

impl Mismatch {
    pub(crate) fn new(expected: impl Into<String>, seen: impl Into<String>) -> Self {
        Self { expected: expected.into(), seen: seen.into() }
    }
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: seen {}", self.expected, self.seen)
    }
}

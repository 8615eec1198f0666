//! Comparing what was seen with what should have been.

use std::fmt;

use super::{Check, Observed, Phase};
use crate::payload::Payload;
use crate::text::{hash, latin1, shown};

/// What should have been, and what was.
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

/// The values of a field.
pub(super) type Values = Vec<Vec<u8>>;

/// Words that tell of the guest's inside.
const DETAILS: [&str; 7] =
    ["wasm", "unreachable", "handle_re", "http_handler", "backtrace", "stack", "memory"];

pub(super) fn trapped(phase: Phase, observed: &Observed<'_>) -> Result<(), Mismatch> {
    const EXPECTED: &str = "500 without detail at the client";
    if observed.lenient && phase == Phase::Response && observed.response.is_err() {
        return Ok(());
    }
    let response = observed.response()?;
    if response.status != 500 {
        return Err(Mismatch::new(EXPECTED, format!("status {}", response.status)));
    }
    let text = latin1(&response.body).to_ascii_lowercase();
    if !observed.lenient && DETAILS.iter().any(|word| text.contains(word)) {
        return Err(Mismatch::new(EXPECTED, shown(&response.body)));
    }
    if phase == Phase::Request { Check::NotReached.evaluate(observed) } else { Ok(()) }
}

pub(super) fn require(
    holds: bool,
    expected: impl FnOnce() -> String,
    seen: impl FnOnce() -> String,
) -> Result<(), Mismatch> {
    if holds { Ok(()) } else { Err(Mismatch::new(expected(), seen())) }
}

pub(super) fn same<T: PartialEq>(
    seen: &T,
    wanted: &T,
    expected: impl FnOnce() -> String,
    show: impl FnOnce(&T) -> String,
) -> Result<(), Mismatch> {
    require(seen == wanted, expected, || show(seen))
}

/// Compares the values of a field; several may have been joined on the way, as HTTP allows.
pub(super) fn fields(
    seen: &Values,
    expected: &Values,
    what: impl FnOnce() -> String,
) -> Result<(), Mismatch> {
    let list = |values: &Values| match &values[..] {
        [] => "none".to_owned(),
        values => values.iter().map(|value| shown(value)).collect::<Vec<_>>().join(" and "),
    };
    let equal = seen == expected || expected.len() > 1 && *seen == [expected.join(&b", "[..])];
    require(equal, || format!("{} {}", what(), list(expected)), || list(seen))
}

pub(super) fn body(
    len: usize,
    seen_hash: u32,
    start: &[u8],
    expected: &Payload,
    place: &str,
) -> Result<(), Mismatch> {
    let bytes = expected.bytes();
    require(
        len == bytes.len() && seen_hash == hash(&bytes),
        || format!("a body of {expected} {place}"),
        || match len {
            len if len == bytes.len() && len > 64 => format!("{len} bytes, but other ones"),
            len if len > 64 => format!("{len} bytes"),
            _ => shown(start),
        },
    )
}

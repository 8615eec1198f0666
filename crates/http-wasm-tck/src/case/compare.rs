//! Compares actual with expected results.

use super::check::Values;
use super::observed::Mismatch;
use crate::payload::Payload;
use crate::text::{hash, shown};

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

/// Compares the values of a field. Several values may have been joined on the way, as HTTP allows.
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
            len if len == bytes.len() && len > 64 => format!("{len} bytes, but different ones"),
            len if len > 64 => format!("{len} bytes"),
            _ => shown(start),
        },
    )
}

//! Fields of the core as the `http` crate's header map, and back.

use http::HeaderMap;

use super::names;
use crate::error::Refused;
use crate::message::Fields;
use crate::message::trailers::{is_same_or_variant, is_variant};

pub(super) fn from_header_map(map: &HeaderMap) -> Fields {
    map.iter().map(|(name, value)| (name.as_str().as_bytes(), value.as_bytes())).collect()
}

pub(super) fn to_header_map(fields: &Fields) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in fields.iter() {
        // A limit of the core keeps trailers far below what a map can hold, so nothing is refused.
        let _ = append(&mut map, name, value, Variants::Kept);
    }
    map
}

/// What happens to fields whose names differ from that of a change only in `-` and `_`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Variants {
    Kept,
    Removed,
}

/// Adds a field whose name and value the core has checked.
pub(super) fn append(
    map: &mut HeaderMap,
    name: &[u8],
    value: &[u8],
    variants: Variants,
) -> Result<(), Refused> {
    let value = parse(value)?;
    remove_variants(map, name, variants);
    let added = names::with(name, |name| map.try_append(name, value).map(drop));
    added.ok_or(TOO_LONG)?.map_err(|_| FULL)
}

/// Sets a field whose name and value the core has checked.
pub(super) fn insert(
    map: &mut HeaderMap,
    name: &[u8],
    value: &[u8],
    variants: Variants,
) -> Result<(), Refused> {
    let value = parse(value)?;
    remove_variants(map, name, variants);
    let set = names::with(name, |name| map.try_insert(name, value).map(drop));
    set.ok_or(TOO_LONG)?.map_err(|_| FULL)
}

/// Removes a field.
pub(super) fn remove(map: &mut HeaderMap, name: &[u8], variants: Variants) {
    if variants == Variants::Removed && can_vary(name) {
        // All names are compared anyway, so the field needs no lookup, which often finds nothing.
        remove_where(map, |other| is_same_or_variant(other, name));
    } else {
        names::with(name, |name| map.remove(name));
    }
}

#[inline]
fn remove_variants(map: &mut HeaderMap, name: &[u8], variants: Variants) {
    if variants == Variants::Removed && can_vary(name) {
        remove_where(map, |other| is_variant(other, name));
    }
}

fn can_vary(name: &[u8]) -> bool {
    name.iter().any(|&byte| matches!(byte, b'-' | b'_'))
}

fn remove_where(map: &mut HeaderMap, is_removed: impl Fn(&[u8]) -> bool) {
    while let Some(name) = map.keys().find(|name| is_removed(name.as_str().as_bytes())).cloned() {
        map.remove(name);
    }
}

const TOO_LONG: Refused = Refused("has a name that is too long");

const FULL: Refused = Refused("exceeds the number of fields that a message can have");

fn parse(value: &[u8]) -> Result<http::HeaderValue, Refused> {
    http::HeaderValue::from_bytes(value).map_err(|_| Refused("has an invalid value"))
}

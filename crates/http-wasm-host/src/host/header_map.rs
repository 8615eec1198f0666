//! Fields of the core as the `http` crate's header map, and back.

use http::HeaderMap;

use super::names;
use crate::error::Refused;
use crate::message::Fields;

pub(super) fn from_header_map(map: &HeaderMap) -> Fields {
    map.iter().map(|(name, value)| (name.as_str().as_bytes(), value.as_bytes())).collect()
}

pub(super) fn to_header_map(fields: &Fields) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in fields.iter() {
        // A limit of the core keeps trailers far below what a map can hold, so nothing is refused.
        let _ = append(&mut map, name, value);
    }
    map
}

/// Adds a field whose name and value the core has checked.
pub(super) fn append(map: &mut HeaderMap, name: &[u8], value: &[u8]) -> Result<(), Refused> {
    let value = parse(value)?;
    let added = names::with(name, |name| map.try_append(name, value).map(drop));
    added.ok_or(TOO_LONG)?.map_err(|_| FULL)
}

/// Sets a field whose name and value the core has checked.
pub(super) fn insert(map: &mut HeaderMap, name: &[u8], value: &[u8]) -> Result<(), Refused> {
    let value = parse(value)?;
    let set = names::with(name, |name| map.try_insert(name, value).map(drop));
    set.ok_or(TOO_LONG)?.map_err(|_| FULL)
}

const TOO_LONG: Refused = Refused("has a name that is too long");

const FULL: Refused = Refused("exceeds the number of fields that a message can have");

fn parse(value: &[u8]) -> Result<http::HeaderValue, Refused> {
    http::HeaderValue::from_bytes(value).map_err(|_| Refused("has an invalid value"))
}

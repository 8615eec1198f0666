//! The names of the fields in one of Envoy's maps.
//!
//! Envoy compares a name with each field of a map to set or remove it, which costs several times as much as reading the
//! whole map. Most fields that guests set or remove aren't there, so Envoy is only asked about those that are.

use std::cell::RefCell;

use crate::ffi::{FilterPtr, Map};

thread_local! {
    static NAMES: RefCell<Names> =
        const { RefCell::new(Names { of: None, count: 0, keys: [0; REMEMBERED] }) };
}

/// The names in one map, as long as the current hook runs. Only a key of each is kept, and names that were removed may
/// still be among them.
struct Names {
    of: Option<(FilterPtr, Map)>,
    count: usize,
    keys: [u32; REMEMBERED],
}

/// A map with more names than this may contain any name.
const REMEMBERED: usize = 62;

impl Names {
    fn add(&mut self, name: &[u8]) {
        if let Some(place) = self.keys.get_mut(self.count) {
            *place = key(name);
        }
        self.count += 1;
    }

    fn may_contain(&self, name: &[u8]) -> bool {
        self.keys.get(..self.count).is_none_or(|keys| keys.contains(&key(name)))
    }
}

/// The length of a name and three of its characters, which hardly any two names of a message have in common.
fn key(name: &[u8]) -> u32 {
    let at = |place: usize| name.get(place).map_or(0, |byte| byte | 0x20);
    u32::from_le_bytes([name.len() as u8, at(2), at(name.len() / 2), at(name.len().wrapping_sub(1))])
}

/// Forgets the names, since maps may have changed before the current hook.
pub(crate) fn forget() {
    NAMES.with_borrow_mut(|names| names.of = None);
}

/// Whether a map may contain `name`. `read` reads the names in it.
pub(crate) fn may_contain(
    filter: FilterPtr,
    map: Map,
    name: &[u8],
    read: impl FnOnce(&mut dyn FnMut(&[u8])),
) -> bool {
    NAMES.with_borrow_mut(|names| {
        if names.of != Some((filter, map)) {
            names.count = 0;
            read(&mut |name| names.add(name));
            names.of = Some((filter, map));
        }
        names.may_contain(name)
    })
}

/// Records that a map contains `name` now.
pub(crate) fn added(filter: FilterPtr, map: Map, name: &[u8]) {
    NAMES.with_borrow_mut(|names| {
        if names.of == Some((filter, map)) {
            names.add(name);
        }
    });
}

#[cfg(test)]
mod tests {
    use std::ptr::null_mut;

    use super::*;

    fn contains(map: Map, name: &str, read: &[&str]) -> bool {
        may_contain(null_mut(), map, name.as_bytes(), |add| {
            read.iter().for_each(|name| add(name.as_bytes()));
        })
    }

    #[test]
    fn names_are_read_once_per_hook_and_map() {
        forget();
        assert!(contains(Map::Request, "X-B", &["x-a", "x-b"]));
        assert!(!contains(Map::Request, "x-c", &["x-c"]), "they aren't read again");
        added(null_mut(), Map::Request, b"x-c");
        assert!(contains(Map::Request, "x-c", &[]));
        assert!(contains(Map::Response, "x-d", &["x-d"]), "another map");
        added(null_mut(), Map::Request, b"x-e");
        assert!(!contains(Map::Response, "x-e", &[]));
        forget();
        assert!(!contains(Map::Response, "x-d", &[]), "they are read again");
        assert!(contains(Map::Request, "x-d", &["x-a"; REMEMBERED + 1]), "there are too many");
    }

    #[test]
    fn a_name_has_one_key_and_common_names_have_different_ones() {
        assert_eq!(key(b"X-Request-ID"), key(b"x-request-id"));
        let common = [
            "",
            "a",
            "te",
            "via",
            "date",
            "etag",
            "host",
            "vary",
            "allow",
            "accept",
            "cookie",
            "server",
            "expires",
            "referer",
            "location",
            "x-internal",
            "user-agent",
            "set-cookie",
            "connection",
            "x-served-by",
            "content-type",
            "cache-control",
            "authorization",
            "content-length",
            "accept-encoding",
            "x-forwarded-for",
            "x-forwarded-host",
            "x-forwarded-proto",
            "x-request-id",
            "traceparent",
            "x-trace-id",
        ];
        let mut keys: Vec<_> = common.iter().map(|name| key(name.as_bytes())).collect();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), common.len());
    }
}

//! The fields of one of Envoy's maps, read once for all that a hook asks for.
//!
//! Envoy takes as long to look up one field as to list all of them, and several times as long to set or remove one.
//! Most fields that guests set or remove aren't there, so Envoy is only asked about those that are.
#![expect(unsafe_code, reason = "it keeps what Envoy lends until the map changes")]

use std::cell::RefCell;

use crate::ffi::{Buf, FilterPtr, Header, Map};

thread_local! {
    static SNAPSHOT: RefCell<Snapshot> = const {
        RefCell::new(Snapshot::NONE)
    };
}

/// A map, as it is while one hook runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MapInHook {
    pub(crate) filter: FilterPtr,
    pub(crate) map: Map,
    /// The number of the hook within the stream.
    pub(crate) hook: u32,
}

/// The fields of one map while one hook runs.
struct Snapshot {
    of: Option<MapInHook>,
    /// Whether the map hasn't been changed since. Afterwards, only the keys of its names are known, and names that were
    /// removed may still be among them.
    is_current: bool,
    count: usize,
    fields: [Header; FIELDS],
    /// The [`key`] of each field's name.
    keys: [u32; KEYS],
}

/// Maps with more fields aren't kept.
pub(crate) const FIELDS: usize = 32;
/// A map to which guests add more fields than this may contain any name.
const KEYS: usize = 64;

/// The result of a look-up.
#[derive(Clone, Copy)]
pub(crate) enum Found {
    /// A value, and where to continue to look for the next one.
    Value(Buf, usize),
    Nothing,
    /// Only Envoy knows.
    Unknown,
}

impl Snapshot {
    const NONE: Self =
        Self { of: None, is_current: false, count: 0, fields: [Header::EMPTY; FIELDS], keys: [0; KEYS] };

    /// Reads a map, unless it has been read in this hook.
    fn update(&mut self, of: MapInHook, read: impl FnOnce(&mut [Header; FIELDS]) -> usize) {
        if self.of == Some(of) {
            return;
        }
        let count = read(&mut self.fields);
        self.of = Some(of);
        self.is_current = count <= FIELDS;
        let Some(fields) = self.fields.get(..count) else {
            self.count = KEYS + 1;
            return;
        };
        self.count = count;
        for (key_of, field) in self.keys.iter_mut().zip(fields) {
            // SAFETY: Envoy has just returned the fields.
            *key_of = key(unsafe { field.name.bytes() });
        }
    }

    /// The next field with this name, while the map hasn't been changed.
    fn find(&self, map: Map, name: &[u8], from: usize) -> Option<(usize, Buf)> {
        // Envoy has another name for it.
        let name =
            if map == Map::Request && name.eq_ignore_ascii_case(b"host") { b":authority" } else { name };
        let wanted = key(name);
        let mut at = from;
        loop {
            at += self.keys[at..self.count].iter().position(|key| *key == wanted)?;
            let field = &self.fields[at];
            // SAFETY: the map hasn't been changed since Envoy returned its fields in this hook.
            if unsafe { field.name.bytes() }.eq_ignore_ascii_case(name) {
                return Some((at, field.value));
            }
            at += 1;
        }
    }

    fn may_contain(&self, name: &[u8]) -> bool {
        self.keys.get(..self.count).is_none_or(|keys| keys.contains(&key(name)))
    }

    fn add(&mut self, name: &[u8]) {
        if let Some(place) = self.keys.get_mut(self.count) {
            *place = key(name);
        }
        self.count += 1;
    }
}

/// The length of a name and its last four characters, which hardly any two names of a message have in common.
#[inline]
fn key(name: &[u8]) -> u32 {
    let last = match name.last_chunk() {
        Some(last) => u32::from_le_bytes(*last),
        None => name.iter().fold(0, |all, byte| all << 8 | u32::from(*byte)),
    };
    (last | 0x2020_2020).rotate_left(4) ^ name.len() as u32
}

/// Forgets the fields, since another stream may have the same address.
pub(crate) fn forget() {
    SNAPSHOT.with_borrow_mut(|snapshot| snapshot.of = None);
}

/// Looks for the next field with this name. `read` reads the map, and returns the number of its fields.
pub(crate) fn find(
    of: MapInHook,
    name: &[u8],
    from: usize,
    read: impl FnOnce(&mut [Header; FIELDS]) -> usize,
) -> Found {
    SNAPSHOT.with_borrow_mut(|snapshot| {
        snapshot.update(of, read);
        match snapshot.is_current {
            false => Found::Unknown,
            true => snapshot
                .find(of.map, name, from)
                .map_or(Found::Nothing, |(at, value)| Found::Value(value, at + 1)),
        }
    })
}

/// Called before a field is set, added or removed. Returns whether the map may contain the name.
pub(crate) fn change(
    of: MapInHook,
    name: &[u8],
    removes: bool,
    read: impl FnOnce(&mut [Header; FIELDS]) -> usize,
) -> bool {
    SNAPSHOT.with_borrow_mut(|snapshot| {
        snapshot.update(of, read);
        let contains = match snapshot.is_current {
            true => snapshot.find(of.map, name, 0).is_some(),
            false => snapshot.may_contain(name),
        };
        if contains || !removes {
            snapshot.is_current = false;
        }
        if !contains && !removes {
            snapshot.add(name);
        }
        contains
    })
}

#[cfg(test)]
mod tests {
    use std::ptr::null_mut;

    use super::*;

    fn map(map: Map, hook: u32) -> MapInHook {
        MapInHook { filter: null_mut(), map, hook }
    }

    fn reads<'a>(names: &'a [&'a str]) -> impl FnOnce(&mut [Header; FIELDS]) -> usize + 'a {
        move |fields| {
            for (field, name) in fields.iter_mut().zip(names) {
                *field = Header { name: Buf::of(name.as_bytes()), value: Buf::of(b"value") };
            }
            names.len()
        }
    }

    fn unread(_: &mut [Header; FIELDS]) -> usize {
        panic!("it is read again")
    }

    #[test]
    fn a_map_is_read_once_per_hook_until_it_changes() {
        forget();
        let request = map(Map::Request, 1);
        let read = reads(&["x-a", "x-b", ":authority", "x-b"]);
        assert!(matches!(find(request, b"X-B", 0, read), Found::Value(_, 2)));
        assert!(matches!(find(request, b"x-b", 2, unread), Found::Value(_, 4)));
        assert!(matches!(find(request, b"x-b", 4, unread), Found::Nothing));
        assert!(matches!(find(request, b"Host", 0, unread), Found::Value(_, 3)));
        assert!(!change(request, b"x-c", true, unread), "it isn't there");
        assert!(matches!(find(request, b"x-c", 0, unread), Found::Nothing), "so nothing has changed");
        assert!(change(request, b"x-a", true, unread));
        assert!(matches!(find(request, b"x-b", 0, unread), Found::Unknown), "values may have moved");
        assert!(!change(request, b"x-c", false, unread));
        assert!(change(request, b"X-C", false, unread), "it was added");
        assert!(change(request, b"x-b", false, unread));
        let again = map(Map::Request, 2);
        assert!(matches!(find(again, b"x-c", 0, reads(&["x-c"])), Found::Value(_, 1)), "another hook");
        let response = map(Map::Response, 2);
        assert!(!change(response, b"host", false, reads(&[":authority"])), "another map");
    }

    #[test]
    fn a_map_with_many_fields_may_contain_any_name() {
        forget();
        let names = ["x-a"; FIELDS + 1];
        let of = map(Map::Request, 1);
        assert!(matches!(find(of, b"x-b", 0, reads(&names[..])), Found::Unknown));
        assert!(change(of, b"x-b", true, unread));
        forget();
        assert!(!change(of, b"x-b", false, reads(&names[..FIELDS])));
        for length in FIELDS..KEYS {
            assert!(!change(of, "x".repeat(length).as_bytes(), false, unread), "{length}");
        }
        assert!(change(of, b"x-c", true, unread), "more have been added than are known");
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

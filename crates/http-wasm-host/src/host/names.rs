//! Header names that guests and the core use, each parsed once: a guest names the same few in every request.

use std::cell::RefCell;

use http::HeaderName;
use http::header::{CONTENT_LENGTH, TRAILER, TRANSFER_ENCODING};

/// Number of names that a thread remembers. A name that maps to the slot of another replaces it.
const SLOTS: usize = 64;

/// A longer name is parsed each time, so that a guest can't make threads hold much.
const MAX_LEN: usize = 64;

thread_local! {
    static NAMES: RefCell<[Option<HeaderName>; SLOTS]> = const { RefCell::new([const { None }; SLOTS]) };
}

static LENGTH: HeaderName = CONTENT_LENGTH;
static CODING: HeaderName = TRANSFER_ENCODING;
static TRAILERS: HeaderName = TRAILER;

/// A name that the core looks up in every message whose body a guest has touched.
#[inline]
fn framing(name: &[u8]) -> Option<&'static HeaderName> {
    match name {
        b"content-length" => Some(&LENGTH),
        b"transfer-encoding" => Some(&CODING),
        b"trailer" => Some(&TRAILERS),
        _ => None,
    }
}

/// Calls `f` with the header name that `name` is, in whatever case; `None` if it is none, or too long to be one.
#[inline]
pub(super) fn with<T>(name: &[u8], f: impl FnOnce(&HeaderName) -> T) -> Option<T> {
    if let Some(framing) = framing(name) {
        return Some(f(framing));
    }
    if name.len() > MAX_LEN {
        return HeaderName::from_bytes(name).ok().as_ref().map(f);
    }
    let slot = slot(name);
    NAMES.with(|names| {
        if let Ok(known) = names.try_borrow()
            && let Some(known) = known[slot].as_ref().filter(|known| known.as_str().as_bytes() == name)
        {
            return Some(f(known));
        }
        let parsed = HeaderName::from_bytes(name).ok()?;
        let result = f(&parsed);
        // Unless a lookup that is in progress on this thread has called this.
        if let Ok(mut names) = names.try_borrow_mut() {
            names[slot] = Some(parsed);
        }
        Some(result)
    })
}

/// A hash that distinguishes consecutive names well enough, and costs next to nothing.
#[inline]
fn slot(name: &[u8]) -> usize {
    let byte = |at: usize| usize::from(name.get(at).copied().unwrap_or(0));
    (name.len() * 31 + byte(0) * 7 + byte(name.len() / 2) * 3 + byte(name.len().saturating_sub(1))) % SLOTS
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(name: &[u8]) -> Option<String> {
        with(name, |name| name.as_str().to_owned())
    }

    #[test]
    fn a_parsed_name_is_the_same_whatever_was_parsed_in_between() {
        for _ in 0..3 {
            for letter in b'a'..=b'z' {
                for len in 1..40 {
                    let name = vec![letter; len];
                    assert_eq!(parsed(&name).unwrap().as_bytes(), name);
                }
            }
            assert_eq!(parsed(b"X-Tenant").unwrap(), "x-tenant");
            assert_eq!(parsed(b"content-type").unwrap(), "content-type");
        }
    }

    #[test]
    fn a_name_can_be_parsed_while_another_is_in_use() {
        for _ in 0..2 {
            for name in [&b"a"[..], b"other"] {
                let inner = with(b"a", |_| parsed(name));
                assert_eq!(inner.flatten().unwrap().as_bytes(), name);
            }
        }
    }

    #[test]
    fn long_names_are_parsed_and_invalid_names_are_none() {
        assert_eq!(parsed(&[b'a'; 1000]).unwrap().len(), 1000);
        for bad in [&b""[..], b"a b", b"\xff", &[b'a'; 70_000]] {
            assert_eq!(parsed(bad), None);
        }
    }
}

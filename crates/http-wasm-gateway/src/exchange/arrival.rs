//! Where a request arrived.

use std::sync::{Mutex, PoisonError};

/// Where a request arrived, which routes can match in addition to the request itself.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Arrival {
    /// Whether the client used TLS. A trusted proxy's statement takes precedence.
    pub(crate) tls: bool,
    pub(crate) listener: ListenerId,
}

/// A listener's configured address, as a number. It is the same for the same address in all configurations of this
/// process, since listeners outlive them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct ListenerId(u32);

/// The addresses that have been numbered.
static ADDRESSES: Mutex<Vec<String>> = Mutex::new(Vec::new());

impl ListenerId {
    /// Returns the number of this address.
    pub(crate) fn of(address: &str) -> Self {
        let mut known = ADDRESSES.lock().unwrap_or_else(PoisonError::into_inner);
        let index = known.iter().position(|same| same == address).unwrap_or_else(|| {
            known.push(address.to_owned());
            known.len() - 1
        });
        // 0 is for requests that didn't arrive at a listener.
        Self(u32::try_from(index + 1).unwrap_or(u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::ListenerId;

    #[test]
    fn a_listener_address_always_has_the_same_id() {
        let (one, two) = (ListenerId::of("one:1"), ListenerId::of("two:2"));
        assert_ne!(one, two);
        assert_ne!(one, ListenerId::default());
        assert_eq!((one, two), (ListenerId::of("one:1"), ListenerId::of("two:2")));
    }
}

//! One guest of a chain, and how it is replaced.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use http_wasm_host::{Error, HttpHost, Outcome, Progress};

use crate::Guest;

/// A guest of a [`Chain`](crate::Chain): a [`Guest`], or a [`GuestCell`] that holds the current one.
#[derive(Clone)]
pub struct ChainGuest(Kind);

#[derive(Clone)]
enum Kind {
    Fixed(Guest),
    Replaceable(GuestCell),
}

impl ChainGuest {
    /// The guest that requests get now.
    pub fn current(&self) -> Guest {
        match &self.0 {
            Kind::Fixed(guest) => guest.clone(),
            Kind::Replaceable(cell) => cell.current(),
        }
    }

    #[inline]
    pub(super) fn handle_request(&self, host: HttpHost) -> Progress<Result<Outcome<HttpHost>, Error>> {
        match &self.0 {
            Kind::Fixed(guest) => guest.handle_request(host),
            Kind::Replaceable(cell) => cell.0.load().handle_request(host),
        }
    }
}

impl From<Guest> for ChainGuest {
    fn from(guest: Guest) -> Self {
        Self(Kind::Fixed(guest))
    }
}

impl From<GuestCell> for ChainGuest {
    fn from(cell: GuestCell) -> Self {
        Self(Kind::Replaceable(cell))
    }
}

impl From<&GuestCell> for ChainGuest {
    fn from(cell: &GuestCell) -> Self {
        cell.clone().into()
    }
}

impl fmt::Debug for ChainGuest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.current().fmt(f)
    }
}

/// A guest that can be replaced while services use it.
///
/// No request fails or is delayed because of it: a request that reached the guest before [`replace`](Self::replace) is
/// called stays with the old guest for both phases, even if its response arrives hours later; every request that
/// reaches the guest after the call has returned gets the new one. The old guest's instances are dropped as those
/// requests end.
///
/// Cheap to clone; all clones hold the same guest.
///
/// ```
/// use http_wasm_tower::{Engine, Guest, GuestCell, HttpWasmLayer};
/// # const OLD: &[u8] = br#"(module (memory (export "memory") 1)
/// #     (func (export "handle_request") (result i64) (i64.const 0))
/// #     (func (export "handle_response") (param i32 i32)))"#;
/// # const NEW: &[u8] = OLD;
///
/// # fn main() -> Result<(), http_wasm_tower::LoadError> {
/// let engine = Engine::new()?;
/// let cell = GuestCell::new(Guest::load(&engine, OLD)?);
/// let layer = HttpWasmLayer::new(&cell);
/// // Later, while services of the layer run. A guest that can't be loaded changes nothing.
/// cell.replace(Guest::load(&engine, NEW)?);
/// # drop(layer);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct GuestCell(Arc<ArcSwap<Guest>>);

impl GuestCell {
    /// Creates a cell that holds this guest.
    pub fn new(guest: Guest) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(guest)))
    }

    /// Replaces the guest for all requests from now on. Returns the old guest, which keeps the requests that it already
    /// has.
    pub fn replace(&self, guest: Guest) -> Guest {
        Guest::clone(&self.0.swap(Arc::new(guest)))
    }

    /// The guest that requests get now.
    pub fn current(&self) -> Guest {
        Guest::clone(&self.0.load())
    }
}

impl fmt::Debug for GuestCell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("GuestCell").field(&self.current()).finish()
    }
}

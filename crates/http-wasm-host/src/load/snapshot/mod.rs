//! Snapshots: a guest is initialised once, and each instance starts in the resulting state.
//!
//! The guest's start-up runs in an instance that serves no request. wasmtime-wizer then writes its memory and globals
//! into the module, in place of their initial values, and removes the start functions. The new module is compiled like
//! any other, and its memory is mapped copy-on-write into each instance, so that a new instance costs the same whatever
//! the start-up did.

mod gate;
mod image;
mod key;
mod segments;

pub(crate) use self::image::image;

/// Whether a guest's instances start from a snapshot: the state of an instance that was initialised when the guest was
/// loaded.
///
/// Without a snapshot, each new instance runs the start-up: the wasm start function, `_initialize`, `_start`. With a
/// snapshot, this happens only once, and each instance starts with the resulting memory and globals, and the features
/// that were enabled. This pays off for guests with a slow start-up: interpreters, rule sets, tables, large runtimes.
/// Loading takes longer, because the module is compiled twice. Select it with
/// [`GuestBuilder::snapshot`](crate::GuestBuilder::snapshot).
///
/// A snapshot is made for the module, configuration, arguments, environment and mounted directories that the guest is
/// loaded with. Guests in one [`Engine`](crate::Engine) for which all of these are the same share the snapshot, which
/// exists as long as one of them does. It is kept only in memory: the next process initialises the guest again.
///
/// # What can't be in a snapshot
/// The following guests are rejected with [`LoadError::Snapshot`](crate::LoadError::Snapshot), which says why:
/// - those whose code changes tables or drops segments (`table.set`, `table.grow`, `data.drop`, …), has mutable globals
///   that hold references, or changes garbage-collected objects: that state can't be read back;
/// - those with more than 90,000 data segments that can't be merged, because they overlap or code refers to them;
/// - those that use mounted directories during start-up, except to list them: an open file can't be kept, and reads and
///   writes wouldn't be repeated;
/// - those that draw random bytes, read a clock or wait during start-up, unless this is allowed by
///   [`SharedSeed`](Self::SharedSeed).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Snapshot {
    /// Each instance is initialised separately.
    #[default]
    Off,
    /// All instances start from one snapshot.
    On,
    /// Like [`On`](Self::On), for guests that draw random bytes or read a clock during start-up. Its name in messages
    /// is `shared-seed`.
    ///
    /// **Random values are then the same in all instances.** Go, for example, seeds its hash tables and `math/rand` at
    /// start-up: each instance produces the same sequence, and anyone who learns the seed from one, such as a client of
    /// any route, knows it for all of them as long as a guest uses the snapshot. Collisions found in one hash table
    /// work in all of them. Keys, tokens, nonces and session IDs that come from a generator seeded at start-up repeat
    /// between instances. Allow this only for a guest that derives nothing secret or unique from them, or that asks the
    /// host for random bytes in each request, as Go's `crypto/rand` does.
    ///
    /// A time that was read is the time of loading in all instances. The monotonic clock continues from where it was
    /// when the snapshot was made, so it never runs backwards.
    SharedSeed,
}

crate::choices! { Snapshot { Off = "off", On = "on", SharedSeed = "shared-seed" } }

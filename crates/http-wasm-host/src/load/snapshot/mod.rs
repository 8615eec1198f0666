//! Snapshots: a guest is initialised once, and each instance begins where that run ended.
//!
//! The guest's start-up runs in an instance that serves no request. wasmtime-wizer then writes its memory and globals into
//! the module, in place of their initial values, and takes the start functions out. The new module is compiled like any
//! other, and its memory is mapped copy-on-write into each instance, so that a new one costs the same whatever went before.

mod gate;
mod image;
mod key;
mod segments;

pub(crate) use self::image::image;

/// Whether a guest's instances begin with the state of one that was initialised when the guest was loaded.
///
/// Without a snapshot each new instance runs the start-up: wasm start function, `_initialize`, `_start`. With one this
/// happens a single time, and the memory and globals that it leaves behind, and the features that it has enabled, are what
/// each instance starts with. It pays for guests that take long there: interpreters, rule sets, tables, large runtimes.
/// Loading takes longer, as the module is compiled twice.
///
/// A snapshot is made for the module, configuration, arguments, environment and mounted directories that the guest is
/// loaded with. Guests loaded into one [`Engine`](crate::Engine) with the same of all these share it as long as one of
/// them lives. It is kept in memory only: the next process initialises anew.
///
/// # What can't be in a snapshot
/// Such guests are refused with [`LoadError::Snapshot`](crate::LoadError::Snapshot), which says why:
/// - whose code changes tables or drops segments (`table.set`, `table.grow`, `data.drop`, …), has mutable globals that
///   hold references, or changes garbage-collected objects: that state can't be read back;
/// - who have more than 90,000 data segments that can't be joined, as they overlap or code refers to them;
/// - who use mounted directories during start-up other than to list which there are: an open file can't be kept, and what
///   was read or written wouldn't happen again;
/// - who draw random bytes, read a clock or wait during start-up, unless this is allowed by
///   [`SharedSeed`](Self::SharedSeed).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Snapshot {
    /// Each instance is initialised by itself.
    #[default]
    Off,
    /// All instances begin with one snapshot.
    On,
    /// As [`On`](Self::On), for guests that draw random bytes or read a clock during start-up. Messages call it
    /// `shared-seed`.
    ///
    /// **What was random is then the same in all instances.** Go, for one, seeds its hash tables and `math/rand` at
    /// start-up: each instance produces the same sequence, and who learns the seed from one, as the client of whatever
    /// route, knows it for all, as long as a guest has the snapshot. Hash tables are open to collisions that were found
    /// once. Keys, tokens, nonces and session identifiers that come from a generator seeded at start-up repeat between
    /// instances. Allow this only for a guest that makes nothing secret or unique from them, or that asks the host for
    /// random bytes in each request, as Go's `crypto/rand` does.
    ///
    /// A time that was read is the time of loading in all instances. The monotonic clock goes on from where it stood when
    /// the snapshot was made, so it never runs backwards.
    SharedSeed,
}

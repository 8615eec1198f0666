//! Finds out whether a guest does anything at all.
//!
//! A guest whose handlers were never registered looks like any other: the contents of its tables are only known when it
//! runs. A suspicious guest is therefore called with a test request, on a separate instance that is dropped afterwards.
//! A guest that makes no host call can't have looked at the request.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::engine::block_on;
use crate::host::InMemoryHost;
use crate::load::builder::GuestBuilder;
use crate::load::inspect::lint::Probed;
use crate::pool::outcome::Outcome;

/// How the guest in `bytes` behaves. `builder` has all its settings.
pub(super) fn run(builder: GuestBuilder, bytes: &[u8]) -> Probed {
    // A test request must not write to the guest's directories.
    if builder.has_mounts() {
        return Probed::Unknown;
    }
    let called = Arc::new(AtomicBool::new(false));
    let seen = called.clone();
    let builder = builder.for_probe(move || seen.store(true, Ordering::Relaxed));
    let Ok(guest) = builder.load::<InMemoryHost>(bytes) else { return Probed::Unknown };
    called.store(false, Ordering::Relaxed);
    let handled = block_on(async {
        match guest.handle_request(InMemoryHost::new("GET", "/")).await? {
            Outcome::Respond(_) | Outcome::Streams(_) => Ok(()),
            Outcome::Next(pinned) => pinned.handle_response().await.map(drop),
            Outcome::Bypassed { error, .. } => Err(error),
        }
    });
    if handled.is_ok() && !called.load(Ordering::Relaxed) { Probed::Silent } else { Probed::Active }
}

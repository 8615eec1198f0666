//! Guests that redact event streams and uploads while they are sent, built from `guests/redact-stream`.
//!
//! `HTTP_WASM_STREAM_GUESTS` names the guests, separated by colons. Without it, the one in C is built, if clang is
//! installed.

mod clients;
#[cfg(unix)]
mod event_source;
mod events;
mod splits;
mod uploads;
mod upstream;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use crate::support::Server;

/// The guests.
#[expect(clippy::print_stderr, reason = "a test that is skipped says so")]
fn guests() -> Vec<PathBuf> {
    let named = std::env::var_os("HTTP_WASM_STREAM_GUESTS").unwrap_or_default();
    let named: Vec<_> = std::env::split_paths(&named).filter(|path| !path.as_os_str().is_empty()).collect();
    let guests = if named.is_empty() { in_c().into_iter().collect() } else { named };
    if guests.is_empty() {
        eprintln!("SKIPPED: there is no clang with lld: event streams are not redacted");
    }
    guests
}

/// The guest in C.
fn in_c() -> Option<PathBuf> {
    static BUILT: LazyLock<Option<PathBuf>> = LazyLock::new(|| {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../guests/redact-stream/c/guest.c");
        let guest =
            Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("redact-stream-{}.wasm", std::process::id()));
        let flags = "--target=wasm32 -Os -ffreestanding -nostdlib -Wl,--no-entry -o".split(' ');
        let built = Command::new("clang").args(flags).arg(&guest).arg(source).status();
        built.is_ok_and(|status| status.success()).then_some(guest)
    });
    BUILT.clone()
}

/// A gateway with this guest in front of this upstream. With `streams`, writes are sent at once, otherwise they are
/// held.
fn gateway(guest: &Path, upstream: SocketAddr, streams: bool) -> Server {
    let guest = guest.to_str().expect("a path of ours is text");
    let stream = if streams { "both" } else { "off" };
    Server::proxy_to(upstream, &["--guest", guest, "--bodies", "decoded", "--stream", stream])
}

//! Guests whose instances start from a snapshot of the initialised state.

mod cache;
mod refused;
mod requests;
mod state;
mod wasi;

use http_wasm_host::{Guest, GuestBuilder, InMemoryHost, LoadError, Pinned, Snapshot};

use crate::support::{Probe, Wat, block_on, engine, get};

/// A module that runs `initialize` at start-up, and shows the first 16 bytes of its memory in the response. It
/// proceeds, so that each request between its phases keeps an instance.
fn shows(imports: &str, items: &str, initialize: &str) -> String {
    format!(
        r#"(module {imports}
          (import "http_handler" "write_body" (func $write_body (param i32 i32 i32)))
          (memory (export "memory") 1)
          {items}
          (func $initialize (export "_initialize") {initialize})
          (func (export "handle_request") (result i64)
            (call $write_body (i32.const 1) (i32.const 0) (i32.const 16))
            (i64.const 1))
          (func (export "handle_response") (param i32 i32)))"#
    )
}

/// A function `$hash`, which returns a hash of the memory from `start` to `end`.
fn hash_of_memory(start: usize, end: usize) -> String {
    format!(
        "(func $hash (result i64) (local $at i32) (local $hash i64)
          (local.set $at (i32.const {start}))
          (loop $next
            (local.set $hash (i64.add (i64.mul (local.get $hash) (i64.const 31)) (i64.load8_u (local.get $at))))
            (br_if $next (i32.lt_u (local.tee $at (i32.add (local.get $at) (i32.const 1))) (i32.const {end}))))
          (local.get $hash))"
    )
}

/// Like [`shows`], for a module with as many data segments as Go's linker creates, with few zeros between them; here
/// they have one byte each, in reverse order. It first shows a hash of all memory from 16 on, whose expected value is
/// returned as well.
fn shows_many_segments(items: &str, initialize: &str) -> (String, u64) {
    const COUNT: u64 = 95_000;
    let byte = |n: u64| n % 255 + 1;
    let segment = |n: u64| format!("(data (i32.const {}) \"\\{:02x}\")", 16 + 20 * n, byte(n));
    let segments: String = (0..COUNT).rev().map(segment).collect();
    let hash = hash_of_memory(16, 1_900_016);
    let text = shows("", &format!("{hash} {segments} {items}"), initialize)
        .replace("(memory (export \"memory\") 1)", "(memory (export \"memory\") 29)")
        .replace("(call $write_body", "(i64.store (i32.const 0) (call $hash)) (call $write_body");
    let bytes = (0..20 * COUNT).map(|at| if at % 20 == 0 { byte(at / 20) } else { 0 });
    (text, bytes.fold(0, |hash: u64, byte| hash.wrapping_mul(31).wrapping_add(byte)))
}

fn builder(snapshot: Snapshot) -> GuestBuilder {
    Guest::<InMemoryHost>::builder(engine()).name("probe").snapshot(snapshot)
}

fn load(text: &str, snapshot: Snapshot) -> Probe<InMemoryHost> {
    Probe::new(builder(snapshot).load(text.as_bytes()).unwrap_or_else(|error| panic!("{error}\n{text}")))
}

/// What each of `count` instances shows in its response.
fn shown(probe: &Probe<InMemoryHost>, count: usize) -> Vec<Vec<u8>> {
    let pinned: Vec<_> = (0..count).map(|_| probe.next(get())).collect();
    assert!(probe.stats().live >= count as u64);
    let body = |pinned: Pinned<InMemoryHost>| {
        block_on(pinned.handle_response()).unwrap().host.response.take_body().0
    };
    pinned.into_iter().map(body).collect()
}

/// Why the module is refused.
#[track_caller]
fn refusal(text: &str, snapshot: Snapshot) -> String {
    refusal_of(builder(snapshot), text)
}

#[track_caller]
fn refusal_of(builder: GuestBuilder, text: &str) -> String {
    match builder.load::<InMemoryHost>(text.as_bytes()) {
        Err(error @ LoadError::Snapshot { .. }) => error.to_string(),
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("it was loaded: {text}"),
    }
}

/// A guest from [`Wat`], with a snapshot.
fn snapshotted(wat: &Wat) -> Probe<InMemoryHost> {
    Probe::new(try_snapshot(wat).unwrap_or_else(|error| panic!("{error}")))
}

fn try_snapshot(wat: &Wat) -> Result<Guest<InMemoryHost>, LoadError> {
    wat.builder(engine()).snapshot(Snapshot::On).load(wat.text().as_bytes())
}

const RANDOM: &str =
    r#"(import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))"#;
const DRAW: &str = "(drop (call $random (i32.const 0) (i32.const 16)))";

//! A guest that follows a script in the request's headers, so that one compiled guest serves all cases.

use std::sync::OnceLock;

use http_wasm_host::{InMemoryHost, Limits};

use crate::support::{Probe, proceeds};

/// The replay limit. Scripts and bodies reach it and exceed it.
pub(super) const CAP: usize = 6000;

/// One step of a script. Unless noted otherwise, it applies to the message of the current phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Reads up to the square of this many bytes.
    Read(u8),
    /// Writes `new`.
    Write,
    /// Writes `early` to the response.
    WriteResponse,
    /// Empties the body by setting Content-Length to 0.
    Empty,
    /// Sets header `a`.
    Head,
    /// Asks for the names of the trailers.
    Trailers,
    /// Enables `buffer_request` and `buffer_response`.
    Enable,
    /// Traps.
    Trap,
    /// Calls a host function in a way that the ABI forbids in either phase.
    Misuse,
}

/// The script as a header value.
pub(super) fn encode(script: &[Step]) -> Vec<u8> {
    let step = |step: &Step| match step {
        Step::Read(root) => [b'r', b' ' + root],
        Step::Write => *b"w ",
        Step::WriteResponse => *b"e ",
        Step::Empty => *b"z ",
        Step::Head => *b"h ",
        Step::Trailers => *b"t ",
        Step::Enable => *b"f ",
        Step::Trap => *b"x ",
        Step::Misuse => *b"m ",
    };
    // The last byte isn't part of a step: header values must not end with a space.
    script.iter().flat_map(step).chain(*b".").collect()
}

const INTERPRETER: &str = r#"
  (data (i32.const 600) "newearlycontent-length0qpa")
  ;; Fetches the script of this name to 12288; gives its length.
  (func $script (param $name i32) (result i32)
    (i32.wrap_i64 (call $get_header_values (i32.const 0) (local.get $name) (i32.const 1)
      (i32.const 12288) (i32.const 4000))))
  (func $run (param $kind i32) (param $len i32)
    (local $at i32) (local $op i32) (local $root i32)
    (loop $next
      (if (i32.ge_u (i32.add (local.get $at) (i32.const 2)) (local.get $len)) (then (return)))
      (local.set $op (i32.load8_u offset=12288 (local.get $at)))
      (local.set $root (i32.sub (i32.load8_u offset=12289 (local.get $at)) (i32.const 32)))
      (local.set $at (i32.add (local.get $at) (i32.const 2)))
      (if (i32.eq (local.get $op) (i32.const 0x72)) (then
        (drop (call $read_body (local.get $kind) (i32.const 16384)
          (i32.mul (local.get $root) (local.get $root))))))
      (if (i32.eq (local.get $op) (i32.const 0x77)) (then
        (call $write_body (local.get $kind) (i32.const 600) (i32.const 3))))
      (if (i32.eq (local.get $op) (i32.const 0x65)) (then
        (call $write_body (i32.const 1) (i32.const 603) (i32.const 5))))
      (if (i32.eq (local.get $op) (i32.const 0x7a)) (then
        (call $set_header_value (local.get $kind) (i32.const 608) (i32.const 14) (i32.const 622) (i32.const 1))))
      (if (i32.eq (local.get $op) (i32.const 0x68)) (then
        (call $set_header_value (local.get $kind) (i32.const 625) (i32.const 1) (i32.const 600) (i32.const 3))))
      (if (i32.eq (local.get $op) (i32.const 0x74)) (then
        (drop (call $get_header_names (i32.add (local.get $kind) (i32.const 2)) (i32.const 0) (i32.const 0)))))
      (if (i32.eq (local.get $op) (i32.const 0x66)) (then (drop (call $enable_features (i32.const 3)))))
      (if (i32.eq (local.get $op) (i32.const 0x78)) (then unreachable))
      (if (i32.eq (local.get $op) (i32.const 0x6d)) (then (call $set_status_code (i32.const 0))))
      (br $next)))"#;

/// The guest with these features enabled at start-up, which fails open or closed.
pub(super) fn guest(features: u32, open: bool) -> &'static Probe<InMemoryHost> {
    static GUESTS: [[OnceLock<Probe<InMemoryHost>>; 2]; 4] = [const { [const { OnceLock::new() }; 2] }; 4];
    GUESTS[features as usize][usize::from(open)].get_or_init(|| {
        let wat = proceeds("(call $run 0 (call $script 623))")
            .on_response("(call $run 1 (call $script 624))")
            .item(INTERPRETER)
            .features(features)
            .limits(Limits { replay_bytes: CAP, ..Limits::default() });
        if open { wat.fails_open().load() } else { wat.load() }
    })
}

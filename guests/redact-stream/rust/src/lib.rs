//! Redacts a JSON field in event streams and JSON requests and responses while they are sent: the value of each field
//! of that name, if it is a string, becomes "***". The configuration is the field's name, "ssn" by default.
//!
//! A body can be split anywhere: a few bytes of state are kept from one piece to the next. So each piece is passed
//! on at once.

use std::sync::OnceLock;

#[link(wasm_import_module = "http_handler")]
unsafe extern "C" {
    fn enable_features(features: u32) -> u32;
    fn get_config(buf: *mut u8, limit: usize) -> usize;
    fn get_header_values(kind: u32, name: *const u8, name_len: usize, buf: *mut u8, limit: usize) -> u64;
    fn read_body(kind: u32, buf: *mut u8, limit: usize) -> u64;
    fn write_body(kind: u32, body: *const u8, len: usize);
}

/// Declares support for hosts that send writes while the guest runs: heads aren't changed here, and reads may return
/// less than requested.
#[unsafe(link_section = "http-wasm-stream")]
#[used]
static DECLARES_STREAM: [u8; 1] = *b"1";

const REQUEST: u32 = 0;
const RESPONSE: u32 = 1;
const BUFFER_RESPONSE: u32 = 2;
const PIECE: usize = 16 * 1024;

static FIELD: OnceLock<Vec<u8>> = OnceLock::new();

#[derive(Clone, Copy, Default, PartialEq)]
enum State {
    #[default]
    Outside,
    /// In a string of which this many bytes match the field's name so far.
    String(Option<usize>),
    Escape,
    AfterName,
    BeforeValue,
    Value,
    ValueEscape,
}

impl State {
    /// Returns the state after this byte.
    fn next(self, byte: u8, field: &[u8]) -> Self {
        let is_space = matches!(byte, b' ' | b'\t' | b'\r');
        match (self, byte) {
            // JSON strings don't continue on the next line.
            (_, b'\n') => Self::Outside,
            (Self::String(_), b'\\') => Self::Escape,
            (Self::String(matched), b'"') if matched == Some(field.len()) => Self::AfterName,
            (Self::String(_), b'"') => Self::Outside,
            (Self::String(matched), _) => {
                Self::String(matched.filter(|&at| field.get(at) == Some(&byte)).map(|at| at + 1))
            }
            (Self::Escape, _) => Self::String(None),
            (Self::Value, b'\\') => Self::ValueEscape,
            (Self::Value, b'"') => Self::Outside,
            (Self::Value | Self::ValueEscape, _) => Self::Value,
            (Self::AfterName | Self::BeforeValue, _) if is_space => self,
            (Self::AfterName, b':') => Self::BeforeValue,
            (Self::BeforeValue, b'"') => Self::Value,
            (_, b'"') => Self::String(Some(0)),
            _ => Self::Outside,
        }
    }
}

#[unsafe(export_name = "_initialize")]
extern "C" fn initialize() {
    let mut field = vec![0; 256];
    // SAFETY: the buffer has the length of the limit; longer values aren't written.
    let len = unsafe { get_config(field.as_mut_ptr(), field.len()) };
    assert!(len <= field.len(), "the field's name is too long");
    field.truncate(len);
    let _first = FIELD.set(if len == 0 { b"ssn".to_vec() } else { field });
    // SAFETY: it doesn't access memory.
    unsafe { enable_features(BUFFER_RESPONSE) };
}

fn is_redacted(kind: u32, piece: &mut [u8]) -> bool {
    let name = b"content-type";
    // SAFETY: both lengths are correct.
    let found = unsafe {
        get_header_values(kind, name.as_ptr(), name.len(), piece.as_mut_ptr(), piece.len())
    };
    let values = piece.get(..found as u32 as usize).unwrap_or_default();
    values.starts_with(b"text/event-stream") || values.starts_with(b"application/json")
}

fn redact_body(kind: u32) {
    let mut piece = vec![0; PIECE];
    if !is_redacted(kind, &mut piece) {
        return;
    }
    let field = FIELD.get().expect("it is initialised");
    let (mut state, mut out) = (State::default(), Vec::with_capacity(2 * PIECE));
    loop {
        // SAFETY: the buffer has the length of the limit.
        let read = unsafe { read_body(kind, piece.as_mut_ptr(), piece.len()) };
        out.clear();
        for &byte in &piece[..read as u32 as usize] {
            let before = state;
            state = before.next(byte, field);
            match state {
                State::Value if before == State::BeforeValue => out.extend_from_slice(b"\"***"),
                State::Value | State::ValueEscape => {}
                _ => out.push(byte),
            }
        }
        if !out.is_empty() {
            // SAFETY: the length is correct.
            unsafe { write_body(kind, out.as_ptr(), out.len()) };
        }
        if read >> 32 != 0 {
            return;
        }
    }
}

#[unsafe(no_mangle)]
extern "C" fn handle_request() -> u64 {
    redact_body(REQUEST);
    1
}

#[unsafe(no_mangle)]
extern "C" fn handle_response(_req_ctx: u32, is_error: u32) {
    if is_error == 0 {
        redact_body(RESPONSE);
    }
}

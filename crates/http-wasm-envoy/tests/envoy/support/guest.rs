//! Guests in a few lines of WAT.

use std::fmt::Write as _;

/// A builder for a guest.
#[derive(Default)]
pub(crate) struct Wat {
    data: String,
    at: usize,
    request: String,
    response: String,
}

const IMPORTS: &str = r#"
  (import "http_handler" "enable_features" (func $enable_features (param i32) (result i32)))
  (import "http_handler" "set_method" (func $set_method (param i32 i32)))
  (import "http_handler" "set_uri" (func $set_uri (param i32 i32)))
  (import "http_handler" "get_header_values" (func $get_header_values (param i32 i32 i32 i32 i32) (result i64)))
  (import "http_handler" "set_header_value" (func $set_header_value (param i32 i32 i32 i32 i32)))
  (import "http_handler" "add_header_value" (func $add_header_value (param i32 i32 i32 i32 i32)))
  (import "http_handler" "remove_header" (func $remove_header (param i32 i32 i32)))
  (import "http_handler" "read_body" (func $read_body (param i32 i32 i32) (result i64)))
  (import "http_handler" "write_body" (func $write_body (param i32 i32 i32)))
  (import "http_handler" "get_status_code" (func $get_status_code (result i32)))
  (import "http_handler" "set_status_code" (func $set_status_code (param i32)))
  (import "http_handler" "log" (func $log (param i32 i32 i32)))
"#;

/// The address of the guest's buffer.
const BUFFER: usize = 8192;

impl Wat {
    /// A guest that lets every request proceed.
    pub(crate) fn new() -> Self {
        Self { at: 16, ..Self::default() }
    }

    /// Adds a string to the guest's memory. Returns its address and length as arguments of a call.
    fn text(&mut self, text: &str) -> String {
        let at = self.at;
        self.at += text.len();
        assert!(self.at < BUFFER);
        let escaped: String = text.bytes().map(|byte| format!("\\{byte:02x}")).collect();
        let _ = write!(self.data, "(data (i32.const {at}) \"{escaped}\")");
        format!("(i32.const {at}) (i32.const {})", text.len())
    }

    /// Runs `code` in `handle_request`. Each `{}` in it is replaced with one of the texts, in order.
    pub(crate) fn on_request(mut self, code: &str, texts: &[&str]) -> Self {
        let code = self.fill(code, texts);
        self.request.push_str(&code);
        self
    }

    /// The same in `handle_response`.
    pub(crate) fn on_response(mut self, code: &str, texts: &[&str]) -> Self {
        let code = self.fill(code, texts);
        self.response.push_str(&code);
        self
    }

    fn fill(&mut self, code: &str, texts: &[&str]) -> String {
        let mut parts = code.split("{}");
        let mut filled = parts.next().unwrap_or_default().to_owned();
        let mut texts = texts.iter();
        for part in parts {
            filled.push_str(&self.text(texts.next().expect("a text for each place")));
            filled.push_str(part);
        }
        filled
    }

    /// The module. `$read_all` reads a body to its end in steps of 1,000 bytes and returns its length.
    pub(crate) fn module(&self) -> String {
        let Self { data, request, response, .. } = self;
        format!(
            r#"(module {IMPORTS}
  (memory (export "memory") 2)
  {data}
  (global $n (mut i32) (i32.const 0))
  (func $read_all (param $kind i32) (result i32) (local $read i64) (local $sum i32)
    (loop $more
      (local.set $read (call $read_body (local.get $kind) (i32.const {BUFFER}) (i32.const 1000)))
      (local.set $sum (i32.add (local.get $sum) (i32.wrap_i64 (local.get $read))))
      (br_if $more (i64.eqz (i64.shr_u (local.get $read) (i64.const 32)))))
    (local.get $sum))
  (func (export "handle_request") (result i64)
    {request}
    (i64.const 1))
  (func (export "handle_response") (param $req_ctx i32) (param $is_error i32)
    {response}))"#
        )
    }
}

//! Guests in a few lines of WebAssembly text.
//!
//! A test provides the bodies of the guest's functions. The prelude has the imports, each under its ABI name, and
//! functions that take notes. Three abbreviations are expanded in those bodies:
//! - `"text"` becomes two operands, offset and length of a string in memory;
//! - a bare number becomes an `i32.const`;
//! - `BUF`, `LIMIT`, `LARGE` stand for the buffer that results are written to, its size, and the end of the first page.
//!
//! Memory layout: scratch from 0, strings from 1,024, BUF from 16,384, notes from 32,768, LARGE from 65,536.

use std::fmt::Write;

use http_wasm_host::{
    Bodies, Decoding, Guest, GuestBuilder, Host, InMemoryHost, Limits, LoadError, OnFailure, Stream,
};

use super::{Probe, engine};

const PRELUDE: &str = include_str!("prelude.wat");
const STRINGS: usize = 1024;
const BUF: usize = 16_384;
const LIMIT: usize = 8_192;
const LARGE: usize = 65_536;

/// A builder for a guest.
#[derive(Clone, Default)]
pub(crate) struct Wat {
    request: String,
    response: String,
    proceeds: bool,
    items: String,
    start: String,
    initialize: Option<String>,
    command: Option<String>,
    pages: Option<u32>,
    strings: Vec<u8>,
    config: Vec<u8>,
    limits: Limits,
    on_failure: OnFailure,
    bodies: Bodies,
    decoding: Decoding,
    stream: Stream,
}

/// A guest that lets every request proceed.
pub(crate) fn guest() -> Wat {
    Wat { proceeds: true, ..Wat::default() }
}

/// A guest that runs `body` in `handle_request` and stops.
pub(crate) fn stops(body: &str) -> Wat {
    let mut wat = guest();
    wat.proceeds = false;
    wat.request = wat.expand(body);
    wat
}

/// A guest that runs `body` in `handle_request` and proceeds, unless the body returns something else.
pub(crate) fn proceeds(body: &str) -> Wat {
    let mut wat = guest();
    wat.request = wat.expand(body);
    wat
}

impl Wat {
    /// Runs `body` in `handle_response`, whose parameters are `$req_ctx` and `$is_error`.
    pub(crate) fn on_response(mut self, body: &str) -> Self {
        self.response = self.expand(body);
        self
    }

    /// Runs `body` in the wasm start function.
    pub(crate) fn on_start(mut self, body: &str) -> Self {
        self.start = self.start.clone() + &self.expand(body);
        self
    }

    /// Runs `body` in `_initialize`.
    pub(crate) fn on_initialize(mut self, body: &str) -> Self {
        self.initialize = Some(self.expand(body));
        self
    }

    /// Runs `body` in `_start`.
    pub(crate) fn on_command(mut self, body: &str) -> Self {
        self.command = Some(self.expand(body));
        self
    }

    /// Enables features at start-up.
    pub(crate) fn features(self, features: u32) -> Self {
        self.on_start(&format!("(drop (call $enable_features {features}))"))
    }

    /// Adds a global, a function or another item.
    pub(crate) fn item(mut self, item: &str) -> Self {
        self.items.push_str(item);
        self
    }

    /// Sets the size of the memory; the default is one page.
    pub(crate) fn pages(mut self, pages: u32) -> Self {
        self.pages = Some(pages);
        self
    }

    pub(crate) fn config(mut self, config: &[u8]) -> Self {
        self.config = config.to_vec();
        self
    }

    pub(crate) fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    pub(crate) fn fails_open(mut self) -> Self {
        self.on_failure = OnFailure::Open;
        self
    }

    /// Requests decoded bodies.
    pub(crate) fn decodes(self) -> Self {
        self.decodes_with(Decoding::default())
    }

    /// Requests decoded bodies, with these settings.
    pub(crate) fn decodes_with(mut self, decoding: Decoding) -> Self {
        (self.bodies, self.decoding) = (Bodies::Decoded, decoding);
        self
    }

    /// Enables streaming of responses, and declares that the guest supports it.
    pub(crate) fn streams(self) -> Self {
        self.streams_as(Stream::Response)
    }

    /// Enables streaming of these messages, and declares that the guest supports it.
    pub(crate) fn streams_as(mut self, stream: Stream) -> Self {
        self.stream = stream;
        self.item(r#"(@custom "http-wasm-stream" "")"#)
    }

    /// Loads it for the in-memory host.
    pub(crate) fn load(self) -> Probe<InMemoryHost> {
        self.load_for()
    }

    /// Loads it for any host.
    pub(crate) fn load_for<H: Host>(self) -> Probe<H> {
        let text = self.text();
        Probe::new(self.try_load().unwrap_or_else(|error| panic!("{error}\n{text}")))
    }

    pub(crate) fn try_load<H: Host>(self) -> Result<Guest<H>, LoadError> {
        self.builder(engine()).load(self.text().as_bytes())
    }

    /// A builder for loading [`text`](Self::text) into another engine.
    pub(crate) fn builder(&self, engine: &http_wasm_host::Engine) -> GuestBuilder {
        let builder = Guest::<InMemoryHost>::builder(engine);
        builder
            .name("probe")
            .config(self.config.clone())
            .limits(self.limits.clone())
            .on_failure(self.on_failure)
            .bodies(self.bodies)
            .decoding(self.decoding)
            .stream(self.stream)
    }

    pub(crate) fn text(&self) -> String {
        let Self { request, response, items, start, .. } = self;
        let (pages, next) = (self.pages.unwrap_or(1), u32::from(self.proceeds));
        let mut text = format!("(module\n{PRELUDE}\n(memory (export \"memory\") {pages})\n{items}\n");
        let _ = write!(
            text,
            "(func (export \"handle_request\") (result i64)
               (if (call $dumps) (then (return (i64.const 0))))
               (call $handle_request))
             (func $handle_request (result i64)
               {request}
               (i64.const {next}))
             (func $handle_response (export \"handle_response\") (param $req_ctx i32) (param $is_error i32)
               {response})"
        );
        if !start.is_empty() {
            let _ = write!(text, "(func $start {start}) (start $start)");
        }
        for (name, body) in [("_initialize", &self.initialize), ("_start", &self.command)] {
            if let Some(body) = body {
                let _ = write!(text, "(func (export \"{name}\") {body})");
            }
        }
        let data: String = self.strings.iter().map(|byte| format!("\\{byte:02x}")).collect();
        let _ = write!(text, "(data (i32.const {STRINGS}) \"{data}\"))");
        text
    }

    /// Expands the abbreviations.
    fn expand(&mut self, body: &str) -> String {
        let mut out = String::new();
        let mut previous = "";
        let mut rest = body;
        while let Some(first) = rest.chars().next() {
            let token = match first {
                '"' => {
                    let (bytes, len) = literal(rest);
                    let _ = write!(
                        out,
                        "(i32.const {}) (i32.const {})",
                        STRINGS + self.strings.len(),
                        bytes.len()
                    );
                    self.strings.extend(bytes);
                    assert!(STRINGS + self.strings.len() < BUF, "too many strings");
                    &rest[..len]
                }
                '(' | ')' => &rest[..1],
                _ if first.is_whitespace() => &rest[..first.len_utf8()],
                _ => {
                    let end = rest.find(|c: char| c.is_whitespace() || "()\"".contains(c));
                    &rest[..end.unwrap_or(rest.len())]
                }
            };
            match token {
                "BUF" => out += &format!("(i32.const {BUF})"),
                "LIMIT" => out += &format!("(i32.const {LIMIT})"),
                "LARGE" => out += &format!("(i32.const {LARGE})"),
                _ if first == '"' => {}
                _ if is_number(token) && !takes_immediate(previous) => out += &format!("(i32.const {token})"),
                _ => out += token,
            }
            if !first.is_whitespace() {
                previous = token;
            }
            rest = &rest[token.len()..];
        }
        out
    }
}

fn is_number(token: &str) -> bool {
    token.strip_prefix('-').unwrap_or(token).starts_with(|c: char| c.is_ascii_digit())
}

fn takes_immediate(instruction: &str) -> bool {
    instruction.ends_with(".const")
        || ["br", "br_if", "local.get", "local.set", "call", "param"].contains(&instruction)
}

/// The bytes of the string literal at the start of `text`, and its length there.
fn literal(text: &str) -> (Vec<u8>, usize) {
    let source = text.as_bytes();
    let (mut bytes, mut at) = (Vec::new(), 1);
    while source[at] != b'"' {
        if source[at] == b'\\' {
            let hex = text.get(at + 1..at + 3).and_then(|hex| u8::from_str_radix(hex, 16).ok());
            bytes.push(hex.expect("escapes are two hexadecimal digits"));
            at += 3;
        } else {
            bytes.push(source[at]);
            at += 1;
        }
    }
    (bytes, at + 1)
}

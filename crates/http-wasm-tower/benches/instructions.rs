//! Sends requests through chains of guests, for a tool that counts instructions: see `bench/instructions`.
//!
//! `instructions --list` prints the cases; `instructions CASE COUNT` runs one that many times.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "it is a command")]

use std::convert::Infallible;
use std::future::Future;
use std::hint::black_box;
use std::pin::pin;
use std::process::ExitCode;
use std::task::{Context, Poll, Waker};

use http::{HeaderValue, Request, Response};
use http_wasm_tower::{Body, Chain, Engine, Guest};

/// What a guest does in each phase, and the number of such guests in the chain.
struct Case {
    name: &'static str,
    guests: usize,
    request: &'static str,
    response: &'static str,
    body: &'static [u8],
}

const ONE_CALL: &str = "(drop (call $get_status_code))";

const CASES: [Case; 10] = [
    Case { name: "no-guest", guests: 0, request: "", response: "", body: b"" },
    Case { name: "one-call", guests: 1, request: ONE_CALL, response: "", body: b"" },
    Case { name: "two-guests", guests: 2, request: ONE_CALL, response: "", body: b"" },
    Case { name: "eight-guests", guests: 8, request: ONE_CALL, response: "", body: b"" },
    Case {
        name: "read-head",
        guests: 1,
        request: "(drop (call $get_method (i32.const 4096) (i32.const 64)))
            (drop (call $get_uri (i32.const 4096) (i32.const 64)))
            (drop (call $get_header_names (i32.const 0) (i32.const 4096) (i32.const 4096)))
            (drop (call $get_header_values
              (i32.const 0) (i32.const 0) (i32.const 12) (i32.const 4096) (i32.const 64)))",
        response: ONE_CALL,
        body: b"",
    },
    Case {
        name: "set-headers",
        guests: 1,
        request: "(call $set_header_value
              (i32.const 0) (i32.const 0) (i32.const 12) (i32.const 16) (i32.const 4))
            (call $set_uri (i32.const 32) (i32.const 4))",
        response: "(call $set_header_value
              (i32.const 1) (i32.const 0) (i32.const 12) (i32.const 16) (i32.const 4))
            (call $remove_header (i32.const 1) (i32.const 0) (i32.const 12))",
        body: b"",
    },
    Case {
        name: "respond",
        guests: 1,
        request: "(call $set_status_code (i32.const 403))
            (call $write_body (i32.const 1) (i32.const 16) (i32.const 4))
            (return (i64.const 0))",
        response: "",
        body: b"",
    },
    Case {
        name: "read-body",
        guests: 1,
        request: "(drop (call $read_body (i32.const 0) (i32.const 4096) (i32.const 8192)))",
        response: "",
        body: &[7; 4096],
    },
    Case {
        name: "read-in-steps",
        guests: 1,
        request: "(loop $more
            (br_if $more (i64.lt_u
              (call $read_body (i32.const 0) (i32.const 4096) (i32.const 1024)) (i64.const 0x1_0000_0000))))",
        response: "",
        body: &[7; 4096],
    },
    Case {
        name: "replace-body",
        guests: 1,
        request: "(call $write_body (i32.const 0) (i32.const 16) (i32.const 4))",
        response: "(call $write_body (i32.const 1) (i32.const 16) (i32.const 4))",
        body: &[7; 4096],
    },
];

impl Case {
    fn module(&self) -> String {
        let Self { request, response, .. } = self;
        format!(
            r#"(module
            (import "http_handler" "enable_features" (func $enable_features (param i32) (result i32)))
            (import "http_handler" "get_method" (func $get_method (param i32 i32) (result i32)))
            (import "http_handler" "get_uri" (func $get_uri (param i32 i32) (result i32)))
            (import "http_handler" "set_uri" (func $set_uri (param i32 i32)))
            (import "http_handler" "get_header_names" (func $get_header_names (param i32 i32 i32) (result i64)))
            (import "http_handler" "get_header_values"
              (func $get_header_values (param i32 i32 i32 i32 i32) (result i64)))
            (import "http_handler" "set_header_value" (func $set_header_value (param i32 i32 i32 i32 i32)))
            (import "http_handler" "remove_header" (func $remove_header (param i32 i32 i32)))
            (import "http_handler" "read_body" (func $read_body (param i32 i32 i32) (result i64)))
            (import "http_handler" "write_body" (func $write_body (param i32 i32 i32)))
            (import "http_handler" "get_status_code" (func $get_status_code (result i32)))
            (import "http_handler" "set_status_code" (func $set_status_code (param i32)))
            (memory (export "memory") 1)
            (data (i32.const 0) "x-request-id") (data (i32.const 16) "acme") (data (i32.const 32) "/b?c")
            (func (export "_initialize") (drop (call $enable_features (i32.const 3))))
            (func (export "handle_request") (result i64) {request} (i64.const 1))
            (func (export "handle_response") (param i32 i32) {response}))"#
        )
    }

    /// # Errors
    /// If a guest can't be loaded, or fails.
    fn run(&self, count: usize) -> Result<(), String> {
        // Slots take more address space than tools that emulate the machine can provide.
        let engine = Engine::builder().slots(0).build().map_err(|error| error.to_string())?;
        let guest = Guest::load(&engine, self.module().as_bytes()).map_err(|error| error.to_string())?;
        let chain = Chain::new(vec![guest; self.guests]);
        for _ in 0..count {
            let call = chain.call(self.http_request(), async |request: Request<Body>| {
                black_box(request);
                Ok::<_, Infallible>(Response::new(Body::empty()))
            });
            let Ok(response) = now(call);
            if response.status().is_server_error() {
                return Err(format!("{}: the response is {}", self.name, response.status()));
            }
            black_box(response);
        }
        Ok(())
    }

    fn http_request(&self) -> Request<Body> {
        let mut request = Request::new(Body::from(self.body));
        for (name, value) in
            [("accept", "*/*"), ("user-agent", "bench"), ("x-request-id", "0123456789abcdef")]
        {
            request.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        request
    }
}

/// Polls a future that never waits for anything external.
fn now<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return output;
        }
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let case = |name| CASES.iter().find(|case| case.name == name);
    let done = match words[..] {
        ["--list"] => {
            CASES.iter().for_each(|case| println!("{}", case.name));
            Ok(())
        }
        [name, count] => match (case(name), count.parse()) {
            (Some(case), Ok(count)) => case.run(count),
            (None, _) => Err(format!("unknown case {name}: `--list` prints them")),
            (_, Err(error)) => Err(format!("{count}: {error}")),
        },
        // Other arguments come from Cargo when it runs all benchmarks.
        _ => {
            println!("`bench/instructions` runs this");
            Ok(())
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

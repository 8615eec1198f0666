//! Arbitrary bytes as a module: loaded and, if that works, run for one exchange.

use std::cell::OnceCell;
use std::convert::Infallible;
use std::future::ready;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use http_wasm_host::{Engine, Error, ErrorKind, Guest, HttpHost, Limits, LoadError};
use http_wasm_tower::Chain;

use crate::checks::{GUEST, is_line};
use crate::drive::wait;
use crate::exchange::nothing_is_lost;

/// A timeout longer than any limit below: a call that takes longer has hung.
const TIMEOUT: Duration = Duration::from_secs(20);

/// Larger modules don't find more bugs, and are slow to compile.
const MAX_BYTES: usize = 64 * 1024;

/// Loads the input as a guest; see [`crate`].
pub fn module(input: &[u8]) {
    thread_local!(static ENGINE: OnceCell<Engine> = const { OnceCell::new() });
    let input = &input[..input.len().min(MAX_BYTES)];
    let engine =
        ENGINE.with(|engine| engine.get_or_init(|| Engine::new().expect("WebAssembly works here")).clone());
    match Guest::<HttpHost>::builder(&engine).name(GUEST).limits(limits()).config("a=b").load(input) {
        Ok(guest) => serve(&guest),
        Err(refused) => check(&refused),
    }
}

fn limits() -> Limits {
    Limits {
        memory_bytes: 4 * 1024 * 1024,
        table_elements: 10_000,
        deadline: Duration::from_millis(30),
        startup_deadline: Duration::from_millis(60),
        total: Duration::from_millis(200),
        ..Limits::default()
    }
}

fn serve(guest: &Guest<HttpHost>) {
    let request = Request::post("/a?b").header("host", "example.com").body(Full::new(Bytes::from("body")));
    let call = Chain::new([guest.clone()]).call(request.expect("a legal request"), |_| {
        let mut response = Response::new(Full::new(Bytes::from("answer")));
        *response.status_mut() = StatusCode::NOT_FOUND;
        ready(Ok::<_, Infallible>(response))
    });
    let Ok(response) = wait(call, TIMEOUT);
    if let Some(error) = response.extensions().get::<Arc<Error>>() {
        check_error(error);
        assert!(error.phase().is_some(), "{error}");
    }
    nothing_is_lost(guest.stats());
}

/// Checks that an error names the guest and is printable.
fn check(refused: &LoadError) {
    let text = refused.to_string();
    assert!(text.contains(GUEST), "{text}");
    let (guest, lines) = match refused {
        LoadError::Invalid { guest, faults } => {
            assert!(!faults.is_empty(), "{text}");
            (&**guest, faults.iter().map(ToString::to_string).collect())
        }
        LoadError::Compile { guest, reason } => (&**guest, vec![reason.clone()]),
        LoadError::Start(error) => {
            assert!(error.phase().is_none(), "{error}");
            return check_error(error);
        }
        other => panic!("{other}"),
    };
    assert_eq!(guest, GUEST);
    for line in lines {
        // An error in WebAssembly text includes the line.
        let printable = line.split('\n').all(|line| !line.contains(|c: char| c.is_control() && c != '\t'));
        assert!(!line.is_empty() && printable, "{line:?}");
    }
}

fn check_error(error: &Error) {
    assert_eq!(error.guest(), GUEST);
    assert!(is_line(&error.to_string()), "{error:?}");
    assert_ne!(error.kind(), ErrorKind::Internal, "{error}");
}

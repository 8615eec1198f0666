//! Any bytes as a module: through the whole load, and where that works, through one exchange.

use std::cell::OnceCell;
use std::time::Duration;

use http_wasm_host::{Engine, Error, ErrorKind, Guest, InMemoryHost, Limits, LoadError, Outcome};

use crate::checks::{GUEST, is_line};
use crate::drive::wait;
use crate::exchange::nothing_is_lost;

/// Longer than any limit below; what takes longer has hung.
const PATIENCE: Duration = Duration::from_secs(20);

/// More than this says nothing new, and takes long to compile.
const MAX_BYTES: usize = 64 * 1024;

/// The input is loaded as a guest; see [`crate`].
pub fn module(input: &[u8]) {
    thread_local!(static ENGINE: OnceCell<Engine> = const { OnceCell::new() });
    let input = &input[..input.len().min(MAX_BYTES)];
    let engine =
        ENGINE.with(|engine| engine.get_or_init(|| Engine::new().expect("WebAssembly works here")).clone());
    match Guest::<InMemoryHost>::builder(&engine).name(GUEST).limits(limits()).config("a=b").load(input) {
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

fn serve(guest: &Guest<InMemoryHost>) {
    let mut host = InMemoryHost::new("POST", "/a?b");
    host.request.headers.add(b"host", b"example.com");
    host.request.set_body("body");
    let called = wait(guest.handle_request(host), PATIENCE);
    let result = match called {
        Ok(Outcome::Respond(_)) => Ok(()),
        Ok(Outcome::Bypassed { .. }) => panic!("the guest fails closed"),
        Ok(Outcome::Next(mut pinned)) => {
            let host = pinned.host_mut();
            host.status = 404;
            host.response.set_body("answer");
            wait(pinned.handle_response(), PATIENCE).map(drop)
        }
        Err(error) => Err(error),
    };
    if let Err(error) = result {
        check_error(&error);
        assert!(error.phase().is_some(), "{error}");
    }
    nothing_is_lost(guest.stats());
}

/// An error that names the guest and says something.
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
        // An error in WebAssembly text is shown with the line it is in.
        let printable = line.split('\n').all(|line| !line.contains(|c: char| c.is_control() && c != '\t'));
        assert!(!line.is_empty() && printable, "{line:?}");
    }
}

fn check_error(error: &Error) {
    assert_eq!(error.guest(), GUEST);
    assert!(is_line(&error.to_string()), "{error:?}");
    assert_ne!(error.kind(), ErrorKind::Internal, "{error}");
}

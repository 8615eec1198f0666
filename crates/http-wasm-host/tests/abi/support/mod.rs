//! Helpers for all tests: guests in a few lines, and their next handler and client.

mod coded;
mod drive;
mod notes;
mod wat;

use std::sync::OnceLock;
use std::time::Duration;

use http_wasm_host::{
    Engine, Error, ErrorKind, Fields, Guest, Host, InMemoryHost, Limits, Message, Outcome, Phase, Pinned,
    PoolStats,
};

pub(crate) use self::coded::{brotli, code, coded_post, content, field, gunzip, gzip, zstd};
pub(crate) use self::drive::{ByHand, block_on, eventually, with_subscriber, within};
pub(crate) use self::notes::{Note, decode, eof, list, more, nothing, number, text, whole};
pub(crate) use self::wat::{Wat, guest, proceeds, stops};

pub(crate) const BUFFER_REQUEST: u32 = 1;
pub(crate) const BUFFER_RESPONSE: u32 = 2;

/// The engine of all tests that don't need their own.
pub(crate) fn engine() -> &'static Engine {
    static ENGINE: OnceLock<Engine> = OnceLock::new();
    ENGINE.get_or_init(|| Engine::new().unwrap())
}

/// Limits for a guest that makes a hundred thousand calls or computes for a long time, even on a busy machine.
pub(crate) fn patient() -> Limits {
    Limits { deadline: Duration::from_secs(60), ..Limits::default() }
}

/// A loaded guest.
pub(crate) struct Probe<H: Host>(pub(crate) Guest<H>);

impl<H: Host> Probe<H> {
    pub(crate) fn new(guest: Guest<H>) -> Self {
        Self(guest)
    }

    pub(crate) fn stats(&self) -> PoolStats {
        self.0.stats()
    }

    pub(crate) fn outcome(&self, host: H) -> Result<Outcome<H>, Error> {
        block_on(self.0.handle_request(host))
    }

    /// Sends a request that the guest lets proceed.
    #[track_caller]
    pub(crate) fn next(&self, host: H) -> Pinned<H> {
        match self.outcome(host) {
            Ok(Outcome::Next(pinned)) => pinned,
            Ok(Outcome::Respond(_)) => panic!("the guest should have proceeded"),
            Ok(Outcome::Bypassed { error, .. }) => panic!("the guest failed: {error}"),
            Ok(Outcome::Streams(_)) => panic!("the guest has begun to write the request"),
            Err(error) => panic!("{error}\n{}", error.backtrace().unwrap_or_default()),
        }
    }

    /// Sends a request that the guest answers.
    #[track_caller]
    pub(crate) fn respond(&self, host: H) -> H {
        match self.outcome(host) {
            Ok(Outcome::Respond(host)) => host,
            Ok(Outcome::Next(_)) => panic!("the guest should have stopped"),
            Ok(Outcome::Bypassed { error, .. }) => panic!("the guest failed: {error}"),
            Ok(Outcome::Streams(_)) => panic!("the guest has begun to write the request"),
            Err(error) => panic!("{error}\n{}", error.backtrace().unwrap_or_default()),
        }
    }

    /// Sends a request on which the guest fails and is bypassed.
    #[track_caller]
    pub(crate) fn bypassed(&self, host: H) -> (H, Error) {
        match self.outcome(host) {
            Ok(Outcome::Bypassed { host, error }) => (host, error),
            Ok(_) => panic!("the guest should have failed"),
            Err(error) => panic!("the guest should have been left out: {error}"),
        }
    }

    /// Sends a request through both phases, with `next` as the next handler if the guest proceeds.
    pub(crate) fn try_run(&self, host: H, next: impl FnOnce(&mut H)) -> Result<H, Error> {
        match self.outcome(host)? {
            Outcome::Respond(host) => Ok(host),
            Outcome::Next(mut pinned) => {
                next(pinned.host_mut());
                block_on(pinned.handle_response()).map(|handled| handled.host)
            }
            Outcome::Bypassed { mut host, .. } => {
                next(&mut host);
                Ok(host)
            }
            Outcome::Streams(_) => panic!("the guest has begun to write the request"),
        }
    }

    #[track_caller]
    pub(crate) fn run(&self, host: H, next: impl FnOnce(&mut H)) -> H {
        match self.try_run(host, next) {
            Ok(host) => host,
            Err(error) => panic!("{error}\n{}", error.backtrace().unwrap_or_default()),
        }
    }

    /// The error of a request on which the guest fails, with a next handler that does nothing.
    #[track_caller]
    pub(crate) fn error(&self, host: H) -> Error {
        match self.try_run(host, |_| {}) {
            Err(error) => error,
            Ok(_) => panic!("the guest should have failed"),
        }
    }
}

impl Probe<InMemoryHost> {
    /// What the guest has noted since the last call of this function.
    #[track_caller]
    pub(crate) fn notes(&self) -> Vec<Note> {
        decode(&self.respond(InMemoryHost::new("DUMP", "/")).response.take_body().0)
    }

    /// What the guest notes while it handles a request, with a next handler that does nothing.
    #[track_caller]
    pub(crate) fn noted(&self, host: InMemoryHost) -> Vec<Note> {
        self.run(host, |_| {});
        self.notes()
    }
}

/// A request without headers or body.
pub(crate) fn get() -> InMemoryHost {
    InMemoryHost::new("GET", "/")
}

/// A request with a body and framing headers.
pub(crate) fn post(body: &[u8]) -> InMemoryHost {
    let mut host = InMemoryHost::new("POST", "/");
    fill(&mut host.request, body);
    host
}

/// Sets a body with framing headers.
pub(crate) fn fill(message: &mut Message, body: &[u8]) {
    message.set_body(body.to_vec());
    message.headers.set(b"content-length", body.len().to_string().as_bytes());
}

/// The value of a header. Several values are joined by "|".
pub(crate) fn header(message: &Message, name: &str) -> Option<String> {
    let values: Vec<_> =
        message.headers.values(name.as_bytes()).map(|value| value.escape_ascii().to_string()).collect();
    (!values.is_empty()).then(|| values.join("|"))
}

/// A deterministic body without repetitions.
pub(crate) fn pattern(len: usize) -> Vec<u8> {
    let mut state = 1_u32;
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    std::iter::repeat_with(next).take(len).collect()
}

/// Checks an error of a host function: its kind, function, phase, and that the message names function and reason.
#[track_caller]
pub(crate) fn assert_refused(error: &Error, function: &str, phase: Option<Phase>, reason: &str) {
    let message = error.to_string();
    assert_eq!(error.kind(), ErrorKind::HostCall, "{message}");
    assert_eq!(error.function(), Some(function), "{message}");
    assert_eq!(error.phase(), phase, "{message}");
    assert!(message.contains(function), "{message}");
    assert!(message.contains(reason), "{message} should contain {reason:?}");
    assert_eq!(error.guest(), "probe");
}

/// Sets a body that has arrived in `pieces`, with trailers.
pub(crate) fn feed<'a>(
    message: &mut Message,
    pieces: impl Iterator<Item = &'a [u8]>,
    trailers: Option<Fields>,
) {
    let feed = message.feed_body();
    pieces.for_each(|piece| feed.push(piece.to_vec()));
    feed.finish(trailers);
}

pub(crate) fn fields(fields: &[(&str, &str)]) -> Fields {
    fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect()
}

/// The headers that frame a message: `content-length`, `transfer-encoding`, `trailer`.
pub(crate) fn framing(message: &Message) -> [Option<String>; 3] {
    ["content-length", "transfer-encoding", "trailer"].map(|name| header(message, name))
}

/// Framing by length only.
pub(crate) fn length(len: usize) -> [Option<String>; 3] {
    [Some(len.to_string()), None, None]
}

/// No framing header.
pub(crate) const UNFRAMED: [Option<String>; 3] = [None, None, None];

//! What the fuzz targets do with their input.
//!
//! Each target takes any bytes, makes of them what it needs, runs it through the public API of the core, or through the
//! gateway's reader of responses, and panics when something comes out that must not. The fuzzer (see `fuzz/README.md`)
//! looks for such bytes on a nightly toolchain; on the stable one, `cargo test` replays those that are committed under
//! `fuzz/seeds`.

mod checks;
mod client;
mod drive;
mod encoding;
mod exchange;
mod framing;
mod hostcalls;
mod message;
mod module;
mod responses;
mod subject;
mod trace;

pub use self::encoding::encoding;
pub use self::framing::framing;
pub use self::hostcalls::hostcalls;
pub use self::module::module;
pub use self::responses::responses;

/// What does something with an input.
pub type Target = fn(&[u8]);

/// The targets that have seeds, each by the name of its folder under `fuzz/seeds`.
pub const TARGETS: [(&str, Target); 5] = [
    ("encoding", encoding),
    ("framing", framing),
    ("hostcalls", hostcalls),
    ("module", module),
    ("responses", responses),
];

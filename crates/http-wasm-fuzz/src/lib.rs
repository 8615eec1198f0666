//! The code of the fuzz targets.
//!
//! Each target takes arbitrary bytes, decodes them into an input for the core's public API or the gateway's response
//! reader, and panics if the result is wrong. The fuzzer (see `fuzz/README.md`) searches for such bytes on a nightly
//! toolchain. On the stable one, `cargo test` replays the inputs that are committed under `fuzz/seeds`.

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

/// A function that processes an input.
pub type Target = fn(&[u8]);

/// The targets that have seeds, by the name of their directory under `fuzz/seeds`.
pub const TARGETS: [(&str, Target); 5] = [
    ("encoding", encoding),
    ("framing", framing),
    ("hostcalls", hostcalls),
    ("module", module),
    ("responses", responses),
];

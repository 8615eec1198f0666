//! What the fuzz targets do with their input.
//!
//! Each target takes any bytes, makes of them what it needs, runs it through the public API of the core, and panics when
//! something comes out that must not. The fuzzer (see `fuzz/README.md`) looks for such bytes on a nightly toolchain; on
//! the stable one, `cargo test` replays those that are committed under `fuzz/seeds`.

mod checks;
mod drive;
mod encoding;
mod exchange;
mod framing;
mod hostcalls;
mod message;
mod module;
mod subject;

pub use self::encoding::encoding;
pub use self::framing::framing;
pub use self::hostcalls::hostcalls;
pub use self::module::module;

/// What does something with an input.
pub type Target = fn(&[u8]);

/// The targets that have seeds, each by the name of its folder under `fuzz/seeds`.
pub const TARGETS: [(&str, Target); 4] =
    [("encoding", encoding), ("framing", framing), ("hostcalls", hostcalls), ("module", module)];

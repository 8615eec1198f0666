//! The `http-wasm` command: serves http-wasm guests in front of a backend, checks and measures guest files, and tests
//! hosts.

// A build without some commands leaves a few of their helpers unused.
#![cfg_attr(not(feature = "all-commands"), allow(dead_code, unused_imports))]

mod args;
#[cfg(feature = "bench")]
mod bench;
#[cfg(feature = "check")]
mod check;
mod command;
#[cfg(feature = "check")]
mod compile;
#[cfg(feature = "serve")]
mod config;
#[cfg(feature = "author")]
mod dev;
#[cfg(any(feature = "author", feature = "bench"))]
mod exchange;
mod failure;
#[cfg(any(feature = "author", feature = "bench", feature = "check"))]
mod guest;
mod logging;
#[cfg(feature = "author")]
mod new;
mod output;
#[cfg(feature = "author")]
mod profile;
#[cfg(feature = "author")]
mod replay;
#[cfg(feature = "author")]
mod run;
#[cfg(any(feature = "author", feature = "serve", feature = "tck"))]
mod runtime;
#[cfg(any(feature = "author", feature = "serve"))]
mod serve;
#[cfg(feature = "tck")]
mod tck;
#[cfg(feature = "author")]
mod test;

use std::io::Write as _;
use std::process::ExitCode;

use crate::command::Args;
use crate::failure::Failure;

/// After a burst, this allocator returns memory to the system from a background thread, whichever threads allocated it.
/// The system's allocator keeps it in its arenas, and others wait for the threads that allocated it, which are idle by
/// then.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    match Args::from_command_line().and_then(Args::run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure @ Failure::StdoutClosed) => failure.exit_code(),
        Err(failure) => {
            // If stderr is gone, there is nowhere to report that.
            let message = failure.to_string();
            let _ = writeln!(std::io::stderr().lock(), "error: {}", logging::escaped(&message));
            failure.exit_code()
        }
    }
}

//! The `http-wasm` command: serves http-wasm guests in front of a backend, checks and measures guest files, and tests
//! hosts.

mod args;
mod bench;
mod check;
mod command;
mod compile;
mod config;
mod exchange;
mod failure;
mod guest;
mod logging;
mod new;
mod output;
mod run;
mod runtime;
mod serve;
mod tck;
mod test;

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;

use crate::command::Args;

/// After a burst, this allocator returns memory to the system from a background thread, whichever threads allocated it.
/// The system's allocator keeps it in its arenas, and others wait for the threads that allocated it, which are idle by
/// then.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    match Args::parse().run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // If stderr is gone, there is no one left to tell.
            let message = failure.to_string();
            let _ = writeln!(std::io::stderr().lock(), "error: {}", logging::escaped(&message));
            failure.exit_code()
        }
    }
}

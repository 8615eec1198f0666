//! The `http-wasm` command: serves http-wasm guests in front of a backend, checks and measures guest files, and tests hosts.

mod args;
mod bench;
mod check;
mod compile;
mod config;
mod config_command;
mod failure;
mod guest;
mod guest_args;
mod logging;
mod serve;
mod tck;

use std::future::Future;
use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser as _;

use crate::args::Args;
use crate::config::Command;
use crate::failure::Failure;

/// What a burst has left behind, on whichever threads, goes back to the system from a thread of this allocator's own. The
/// system's keeps it in its arenas, and others wait for the threads that allocated it, which are idle then.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    match run(Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // Nobody is left to tell when stderr itself is gone.
            let message = failure.to_string();
            let _ = writeln!(std::io::stderr().lock(), "error: {}", logging::escaped(&message));
            failure.exit_code()
        }
    }
}

fn run(args: Args) -> Result<(), Failure> {
    match Command::resolve(args)? {
        Command::Serve(serve) => {
            logging::init(&serve.config.log)?;
            block_on(serve::run(*serve))
        }
        Command::Config(command) => block_on(config_command::run(command)),
        Command::Check(check) => check::run(&check),
        Command::Bench(bench) => bench::run(&bench),
        Command::Compile(args) => compile::run(&args),
        Command::Tck(args) => block_on(tck::run(args)),
    }
}

fn block_on(task: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Other(format!("cannot start the runtime: {}", failure::plain(&error))))?;
    let result = runtime.block_on(task);
    // A name lookup or a guest that still computes must not hold the exit.
    runtime.shutdown_timeout(Duration::from_millis(500));
    result
}

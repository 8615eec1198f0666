//! The commands.

use clap::{Parser, Subcommand};

use crate::bench::{self, BenchArgs};
use crate::check::{self, CheckArgs};
use crate::compile::{self, CompileArgs};
use crate::config::{self, ConfigArgs};
use crate::failure::Failure;
use crate::serve::{self, ServeArgs};
use crate::tck::{self, TckArgs};

/// Runs http-wasm guests: HTTP handlers compiled to WebAssembly.
#[derive(Debug, Parser)]
#[command(name = "http-wasm", version, subcommand_required = true, arg_required_else_help = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve guests in front of a backend
    ///
    /// HTTP/1.1 and HTTP/2 (prior knowledge) share one port. SIGINT and SIGTERM stop accepting, let what runs finish,
    /// and exit with 0. SIGUSR2 does so too once the same command, started again, serves on the same sockets. Sockets
    /// from systemd are taken where they fit.
    Serve(Box<ServeArgs>),
    /// Check a configuration file, or print its schema
    Config(ConfigArgs),
    /// Check a guest file: is it valid, what does it need, what is wrong with it
    Check(CheckArgs),
    /// Compile a guest file ahead, for servers that shall not compile it themselves
    ///
    /// The result holds machine code for processors like this machine's. `serve --trust-precompiled` loads it with the
    /// same version of this command; another version compiles the guest anew, as it is in the file too.
    Compile(CompileArgs),
    /// Measure what a guest costs, in process: each phase, its host calls, a new instance, requests per second
    ///
    /// Nothing goes over a network: requests are made in memory, and those that the guest passes on are answered with
    /// `hello world`. Nobody reads what the guest logs. The making of requests and the reading of the clock are taken
    /// off.
    Bench(BenchArgs),
    /// Test whether a host, ours or another, does what the http-wasm ABI says
    Tck(TckArgs),
}

impl Args {
    /// Runs the command.
    ///
    /// # Errors
    /// What the command failed with.
    pub(crate) fn run(self) -> Result<(), Failure> {
        match self.command {
            Command::Serve(args) => serve::run(*args),
            Command::Config(args) => config::run(args),
            Command::Check(args) => check::run(args),
            Command::Compile(args) => compile::run(&args),
            Command::Bench(args) => bench::run(args),
            Command::Tck(args) => tck::run(args),
        }
    }
}

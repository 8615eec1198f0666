//! The commands.

use clap::{Parser, Subcommand};

use crate::bench::{self, BenchArgs};
use crate::check::{self, CheckArgs};
use crate::compile::{self, CompileArgs};
use crate::config::{self, ConfigArgs};
use crate::failure::Failure;
use crate::new::{self, NewArgs};
use crate::run::{self, RunArgs};
use crate::serve::{self, ServeArgs};
use crate::tck::{self, TckArgs};
use crate::test::{self, TestArgs};

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
    /// HTTP/1.1 and HTTP/2 (prior knowledge) share one port. On SIGINT and SIGTERM, the server stops accepting
    /// connections, finishes the requests in flight, and exits with 0. On SIGUSR2, it starts the same command again
    /// with the same sockets, and exits in this way once the new process is serving. Sockets passed by systemd are used
    /// if their addresses match.
    Serve(Box<ServeArgs>),
    /// Run guests for Envoy, as its external processor (ext_proc)
    ///
    /// Envoy sends requests and responses over gRPC, and applies what guests have changed. Set `processing_mode` in
    /// Envoy's filter as docs/envoy.md describes. Otherwise this is `serve` with a route that has `ext_proc`.
    #[command(
        mut_arg("listen", |arg| arg.default_value("127.0.0.1:9002")),
        mut_arg("upstream", |arg| arg.hide(true)),
        mut_arg("upstream_timeout", |arg| arg.hide(true))
    )]
    ExtProc(Box<ServeArgs>),
    /// Check a configuration file, or print its schema
    Config(ConfigArgs),
    /// Write a guest to begin with: source, tests, build script, README and a CI job
    ///
    /// The guest lets requests with the right bearer token pass, tells the next handler who the user is, and redacts a
    /// field in JSON responses. Its build script and tests work as they are.
    New(NewArgs),
    /// Run a guest on one request, in process, and show what it does
    ///
    /// Prints the request as the next handler got it and the response as the client gets it; with --trace each host
    /// call with its arguments and result, and why it had no effect where it had none. Exits with 65 if the guest
    /// fails.
    Run(Box<RunArgs>),
    /// Test a guest: requests from a file, and what is expected of each
    ///
    /// The file has a `[[case]]` per exchange: a request, the next handler's response, and what the next handler and
    /// the client must get. docs/guests.md explains it. Failing cases are shown as differences, with what the guest
    /// did.
    Test(Box<TestArgs>),
    /// Check a guest file: whether it is valid, what it needs, and what is wrong with it
    Check(CheckArgs),
    /// Compile a guest file in advance, for servers that don't compile it themselves
    ///
    /// The result contains machine code for processors like this machine's. `serve --trust-precompiled` loads it with
    /// the same version of this command; other versions recompile the guest, which the file contains too.
    Compile(CompileArgs),
    /// Measure what a guest costs in-process: each phase, its host calls, a new instance, requests per second
    ///
    /// No network is involved: requests are created in memory, and those that the guest lets proceed get the response
    /// `hello world`. Guest logs are discarded. The time for creating requests and reading the clock is subtracted.
    Bench(BenchArgs),
    /// Test whether a host, this one or another, conforms to the http-wasm ABI
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
            Command::ExtProc(args) => serve::run_ext_proc(*args),
            Command::Config(args) => config::run(args),
            Command::New(args) => new::run(args),
            Command::Run(args) => run::run(*args),
            Command::Test(args) => test::run(*args),
            Command::Check(args) => check::run(args),
            Command::Compile(args) => compile::run(args),
            Command::Bench(args) => bench::run(args),
            Command::Tck(args) => tck::run(args),
        }
    }
}

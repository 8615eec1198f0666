//! The commands.

use clap::error::{ContextKind, ContextValue};
use clap::{Parser, Subcommand};

#[cfg(feature = "bench")]
use crate::bench::{self, BenchArgs};
#[cfg(feature = "check")]
use crate::check::{self, CheckArgs};
#[cfg(feature = "check")]
use crate::compile::{self, CompileArgs};
#[cfg(feature = "serve")]
use crate::config::{self, ConfigArgs};
#[cfg(feature = "author")]
use crate::dev::{self, DevArgs};
use crate::failure::Failure;
#[cfg(feature = "author")]
use crate::new::{self, NewArgs};
#[cfg(feature = "author")]
use crate::profile::{self, ProfileArgs};
#[cfg(feature = "author")]
use crate::replay::{self, ReplayArgs};
#[cfg(feature = "author")]
use crate::run::{self, RunArgs};
#[cfg(feature = "serve")]
use crate::serve::{self, ServeArgs};
#[cfg(feature = "tck")]
use crate::tck::{self, TckArgs};
#[cfg(feature = "author")]
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
    /// with the same sockets, and exits in the same way once the new process is serving. Sockets passed by systemd are
    /// used if their addresses match.
    #[cfg(feature = "serve")]
    Serve(Box<ServeArgs>),
    /// Run guests for Envoy, as its external processor (ext_proc)
    ///
    /// Envoy sends requests and responses over gRPC, and applies what guests have changed. Set `processing_mode` in
    /// Envoy's filter as docs/envoy.md describes. Otherwise this is `serve` with a route that has `ext_proc`.
    #[cfg(feature = "serve")]
    #[command(
        mut_arg("listen", |arg| arg.default_value("127.0.0.1:9002")),
        mut_arg("upstream", |arg| arg.hide(true)),
        mut_arg("upstream_timeout", |arg| arg.hide(true))
    )]
    ExtProc(Box<ServeArgs>),
    /// Check a configuration file, or print its schema
    #[cfg(feature = "serve")]
    Config(ConfigArgs),
    /// Create a new guest: source, tests, build script, README and a CI job
    ///
    /// The guest accepts requests with the right bearer token, passes the user's name to the next handler, and redacts
    /// a field in JSON responses. Its build script and tests work without changes.
    #[cfg(feature = "author")]
    New(NewArgs),
    /// Run a guest on one request, in process, and show what it does
    ///
    /// Prints the request as the next handler receives it and the response as the client receives it. With --trace,
    /// also prints each host call with its arguments and result, and the reason if it had no effect. Exits with 65 if
    /// the guest fails.
    #[cfg(feature = "author")]
    Run(Box<RunArgs>),
    /// Serve a guest while you write it: rebuild it after each change, and show what it does
    ///
    /// In a directory created by `http-wasm new`, `http-wasm dev` needs no arguments. A build that fails, or a guest
    /// that isn't valid, leaves the previous guest running. Exchanges with their host calls are shown in the terminal
    /// and on a local page, from which requests can be sent again.
    #[cfg(feature = "author")]
    Dev(Box<DevArgs>),
    /// Replay a recorded exchange: run its guests again, offline, on the recorded host calls
    ///
    /// `serve` records exchanges with `[record]` in its configuration, or --record. Each guest gets the recorded
    /// results of its host calls, from the creation of its instance on, and so behaves in the same way. Differences are
    /// shown call by call. Exits with 1 if there are any.
    #[cfg(feature = "author")]
    Replay(ReplayArgs),
    /// Test a guest with requests and expected results from a file
    ///
    /// The file has a `[[case]]` per exchange: a request, the next handler's response, and what the next handler and
    /// the client must get. docs/guests.md describes the format. For a failing case, the differences and what the guest
    /// did are shown.
    #[cfg(feature = "author")]
    Test(Box<TestArgs>),
    /// Check a guest file: whether it is valid, what it needs, and what is wrong with it
    #[cfg(feature = "check")]
    Check(CheckArgs),
    /// Compile a guest file ahead of time, so that servers don't have to
    ///
    /// The result contains machine code for processors like this machine's. `serve --trust-precompiled` loads it with
    /// the same version of this command; other versions recompile the guest, which the file contains too.
    #[cfg(feature = "check")]
    Compile(CompileArgs),
    /// Measure what a guest costs, in process: each phase, its host calls, a new instance, requests per second
    ///
    /// No network is involved: requests are created in memory, and those that the guest lets proceed get the response
    /// `hello world`. Guest logs are discarded. The time spent on creating requests and reading the clock is
    /// subtracted.
    #[cfg(feature = "bench")]
    Bench(BenchArgs),
    /// Show in which functions a guest spends its time on a request, in process
    ///
    /// Repeats the request and samples the guest's stack at regular intervals. Writes the stacks in folded format, for
    /// other tools, and as a flame graph. Functions of a module without names are shown by number.
    #[cfg(feature = "author")]
    Profile(Box<ProfileArgs>),
    /// Test whether a host, this one or another, conforms to the http-wasm ABI
    #[cfg(feature = "tck")]
    Tck(TckArgs),
}

/// Each command, the feature of this crate that enables it, and whether this build has it.
const COMMANDS: [(&str, &str, bool); 13] = [
    ("serve", "serve", cfg!(feature = "serve")),
    ("ext-proc", "serve", cfg!(feature = "serve")),
    ("config", "serve", cfg!(feature = "serve")),
    ("new", "author", cfg!(feature = "author")),
    ("run", "author", cfg!(feature = "author")),
    ("dev", "author", cfg!(feature = "author")),
    ("replay", "author", cfg!(feature = "author")),
    ("test", "author", cfg!(feature = "author")),
    ("check", "check", cfg!(feature = "check")),
    ("compile", "check", cfg!(feature = "check")),
    ("bench", "bench", cfg!(feature = "bench")),
    ("profile", "author", cfg!(feature = "author")),
    ("tck", "tck", cfg!(feature = "tck")),
];

impl Args {
    /// Parses the command line. On invalid usage and for `--help`, this prints a message and exits.
    ///
    /// # Errors
    /// [`Failure::Absent`] for a command that this build doesn't have.
    pub(crate) fn from_command_line() -> Result<Self, Failure> {
        Self::try_parse().or_else(|error| match absent(&error) {
            Some((command, feature)) => Err(Failure::Absent { command, feature }),
            None => error.exit(),
        })
    }

    /// Runs the command.
    ///
    /// # Errors
    /// The command's failure.
    pub(crate) fn run(self) -> Result<(), Failure> {
        match self.command {
            #[cfg(feature = "serve")]
            Command::Serve(args) => serve::run(*args),
            #[cfg(feature = "serve")]
            Command::ExtProc(args) => serve::run_ext_proc(*args),
            #[cfg(feature = "serve")]
            Command::Config(args) => config::run(args),
            #[cfg(feature = "author")]
            Command::New(args) => new::run(args),
            #[cfg(feature = "author")]
            Command::Run(args) => run::run(*args),
            #[cfg(feature = "author")]
            Command::Dev(args) => dev::run(*args),
            #[cfg(feature = "author")]
            Command::Replay(args) => replay::run(args),
            #[cfg(feature = "author")]
            Command::Test(args) => test::run(*args),
            #[cfg(feature = "check")]
            Command::Check(args) => check::run(args),
            #[cfg(feature = "check")]
            Command::Compile(args) => compile::run(args),
            #[cfg(feature = "bench")]
            Command::Bench(args) => bench::run(args),
            #[cfg(feature = "author")]
            Command::Profile(args) => profile::run(*args),
            #[cfg(feature = "tck")]
            Command::Tck(args) => tck::run(args),
        }
    }
}

/// The requested command and its feature, if this build lacks it.
fn absent(error: &clap::Error) -> Option<(&'static str, &'static str)> {
    let Some(ContextValue::String(name)) = error.get(ContextKind::InvalidSubcommand) else { return None };
    let (command, feature, _) = COMMANDS.into_iter().find(|(command, ..)| command == name)?;
    Some((command, feature))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::{Args, COMMANDS};

    #[test]
    fn the_table_has_the_commands_of_this_build() {
        let built: Vec<String> =
            Args::command().get_subcommands().map(|command| command.get_name().to_owned()).collect();
        let listed: Vec<&str> =
            COMMANDS.into_iter().filter(|(.., is_built)| *is_built).map(|(name, ..)| name).collect();
        assert_eq!(built, listed);
    }
}

//! `http-wasm tck`: the conformance kit.

mod args;

use std::fs;
use std::io;
use std::path::Path;

use http_wasm_tck::backend::Backend;
use http_wasm_tck::cases;
use http_wasm_tck::guest;
use http_wasm_tck::run::{self, LaunchCommand, Options, Outcome, Summary};
use tokio::sync::Notify;

use self::args::{TckCommand, TckGuestArgs, TckRunArgs};
use crate::failure::{Failure, plain};
use crate::output::{print, print_bytes};
use crate::runtime;

pub(crate) use self::args::TckArgs;

/// Runs a command of the kit.
pub(crate) fn run(args: TckArgs) -> Result<(), Failure> {
    runtime::block_on(run_command(args.command))
}

async fn run_command(command: TckCommand) -> Result<(), Failure> {
    match command {
        TckCommand::Guest(args) => write_guest(&args),
        TckCommand::Backend { listen } => serve(listen.as_str()).await,
        TckCommand::Run(args) => run_cases(*args).await,
        TckCommand::List { filter } => list(filter),
    }
}

fn write_guest(args: &TckGuestArgs) -> Result<(), Failure> {
    let bytes = if args.wat {
        guest::wat(args.variant).into_bytes()
    } else {
        guest::wasm(args.variant).map_err(|error| Failure::Other(format!("the guest is broken: {error}")))?
    };
    if args.output.as_os_str() == "-" {
        return print_bytes(&bytes);
    }
    fs::write(&args.output, bytes).map_err(|error| cannot_write(&args.output, &error))
}

async fn serve(address: &str) -> Result<(), Failure> {
    let failed = |error: &io::Error| {
        Failure::Other(format!("the backend cannot listen on {address}: {}", plain(error)))
    };
    let backend = Backend::bind(address).await.map_err(|error| failed(&error))?;
    let address = backend.local_addr().map_err(|error| failed(&error))?;
    print(&format!("listening on http://{address}\n"))?;
    tokio::select! {
        () = backend.serve() => Ok(()),
        _ = tokio::signal::ctrl_c() => Ok(()),
    }
}

async fn run_cases(args: TckRunArgs) -> Result<(), Failure> {
    let [launch, launch_stream, launch_decoded] = match args.own {
        true => {
            let streams = ["--stream", "both"];
            [&[][..], &streams, &[&streams[..], &["--bodies", "decoded"]].concat()]
                .map(|settings| own_command(settings).map(Some))
        }
        false => [args.launch, args.launch_stream, args.launch_decoded].map(Ok),
    };
    let options = Options {
        address: args.url.map(|url| url.0),
        launch: launch?,
        stream_address: args.stream_url.map(|url| url.0),
        launch_stream: launch_stream?,
        decoded_address: args.decoded_url.map(|url| url.0),
        launch_decoded: launch_decoded?,
        streams: args.streams.into(),
        guest: args.guest,
        log_file: args.log_file,
        http: args.http.into(),
        filter: args.filter.map(run::Filter::new),
        profile: args.profile.into(),
        timeout: args.timeout,
    };
    if !args.json {
        print(&format!("{}\n", run::table_head()))?;
    }
    let (mut printed, stop) = (Ok(()), Notify::new());
    let cases = cases::all();
    let outcomes = run::run(&cases, &options, |outcome: &Outcome| {
        if !args.json && printed.is_ok() {
            printed = print(&format!("{}\n", run::row(outcome)));
            if printed.is_err() {
                stop.notify_one();
            }
        }
    });
    let outcomes = tokio::select! {
        outcomes = outcomes => outcomes.map_err(|error| Failure::Other(error.to_string()))?,
        () = stop.notified() => Vec::new(),
    };
    printed?;
    if let Some(file) = &args.junit {
        fs::write(file, run::junit(&outcomes)).map_err(|error| cannot_write(file, &error))?;
    }
    let summary = Summary::of(&outcomes);
    if args.json {
        print(&format!("{}\n", run::json(&outcomes)))?;
    } else {
        print(&format!("\n{summary}\n"))?;
    }
    match summary.failed() {
        0 if outcomes.is_empty() => Err(Failure::Other("no case matches the filter".to_owned())),
        0 => Ok(()),
        failed => Err(Failure::Cases { failed, all: outcomes.len() }),
    }
}

/// This executable as the host under test, with these settings.
fn own_command(settings: &[&str]) -> Result<LaunchCommand, Failure> {
    let binary = std::env::current_exe().map_err(|error| {
        Failure::Other(format!("cannot determine the path of this executable: {}", plain(&error)))
    })?;
    let mut words = vec![binary.to_string_lossy().into_owned()];
    let serve = "serve --guest {guest} --guest-config @{config} --upstream {backend} --listen {listen}";
    words.extend(serve.split(' ').map(str::to_owned));
    words.extend(settings.iter().map(|&word| word.to_owned()));
    LaunchCommand::new(words).map_err(|error| Failure::Other(error.to_string()))
}

fn list(filter: Option<String>) -> Result<(), Failure> {
    let filter = filter.map(run::Filter::new);
    for case in cases::all() {
        if filter.as_ref().is_none_or(|filter| filter.matches(case.id())) {
            print(&format!("{:<52} {:<8} {}\n", case.id(), case.group(), case.says()))?;
        }
    }
    Ok(())
}

fn cannot_write(file: &Path, error: &io::Error) -> Failure {
    Failure::Other(format!("cannot write {}: {}", file.display(), plain(error)))
}

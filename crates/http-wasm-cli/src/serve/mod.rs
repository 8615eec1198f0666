//! `http-wasm serve`: the gateway.

mod access_log;
mod args;
mod config;
mod guest_args;
mod limit_args;
mod record_args;
mod upstream;

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use http_wasm_gateway::config::Faults;
use http_wasm_gateway::{Endpoint, Gateway};

use self::config::Serve;
use crate::args::ArgsError;
use crate::failure::Failure;
use crate::{logging, runtime};

pub(crate) use self::args::ServeArgs;
pub(crate) use self::config::{guest, stem};
pub(crate) use self::guest_args::GuestArgs;
pub(crate) use self::record_args::RecordArgs;
pub(crate) use self::upstream::Upstream;

/// Serves until a signal stops it.
pub(crate) fn run(args: ServeArgs) -> Result<(), Failure> {
    let file = args.config.clone();
    run_resolved(Serve::resolve(args), file)
}

/// Serves as Envoy's external processor until a signal stops it.
pub(crate) fn run_ext_proc(args: ServeArgs) -> Result<(), Failure> {
    let file = args.config.clone();
    run_resolved(Serve::resolve_ext_proc(args), file)
}

fn run_resolved(serve: Result<Serve, ArgsError>, file: Option<PathBuf>) -> Result<(), Failure> {
    let serve = match (serve, file) {
        (Err(ArgsError::File(faults)), Some(file)) => return Err(all_errors(&file, faults)),
        (serve, _) => serve?,
    };
    logging::init(&serve.config.log)?;
    runtime::block_on(serve_until_stopped(serve))
}

/// All errors of a configuration file, including those of its guests if the file is usable enough to load them.
fn all_errors(file: &Path, faults: Faults) -> Failure {
    let checked = runtime::block_on(async { Ok(Gateway::check(file).await.map(drop)?) });
    checked.err().unwrap_or_else(|| ArgsError::from(faults).into())
}

async fn serve_until_stopped(serve: Serve) -> Result<(), Failure> {
    let Serve { shows_welcome, mentions_reload, .. } = serve;
    let mut gateway = Gateway::build(serve.config).await?;
    if let Some(file) = serve.file {
        gateway = gateway.with_file(file);
    }
    let admin = gateway.admin_address();
    Ok(gateway.serve(|addresses| announce(addresses, admin, shows_welcome, mentions_reload)).await?)
}

/// Prints a ready line for each address, one for the admin listener, whether guests are reloaded, and how to try the
/// built-in example. A failure to print isn't fatal.
fn announce(addresses: &[Endpoint], admin: Option<SocketAddr>, welcome: bool, reloads_guests: bool) {
    let mut text: String = addresses.iter().map(|address| format!("listening on {address}\n")).collect();
    text.extend(admin.map(|address| format!("status and metrics at http://{address}\n")));
    if reloads_guests {
        text += "guests are reloaded when their files change\n";
    }
    if let Some(address) = addresses.first().filter(|_| welcome) {
        text += &format!(
            "\nThe built-in example guest (guests/welcome) runs in front of a backend that echoes requests. \
             Try:\n\n  \
             curl -i {address}/hello           # answered by the guest\n  \
             curl -i {address}/admin           # rejected by the guest\n  \
             curl -i '{address}/v1/users?a=b'  # rewritten by the guest, answered by the backend\n\n"
        );
    }
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

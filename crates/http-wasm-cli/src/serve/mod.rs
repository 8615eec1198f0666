//! `http-wasm serve`: the gateway.

mod args;
mod config;
mod guest_args;
mod upstream;

use std::io::Write as _;
use std::net::SocketAddr;

use http_wasm_gateway::{Endpoint, Gateway};

use self::config::Serve;
use crate::failure::Failure;
use crate::{logging, runtime};

pub(crate) use self::args::ServeArgs;

/// Serves until a signal stops it.
pub(crate) fn run(args: ServeArgs) -> Result<(), Failure> {
    let serve = Serve::resolve(args)?;
    logging::init(&serve.config.log)?;
    runtime::block_on(serve_until_stopped(serve))
}

/// Serves an Envoy until a signal stops it.
pub(crate) fn run_ext_proc(args: ServeArgs) -> Result<(), Failure> {
    let serve = Serve::resolve_ext_proc(args)?;
    logging::init(&serve.config.log)?;
    runtime::block_on(serve_until_stopped(serve))
}

async fn serve_until_stopped(serve: Serve) -> Result<(), Failure> {
    let welcome = serve.shows_welcome;
    let mut gateway = Gateway::build(serve.config).await?;
    if let Some(file) = serve.file {
        gateway = gateway.with_file(file);
    }
    let admin = gateway.admin_address();
    Ok(gateway.serve(|addresses| announce(addresses, admin, welcome)).await?)
}

/// Prints a ready line for each address, one for the admin listener, and for the embedded example how to try it. A
/// failure to print isn't fatal.
fn announce(addresses: &[Endpoint], admin: Option<SocketAddr>, welcome: bool) {
    let mut text: String = addresses.iter().map(|address| format!("listening on {address}\n")).collect();
    text.extend(admin.map(|address| format!("status and metrics at http://{address}\n")));
    if let Some(address) = addresses.first().filter(|_| welcome) {
        text += &format!(
            "\nThe embedded example guest (guests/welcome) runs in front of a backend that echoes requests. \
             Try:\n\n  \
             curl -i {address}/hello           # answered by the guest\n  \
             curl -i {address}/admin           # rejected by the guest\n  \
             curl -i '{address}/v1/users?a=b'  # rewritten by the guest, answered by the backend\n\n"
        );
    }
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

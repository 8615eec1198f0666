//! `http-wasm serve`: guests in front of a backend.

use std::io::Write as _;
use std::net::SocketAddr;

use crate::config::{Guests, Serve};
use crate::failure::Failure;
use crate::guest;

/// Serves until a signal says stop.
pub(crate) async fn run(serve: Serve) -> Result<(), Failure> {
    let engine = http_wasm_tower::engine()?;
    let (guests, shows_welcome) = match &serve.guests {
        Guests::Example => (vec![guest::load_welcome(&engine)?], true),
        Guests::Named(specs) => {
            (specs.iter().map(|spec| guest::load(&engine, spec)).collect::<Result<_, _>>()?, false)
        }
    };
    let serve = http_wasm_gateway::Serve {
        listen: serve.listen.to_string(),
        guests,
        upstream: serve.upstream,
        max_requests: serve.max_requests,
        upstream_timeout: serve.upstream_timeout,
        shutdown_timeout: serve.shutdown_timeout,
    };
    Ok(http_wasm_gateway::serve(serve, |address| announce(address, shows_welcome)).await?)
}

/// The ready line, and for the embedded example how to see it at work. Nobody may be reading, which is no reason to stop.
fn announce(address: SocketAddr, shows_welcome: bool) {
    let mut text = format!("listening on http://{address}\n");
    if shows_welcome {
        text += &format!(
            "\nThe embedded example guest (guests/welcome) stands in front of a backend that echoes requests. Try:\n\n  \
             curl -i http://{address}/hello           # answered by the guest\n  \
             curl -i http://{address}/admin           # rejected by the guest\n  \
             curl -i 'http://{address}/v1/users?a=b'  # rewritten by the guest, answered by the backend\n\n"
        );
    }
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

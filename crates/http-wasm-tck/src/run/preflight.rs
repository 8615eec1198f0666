//! Checks that the host under test is set up for the kit, to report that once rather than for every case, and asks its
//! guest for its capabilities.

use std::time::Duration;

use super::probe::{fetch, reaches_backend};
use crate::case::{Exchange, Http, value};
use crate::client::send;
use crate::guest::Capabilities;
use crate::script::script;

/// Checks that the host forwards to the kit's backend and that the guest runs. A response may take up to `timeout`.
pub(super) async fn check(address: &str, http: Http, timeout: Duration) -> Result<Capabilities, String> {
    reaches_backend(address, http, timeout).await?;
    capabilities(address, http, timeout).await.map_err(|seen| {
        format!(
            "the host at {address} forwards to the kit's backend, but does not run the conformance guest \
             ({seen}): write the guest with `http-wasm tck guest -o FILE`, and let the host load it"
        )
    })
}

/// Asks the guest for its capabilities. The error describes what was received instead.
pub(super) async fn capabilities(
    address: &str,
    http: Http,
    timeout: Duration,
) -> Result<Capabilities, String> {
    let exchange = Exchange::get("/").before(script().capabilities());
    let sent = exchange.prepare("preflight", format!("preflight-{}", std::process::id()));
    let response = send(address, http, &sent.request, timeout).await?;
    if response.status != 200 {
        return Err(format!("status {}", response.status));
    }
    let backend = fetch(address, http, &sent.id, timeout).await?;
    let report = backend.first().and_then(|seen| seen.header("x-tck-report").first().cloned());
    let bits = report.and_then(|report| value(&report)).ok_or("no report from it")?;
    Ok(Capabilities::from_bits(bits))
}

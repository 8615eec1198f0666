//! Checks that the host under test is set up for the kit, to report that once rather than for every case.

use std::time::Duration;

use super::probe::{fetch, reaches_backend};
use crate::case::{Exchange, Http, Observed};
use crate::client::send;
use crate::guest::Function;
use crate::script::script;

/// Checks that the host forwards to the kit's backend and that the guest runs. A response may take up to `timeout`.
pub(super) async fn check(address: &str, http: Http, timeout: Duration) -> Result<(), String> {
    reaches_backend(address, http, timeout).await?;
    let exchange = Exchange::get("/").before(script().reads(Function::GetMethod, "GET"));
    let sent = exchange.prepare("preflight", format!("preflight-{}", std::process::id()));
    let response = send(address, http, &sent.request, timeout).await;
    let backend = fetch(address, http, &sent.id, timeout).await.unwrap_or_default();
    let observed = Observed {
        response: response.as_ref().map_err(|error| &error[..]),
        backend: &backend,
        log: None,
        lenient: true,
    };
    exchange.evaluate(&observed, None).map_err(|mismatch| {
        format!(
            "the host at {address} forwards to the kit's backend, but does not run the conformance guest \
             ({mismatch}): write \
             the guest with `http-wasm tck guest -o FILE`, and let the host load it"
        )
    })
}

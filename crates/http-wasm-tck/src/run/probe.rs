//! Requests that determine whether a host forwards to the kit's backend, and what the backend received.

use std::time::Duration;

use crate::backend::{FETCH, ReceivedRequest};
use crate::case::Http;
use crate::client::{Request, Response, send};

/// Checks that a request reaches the kit's backend and is answered within `timeout`.
pub(super) async fn reaches_backend(address: &str, http: Http, timeout: Duration) -> Result<(), String> {
    let is_ours = |response: &Response| response.header("x-from") == [b"backend"];
    let seen = match send(address, http, &Request::default(), timeout).await {
        Ok(response) if is_ours(&response) => return Ok(()),
        Ok(response) => format!("status {}, and not from it", response.status),
        Err(error) => error,
    };
    Err(format!(
        "a request to {address} over {http} does not reach the kit's backend ({seen}): start one with \
         `http-wasm tck backend --listen HOST:PORT`, and let the host forward there"
    ))
}

/// What the backend saw under this ID, requested through the host, which has `timeout` to respond.
pub(super) async fn fetch(
    address: &str,
    http: Http,
    id: &str,
    timeout: Duration,
) -> Result<Vec<ReceivedRequest>, String> {
    let mut request = Request::default();
    request.fields.push((FETCH.into(), id.into()));
    let seen = match send(address, http, &request, timeout).await {
        Ok(response) => match serde_json::from_slice(&response.body) {
            Ok(seen) => return Ok(seen),
            Err(_) => format!("status {}", response.status),
        },
        Err(error) => error,
    };
    Err(format!("a request that asks what the backend saw: seen {seen}"))
}

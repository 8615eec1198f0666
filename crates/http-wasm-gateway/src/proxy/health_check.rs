//! Active health checks.

use std::sync::{Arc, Weak};
use std::time::Duration;

use http::uri::PathAndQuery;
use http::{HeaderMap, Method, Uri};
use tokio::time::timeout;

use super::pool::{Outbound, SendErrorKind, Sending};
use super::replay::Replayed;
use super::server::Server;
use crate::config::ActiveHealth;

/// Checks the health of an address for as long as the address exists.
pub(super) async fn run(server: Weak<Server>, checks: ActiveHealth, upstream: Arc<str>) {
    loop {
        let Some(server) = server.upgrade() else { return };
        let path = checks.path.parse::<Uri>().unwrap_or_default();
        let healthy = match server.url.target(&path) {
            Ok(target) => is_healthy(&server, target, checks.timeout.0).await,
            Err(_) => Some(false),
        };
        if let Some(healthy) = healthy
            && server.health.answered(healthy, &checks)
        {
            let (upstream, address) = (&*upstream, &server.url);
            match healthy {
                true => tracing::info!(upstream, %address, "an address is healthy again"),
                false => tracing::warn!(upstream, %address, "an address is unhealthy"),
            }
        }
        drop(server);
        tokio::time::sleep(checks.interval.0).await;
    }
}

/// Whether it responds as expected. `None` if no connection is available for the check, because requests use all that
/// are allowed.
async fn is_healthy(server: &Server, target: PathAndQuery, limit: Duration) -> Option<bool> {
    let (headers, body) = (&HeaderMap::new(), Replayed::empty());
    let request = Outbound { method: &Method::GET, target, headers, body };
    let sending = Sending {
        http1: false,
        fresh: false,
        avoid: None,
        response_timeout: limit,
        outlasts_response: false,
        queue_timeout: None,
        interims: None,
    };
    match timeout(limit, server.pool.send(request, &sending)).await {
        Ok(Ok(response)) => Some(response.status().is_success() || response.status().is_redirection()),
        Ok(Err(error)) if error.kind == SendErrorKind::Busy => None,
        Err(_) if server.pool.is_saturated() => None,
        Ok(Err(_)) | Err(_) => Some(false),
    }
}

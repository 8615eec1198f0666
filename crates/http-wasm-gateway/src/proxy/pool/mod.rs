//! Connections to one address of an upstream, and the requests on them.
//!
//! hyper's client isn't used for either version. For HTTP/1.1, it would parse heads a second time after the strict
//! reader, and pass requests and bodies through channels to its own task. For HTTP/2, it hides the server's stream
//! limit, decides when to send PINGs, and lets a request that waits for a stream delay those behind it.

mod body;
mod connections;
mod error;
mod http1;
mod http2;
mod limits;
mod request;
mod settings;
mod shared;
mod wire;

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use http::Response;
use http_body::Body as _;
use tokio::time::{Instant, sleep_until};

pub(super) use self::body::ResponseBody;
pub(super) use self::connections::http1::Tunnel;
use self::connections::http1::{CHECK_INTERVAL, Idle};
pub(super) use self::error::{SendError, SendErrorKind};
use self::http2::Acquired;
pub(super) use self::request::{Outbound, RequestBody, Sending};
use self::shared::{Protocol, Shared};
use super::connect::Connectors;
use crate::body::BoxError;
use crate::config::Upstream;
use crate::upstream_url::UpstreamUrl;

/// The connections to one address. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Pool(Arc<Shared>);

impl Pool {
    pub(super) fn new(url: &UpstreamUrl, connectors: &Connectors, upstream: &Upstream) -> Self {
        Self(Arc::new(Shared::new(url, connectors, upstream)))
    }

    /// Sends a request, and waits for the head of the response.
    ///
    /// Futures are awaited where they are created, since a variable would need room of its own for each.
    pub(super) async fn send(
        &self,
        request: Outbound<'_>,
        sending: &Sending<'_>,
    ) -> Result<Response<ResponseBody>, SendError> {
        let shared = &self.0;
        loop {
            if !sending.http1 && shared.protocol() != Protocol::Http1 {
                let uploads = !request.body.is_end_stream();
                let (avoid, queue_timeout) = (sending.avoid, sending.queue_timeout);
                let acquired = shared.http2.acquire(shared, avoid, uploads, queue_timeout).await?;
                if let Acquired::Stream(slot) = acquired {
                    // Boxed, so that the future of an HTTP/1.1 request is no larger.
                    let response = Box::pin(http2::send(slot, request, sending)).await?;
                    return Ok(response.map(ResponseBody::Http2));
                }
            }
            let idle = if sending.fresh { None } else { shared.http1().take() };
            let connection = match idle {
                Some(connection) => connection,
                // The server may choose the other version on the new connection. Boxed, as connecting is rare, and
                // would make the future of every request larger.
                None => match Box::pin(self.connect_http1(sending.http1)).await {
                    Ok(Some(connection)) => connection,
                    Ok(None) => continue,
                    Err(error) => return Err(SendError::new(SendErrorKind::of_connect(&*error), error)),
                },
            };
            let response = http1::send(connection, request, shared, sending).await?;
            return Ok(response.map(ResponseBody::Http1));
        }
    }

    /// Opens an HTTP/1.1 connection. Returns `None` if the server chose HTTP/2 and the connection was added to those.
    async fn connect_http1(&self, http1: bool) -> Result<Option<Idle>, BoxError> {
        let shared = &self.0;
        shared
            .within_connect_timeout(async {
                let connected = shared.open(http1).await?;
                if connected.negotiated_http2 {
                    shared.learn(Protocol::Http2);
                    shared.http2.adopt(shared, connected.io).await?;
                    return Ok(None);
                }
                Ok(Some(connections::http1::open(connected.io, &shared.settings)))
            })
            .await
    }

    /// Whether requests wait for others to end, so that a missing response doesn't indicate a problem of the upstream.
    pub(super) fn is_saturated(&self) -> bool {
        self.0.http2.is_saturated()
    }

    /// The number of informational responses that were dropped.
    pub(super) fn informational(&self) -> u64 {
        self.0.informational.load(Ordering::Relaxed)
    }

    /// Closes connections that have been idle for too long. Runs for as long as the upstream exists.
    pub(super) fn sweep(&self) -> impl Future<Output = ()> + use<> {
        let shared = Arc::downgrade(&self.0);
        sweep(shared, self.0.settings.idle_timeout)
    }
}

async fn sweep(shared: Weak<Shared>, idle_timeout: Duration) {
    loop {
        let Some(next) = shared.upgrade().map(|shared| shared.http1().sweep(idle_timeout)) else { return };
        sleep_until(next.unwrap_or_else(|| Instant::now() + CHECK_INTERVAL)).await;
    }
}

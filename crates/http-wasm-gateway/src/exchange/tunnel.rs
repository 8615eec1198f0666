//! The client's connection as one side of a tunnel.

use std::fmt;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{OwnedSemaphorePermit, oneshot, watch};

use crate::config::ClientLimits;

/// The client's side of a tunnel, for the handler of an upgrade request.
#[derive(Debug)]
pub(crate) struct ClientSide {
    pub(crate) limits: TunnelLimits,
    /// The connection, once the response has been sent. Fails if the connection doesn't switch.
    pub(crate) upgraded: oneshot::Receiver<Upgraded>,
    /// The listener waits for the tunnel while this exists.
    pub(crate) closing: watch::Receiver<bool>,
    /// Whether the tunnel must end at once.
    pub(crate) abort: watch::Receiver<bool>,
}

/// A client's connection after it has switched to another protocol.
pub(crate) struct Upgraded {
    pub(crate) io: Box<dyn Stream>,
    /// The connection counts as one of its listener's while this exists.
    pub(crate) permit: OwnedSemaphorePermit,
}

/// A connection as a stream of bytes.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

impl fmt::Debug for Upgraded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upgraded").finish_non_exhaustive()
    }
}

/// Completes when everything that is still running is to be aborted.
pub(crate) async fn aborted(abort: &mut watch::Receiver<bool>) {
    if abort.wait_for(|&abort| abort).await.is_err() {
        // The sender has been dropped.
        std::future::pending::<()>().await;
    }
}

/// How long a tunnel may be idle.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TunnelLimits {
    /// While both sides may send. `None` for no limit.
    pub(crate) idle: Option<Duration>,
    /// After one side has finished sending.
    pub(crate) half_closed: Duration,
}

impl ClientSide {
    /// For a connection with these limits.
    pub(crate) fn new(
        limits: &ClientLimits,
        upgraded: oneshot::Receiver<Upgraded>,
        closing: watch::Receiver<bool>,
        abort: watch::Receiver<bool>,
    ) -> Box<Self> {
        let limits = TunnelLimits {
            idle: limits.tunnel_idle_timeout.0,
            half_closed: limits.tunnel_half_close_timeout.0,
        };
        Box::new(Self { limits, upgraded, closing, abort })
    }
}

//! The client's connection as one side of a tunnel.

use std::time::Duration;

use tokio::sync::watch;

use crate::config::ClientLimits;

/// The client's side of a tunnel, for the handler of an upgrade request.
#[derive(Debug)]
pub(crate) struct ClientSide {
    pub(crate) limits: TunnelLimits,
    /// The listener waits for the tunnel while this exists.
    pub(crate) closing: watch::Receiver<bool>,
    /// Whether the tunnel must end at once.
    pub(crate) abort: watch::Receiver<bool>,
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
        closing: watch::Receiver<bool>,
        abort: watch::Receiver<bool>,
    ) -> Box<Self> {
        let limits = TunnelLimits {
            idle: limits.tunnel_idle_timeout.0,
            half_closed: limits.tunnel_half_close_timeout.0,
        };
        Box::new(Self { limits, closing, abort })
    }
}

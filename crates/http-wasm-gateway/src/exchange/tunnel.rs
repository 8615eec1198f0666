//! What a client's connection brings along that may become a tunnel.

use std::time::Duration;

use tokio::sync::watch;

use crate::config::ClientLimits;

/// The client's side of a tunnel, for the handler of an upgrade request.
#[derive(Debug)]
pub(crate) struct ClientSide {
    pub(crate) limits: TunnelLimits,
    /// The listener waits for the tunnel for as long as this is kept.
    pub(crate) closing: watch::Receiver<bool>,
    /// Whether the tunnel is to end at once.
    pub(crate) cut: watch::Receiver<bool>,
}

/// Ends when what is still running is cut off.
pub(crate) async fn cut_off(cut: &mut watch::Receiver<bool>) {
    if cut.wait_for(|&cut| cut).await.is_err() {
        // The sender is gone.
        std::future::pending::<()>().await;
    }
}

/// How long a tunnel may be silent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TunnelLimits {
    /// While both sides may send; absent, for as long as they like.
    pub(crate) idle: Option<Duration>,
    /// Once one of them has sent all that it will.
    pub(crate) half_closed: Duration,
}

impl ClientSide {
    /// Of a connection with these limits.
    pub(crate) fn new(
        limits: &ClientLimits,
        closing: watch::Receiver<bool>,
        cut: watch::Receiver<bool>,
    ) -> Box<Self> {
        let limits = TunnelLimits {
            idle: limits.tunnel_idle_timeout.0,
            half_closed: limits.tunnel_half_close_timeout.0,
        };
        Box::new(Self { limits, closing, cut })
    }
}

//! Accepts connections from clients and operators, even when file descriptors run out.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

/// How long to wait after a failed accept, which is usually due to a lack of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How often a failure is logged at most.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// How long a connection is silent before the system probes its peer, and how often and at what interval.
#[cfg(unix)]
const KEEPALIVE: Duration = Duration::from_secs(60);
#[cfg(unix)]
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);
#[cfg(unix)]
const KEEPALIVE_PROBES: u32 = 4;

/// Accepts the next connection.
pub(crate) async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    let mut logged: Option<Instant> = None;
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                // Without it, small writes wait for acknowledgements. A socket that rejects it still works.
                let _ = stream.set_nodelay(true);
                return (stream, peer);
            }
            Err(error) if concerns_one_client(&error) => {
                tracing::debug!(%error, "a client disconnected before it was accepted")
            }
            Err(error) => {
                if logged.is_none_or(|logged| logged.elapsed() >= LOG_INTERVAL) {
                    tracing::error!(%error, "cannot accept connections; retrying");
                    logged = Some(Instant::now());
                }
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn concerns_one_client(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

/// Enables keep-alive probes for connections that this socket accepts. They inherit the option, which saves system
/// calls for each.
#[cfg(unix)]
pub(crate) fn keep_alive(listener: &TcpListener) {
    use rustix::net::sockopt;

    let set = sockopt::set_socket_keepalive(listener, true);
    // macOS has no such options for listening sockets; its own intervals apply there.
    #[cfg(not(target_os = "macos"))]
    let set = set
        .and_then(|()| sockopt::set_tcp_keepidle(listener, KEEPALIVE))
        .and_then(|()| sockopt::set_tcp_keepintvl(listener, KEEPALIVE_INTERVAL))
        .and_then(|()| sockopt::set_tcp_keepcnt(listener, KEEPALIVE_PROBES));
    if let Err(error) = set {
        tracing::debug!(%error, "cannot enable TCP keepalive");
    }
}

#[cfg(not(unix))]
pub(crate) fn keep_alive(_: &TcpListener) {}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use tokio::net::{TcpListener, TcpStream};

    use super::{accept, keep_alive};

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn accepted_connections_are_kept_alive_by_the_system() {
        use rustix::net::sockopt;

        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
        keep_alive(&listener);
        let client = TcpStream::connect(listener.local_addr().unwrap());
        let (client, (stream, _)) = tokio::join!(client, accept(&listener));
        assert!(sockopt::socket_keepalive(&stream).unwrap());
        assert_eq!(sockopt::tcp_keepidle(&stream).unwrap().as_secs(), 60);
        assert!(!sockopt::socket_keepalive(client.unwrap()).unwrap());
    }
}

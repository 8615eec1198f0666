//! Sends PINGs to a silent client.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use h2::{Ping, PingPong};
use tokio::time::{Instant, Sleep, sleep};

use super::io::Traffic;

/// How long a client may be silent before a PING is sent, and how long it may then take to respond.
const INTERVAL: Duration = Duration::from_secs(20);

/// Checks whether a client is still there.
pub(super) struct KeepAlive {
    pings: Option<PingPong>,
    timer: Pin<Box<Sleep>>,
    /// How often something had been read when the PING was sent, while a response is expected.
    asked: Option<u64>,
}

impl KeepAlive {
    pub(super) fn new() -> Self {
        Self { pings: None, timer: Box::pin(sleep(INTERVAL)), asked: None }
    }

    /// Sets the handle for sending PINGs.
    pub(super) fn pings(&mut self, pings: Option<PingPong>) {
        self.pings = pings;
    }

    /// Ready if the client hasn't responded to a PING. Everything that has arrived must have been read before.
    pub(super) fn poll_dead(&mut self, traffic: &Traffic, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            ready!(self.timer.as_mut().poll(cx));
            let reads = traffic.reads();
            match self.asked {
                // A timestamp couldn't distinguish a response that arrives within the same millisecond as the PING.
                Some(before) if before == reads => return Poll::Ready(()),
                _ => self.asked = None,
            }
            let silent_until = traffic.last_read() + INTERVAL;
            if silent_until > self.timer.deadline() {
                self.timer.as_mut().reset(silent_until);
                continue;
            }
            let Some(pings) = &mut self.pings else { return Poll::Pending };
            // This may be the response to an earlier PING. It is enough that something was read.
            let _ = pings.poll_pong(cx);
            let _ = pings.send_ping(Ping::opaque());
            self.asked = Some(reads);
            let answered_by = Instant::now() + INTERVAL;
            self.timer.as_mut().reset(answered_by);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::pin::pin;
    use std::sync::Arc;

    use bytes::{Bytes, BytesMut};
    use h2::server::Connection;
    use tokio::io::{DuplexStream, duplex};
    use tokio::sync::Semaphore;
    use tokio::time::{Instant, sleep};

    use super::{INTERVAL, KeepAlive};
    use crate::listener::http2::io::{FrameIo, Traffic};
    use crate::listener::http2::send::Piece;
    use crate::listener::http2::unread::Unread;
    use crate::unread_budget::UnreadBudget;

    struct Client {
        connection: h2::client::Connection<DuplexStream>,
        /// Without it, the connection would end.
        _requests: h2::client::SendRequest<Bytes>,
    }

    impl Client {
        /// While time is paused, it responds at the very instant of the PING.
        async fn answer(&mut self) -> Result<(), h2::Error> {
            (&mut self.connection).await
        }
    }

    /// A client, and a future that completes when the server considers it dead.
    async fn connected() -> (Client, impl Future<Output = ()>) {
        let (client, server) = duplex(64 * 1024);
        let traffic = Traffic::new();
        let permit = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
        let unread = Unread::new(Arc::new(UnreadBudget::new(u64::MAX)));
        let io = FrameIo::new(server, BytesMut::new(), traffic.clone(), unread, Arc::default(), permit);
        let (client, server) = tokio::join!(h2::client::handshake(client), async {
            h2::server::Builder::new().handshake::<_, Piece>(io).await.unwrap()
        });
        let (requests, connection) = client.unwrap();
        (Client { connection, _requests: requests }, dead(server, traffic))
    }

    async fn dead(mut server: Connection<FrameIo<DuplexStream>, Piece>, traffic: Arc<Traffic>) {
        let mut keep_alive = KeepAlive::new();
        keep_alive.pings(server.ping_pong());
        poll_fn(|cx| {
            assert!(server.poll_accept(cx).is_pending());
            keep_alive.poll_dead(&traffic, cx)
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_client_that_answers_pings_stays_connected() {
        let (mut client, dead) = connected().await;
        tokio::select! {
            () = dead => panic!("the client counts as dead"),
            ended = client.answer() => panic!("the client ended: {ended:?}"),
            () = sleep(100 * INTERVAL) => {}
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_stops_answering_pings_is_dead_after_two_intervals() {
        let (mut client, dead) = connected().await;
        let mut dead = pin!(dead);
        tokio::select! {
            () = &mut dead => panic!("the client counts as dead"),
            ended = client.answer() => panic!("the client ended: {ended:?}"),
            () = sleep(5 * INTERVAL + INTERVAL / 2) => {}
        }
        let silent = Instant::now();
        dead.await;
        assert!(silent.elapsed() <= 2 * INTERVAL, "{:?}", silent.elapsed());
    }
}

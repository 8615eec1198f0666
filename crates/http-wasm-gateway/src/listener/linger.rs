//! Closes a connection whose client may still be sending. Closing it with unread bytes would reset it, and discard a
//! response that the client hasn't read yet (RFC 9112 section 9.6).

use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::time::{Instant, Sleep, sleep_until};

/// How many bytes the client may send.
const BYTES: usize = 64 * 1024 * 1024;

/// How many bytes are read at once.
const READ_BYTES: usize = 16 * 1024;

/// Reads and discards data, once the other direction has been shut down.
#[derive(Debug)]
pub(super) struct Linger {
    end: Instant,
    max_pause: Duration,
    pause: Pin<Box<Sleep>>,
    left: usize,
}

impl Linger {
    /// For a client that may continue to send for `total`, and pause for up to `max_pause`.
    pub(super) fn new(total: Duration, max_pause: Duration) -> Self {
        let now = Instant::now();
        let pause = Box::pin(sleep_until(now + max_pause.min(total)));
        Self { end: now + total, max_pause, pause, left: BYTES }
    }

    /// Ready when the client has closed the connection too, or has exceeded the time or size.
    pub(super) fn poll<S: AsyncRead + Unpin>(
        &mut self,
        io: &mut S,
        buffer: &mut BytesMut,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        while self.left > 0 {
            buffer.clear();
            buffer.reserve(READ_BYTES);
            match pin!(io.read_buf(buffer)).poll(cx) {
                Poll::Ready(Ok(read @ 1..)) => {
                    self.left = self.left.saturating_sub(read);
                    self.pause.as_mut().reset(self.end.min(Instant::now() + self.max_pause));
                }
                Poll::Ready(_) => break,
                Poll::Pending => {
                    ready!(self.pause.as_mut().poll(cx));
                    break;
                }
            }
        }
        Poll::Ready(())
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::time::Duration;

    use bytes::BytesMut;
    use tokio::io::AsyncWriteExt as _;
    use tokio::time::Instant;

    use super::{BYTES, Linger};

    const TOTAL: Duration = Duration::from_secs(30);
    const PAUSE: Duration = Duration::from_secs(5);

    async fn linger(io: &mut (impl tokio::io::AsyncRead + Unpin)) {
        let (mut linger, mut buffer) = (Linger::new(TOTAL, PAUSE), BytesMut::new());
        poll_fn(|cx| linger.poll(io, &mut buffer, cx)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn lingering_is_limited_in_time_for_slow_pausing_and_flooding_clients() {
        let start = Instant::now();
        let (client, mut server) = tokio::io::duplex(1000);
        linger(&mut server).await;
        assert_eq!(start.elapsed(), PAUSE);
        drop(client);

        let start = Instant::now();
        let (mut client, mut server) = tokio::io::duplex(1000);
        let drip = async {
            loop {
                tokio::time::sleep(PAUSE / 2).await;
                client.write_all(b"x").await.unwrap();
            }
        };
        tokio::select! {
            () = linger(&mut server) => assert_eq!(start.elapsed(), TOTAL),
            () = drip => {}
        }

        let start = Instant::now();
        let (mut client, mut server) = tokio::io::duplex(1024 * 1024);
        let (piece, mut sent) = (vec![0; 1024 * 1024], 0);
        let flood = async {
            loop {
                client.write_all(&piece).await.unwrap();
                sent += piece.len();
            }
        };
        tokio::select! {
            () = linger(&mut server) => {}
            () = flood => {}
        }
        assert_eq!(start.elapsed().as_secs(), 0);
        assert!((BYTES..BYTES + 3 * 1024 * 1024).contains(&sent), "{sent}");
    }

    #[tokio::test(start_paused = true)]
    async fn lingering_ends_when_the_client_closes() {
        let start = Instant::now();
        let (mut client, mut server) = tokio::io::duplex(1000);
        client.write_all(b"the rest").await.unwrap();
        drop(client);
        linger(&mut server).await;
        assert_eq!(start.elapsed().as_secs(), 0);
    }
}

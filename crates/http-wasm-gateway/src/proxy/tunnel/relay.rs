//! Relays bytes between two connections, until both sides have finished, one breaks, or both are silent for too long.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf, copy_bidirectional};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until, timeout};

use crate::exchange::{TunnelLimits, aborted};

/// How long closing may take on sides that didn't cause the end. TLS has a message for that.
const CLOSE: Duration = Duration::from_secs(1);

/// What was relayed, and how it ended.
pub(super) struct Relayed {
    /// Bytes received from the client.
    pub(super) from_client: u64,
    /// Bytes sent to the client.
    pub(super) to_client: u64,
    pub(super) end: End,
}

/// How a tunnel ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// Both sides have finished.
    Closed,
    /// A connection broke.
    Broken(io::ErrorKind),
    /// Neither side has sent or accepted anything for too long.
    Idle,
    /// Neither side has sent or accepted anything for too long after one side had finished.
    HalfClosed,
    /// The gateway is shutting down.
    Aborted,
}

/// Relays bytes both ways until the tunnel ends.
pub(super) async fn relay<C, U>(
    client: C,
    upstream: U,
    limits: TunnelLimits,
    mut abort: watch::Receiver<bool>,
) -> Relayed
where
    C: AsyncRead + AsyncWrite + Unpin,
    U: AsyncRead + AsyncWrite + Unpin,
{
    let activity = Activity::new();
    let mut client = Tracked { io: client, activity: &activity, read: 0, written: 0 };
    let mut upstream = Tracked { io: upstream, activity: &activity, read: 0, written: 0 };
    let end = tokio::select! {
        copied = copy_bidirectional(&mut client, &mut upstream) => {
            copied.map_or_else(|error| End::Broken(error.kind()), |_| End::Closed)
        }
        end = activity.silent(limits) => end,
        () = aborted(&mut abort) => End::Aborted,
    };
    if end != End::Closed {
        let both = async { tokio::join!(client.io.shutdown(), upstream.io.shutdown()) };
        // A peer that doesn't accept it finds the connection closed.
        let _ = timeout(CLOSE, both).await;
    }
    Relayed { from_client: client.read, to_client: client.written, end }
}

/// Records when bytes last moved on either connection.
struct Activity {
    start: Instant,
    /// When bytes last moved, in milliseconds since the start.
    moved: AtomicU64,
    half_closed: AtomicBool,
    half_closes: Notify,
}

impl Activity {
    fn new() -> Self {
        Self {
            start: Instant::now(),
            moved: AtomicU64::new(0),
            half_closed: AtomicBool::new(false),
            half_closes: Notify::new(),
        }
    }

    fn bytes_moved(&self) {
        let now = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.moved.store(now, Ordering::Relaxed);
    }

    fn side_ended(&self) {
        self.bytes_moved();
        self.half_closed.store(true, Ordering::Relaxed);
        self.half_closes.notify_one();
    }

    /// Completes when no bytes have moved for too long.
    async fn silent(&self, limits: TunnelLimits) -> End {
        loop {
            let half_closed = self.half_closed.load(Ordering::Relaxed);
            let limit = if half_closed { Some(limits.half_closed) } else { limits.idle };
            let moved = self.start + Duration::from_millis(self.moved.load(Ordering::Relaxed));
            let deadline = limit.map(|limit| moved + limit);
            if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                return if half_closed { End::HalfClosed } else { End::Idle };
            }
            let deadline = async {
                match deadline {
                    Some(deadline) => sleep_until(deadline).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = deadline => {}
                () = self.half_closes.notified() => {}
            }
        }
    }
}

/// A connection that counts its bytes, and records when they move.
struct Tracked<'a, S> {
    io: S,
    activity: &'a Activity,
    read: u64,
    written: u64,
}

impl<S: AsyncRead + Unpin> AsyncRead for Tracked<'_, S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.io).poll_read(cx, buf))?;
        match buf.filled().len() - before {
            0 => self.activity.side_ended(),
            read => {
                self.read += read as u64;
                self.activity.bytes_moved();
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Tracked<'_, S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.io).poll_write(cx, buf))?;
        self.written += written as u64;
        self.activity.bytes_moved();
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    /// A signal that never aborts the tunnel.
    fn not_aborted() -> tokio::sync::watch::Receiver<bool> {
        tokio::sync::watch::channel(false).1
    }

    use std::time::Duration;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
    use tokio::task::JoinHandle;
    use tokio::time::{Instant, sleep};

    use super::{End, Relayed, TunnelLimits, relay};

    const LIMITS: TunnelLimits =
        TunnelLimits { idle: Some(Duration::from_secs(60)), half_closed: Duration::from_secs(5) };

    /// A client, an upstream, and the tunnel between them.
    fn tunnel(limits: TunnelLimits) -> (DuplexStream, DuplexStream, JoinHandle<Relayed>) {
        let (client, near) = duplex(16);
        let (upstream, far) = duplex(16);
        (client, upstream, tokio::spawn(relay(near, far, limits, not_aborted())))
    }

    async fn pass(from: &mut DuplexStream, to: &mut DuplexStream, bytes: &[u8]) {
        from.write_all(bytes).await.unwrap();
        let mut read = vec![0; bytes.len()];
        to.read_exact(&mut read).await.unwrap();
        assert_eq!(read, bytes);
    }

    #[tokio::test(start_paused = true)]
    async fn bytes_pass_both_ways_and_are_counted_until_both_sides_end() {
        let (mut client, mut upstream, tunnel) = tunnel(LIMITS);
        pass(&mut client, &mut upstream, b"ping").await;
        pass(&mut upstream, &mut client, b"pong!").await;
        client.shutdown().await.unwrap();
        assert_eq!(upstream.read(&mut [0; 8]).await.unwrap(), 0, "the end is passed on");
        pass(&mut upstream, &mut client, b"the rest").await;
        drop(upstream);
        let carried = tunnel.await.unwrap();
        assert_eq!((carried.from_client, carried.to_client, carried.end), (4, 13, End::Closed));
    }

    #[tokio::test(start_paused = true)]
    async fn a_tunnel_ends_at_its_idle_timeout_after_the_last_byte_of_either_side() {
        let (mut client, mut upstream, tunnel) = tunnel(LIMITS);
        let start = Instant::now();
        for _ in 0..3 {
            sleep(Duration::from_secs(50)).await;
            pass(&mut client, &mut upstream, b"c").await;
            sleep(Duration::from_secs(50)).await;
            pass(&mut upstream, &mut client, b"u").await;
        }
        assert_eq!(client.read(&mut [0; 8]).await.unwrap(), 0, "it was closed");
        assert_eq!(upstream.read(&mut [0; 8]).await.unwrap(), 0, "it was closed");
        assert_eq!(tunnel.await.unwrap().end, End::Idle);
        assert_eq!(start.elapsed().as_secs(), 360);
    }

    #[tokio::test(start_paused = true)]
    async fn a_tunnel_without_idle_timeout_stays_open() {
        let (mut client, mut upstream, tunnel) = tunnel(TunnelLimits { idle: None, ..LIMITS });
        sleep(Duration::from_secs(1_000_000)).await;
        pass(&mut client, &mut upstream, b"still there").await;
        assert!(!tunnel.is_finished());
        // The limit for half-closed tunnels still applies.
        let start = Instant::now();
        client.shutdown().await.unwrap();
        assert_eq!(tunnel.await.unwrap().end, End::HalfClosed);
        assert_eq!(start.elapsed().as_secs(), 5);
    }

    #[tokio::test(start_paused = true)]
    async fn a_half_closed_tunnel_ends_when_the_other_side_is_idle() {
        let (mut client, mut upstream, tunnel) = tunnel(LIMITS);
        sleep(Duration::from_secs(30)).await;
        upstream.shutdown().await.unwrap();
        for _ in 0..3 {
            sleep(Duration::from_secs(4)).await;
            pass(&mut client, &mut upstream, b"on").await;
        }
        let start = Instant::now();
        assert_eq!(tunnel.await.unwrap().end, End::HalfClosed);
        assert_eq!(start.elapsed().as_secs(), 5);
    }

    #[tokio::test(start_paused = true)]
    async fn a_side_that_stops_reading_does_not_keep_a_tunnel_open() {
        let (mut client, upstream, tunnel) = tunnel(LIMITS);
        let start = Instant::now();
        // This fills all buffers in between.
        let flood = tokio::spawn(async move { while client.write_all(&[0; 64]).await.is_ok() {} });
        assert_eq!(tunnel.await.unwrap().end, End::Idle);
        // It also waited for the client to accept its last bytes.
        assert!((60..=62).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
        flood.await.unwrap();
        drop(upstream);
    }
}

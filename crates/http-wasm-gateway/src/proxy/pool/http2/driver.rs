//! The task of an HTTP/2 connection. It reads and writes, checks whether a silent server is still there, and closes the
//! connection when it is no longer needed.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use h2::{Ping, PingPong};
use tokio::time::{Instant, sleep_until, timeout};

use crate::body::BoxError;
use crate::proxy::pool::connections::http2::Status;
use crate::proxy::pool::settings::Settings;
use crate::proxy::pool::shared::Shared;
use crate::proxy::pool::wire::Wire;

/// How long closing a connection cleanly may take.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// How long the remaining streams of a connection that gets no new ones may take: without anything being received, and
/// in total.
const DRAIN_SILENCE: Duration = Duration::from_secs(60);
const DRAIN_TIMEOUT: Duration = Duration::from_secs(60 * 60);

type H2 = h2::client::Connection<Wire, Bytes>;

pub(super) async fn drive(mut connection: H2, status: Arc<Status>, shared: Weak<Shared>) {
    let Some(settings) = shared.upgrade().map(|shared| shared.settings.clone()) else { return };
    let mut keepalive = Keepalive::new(&settings, connection.ping_pong(), &status);
    let mut changes = Changes { settings: status.traffic.settings(), goaway: false };
    let mut timer = pin!(sleep_until(status.start));
    let ended: Result<(), BoxError> = loop {
        if status.has_recovered() {
            changed(&shared);
        }
        match keepalive.next(&status, shared.strong_count() > 0) {
            Next::Wait(until) => timer.as_mut().reset(until),
            Next::Dead => break Err("the server didn't acknowledge a PING".into()),
            Next::Drained => break Err("its last streams took too long".into()),
            Next::Close => {
                if shared.upgrade().is_none_or(|shared| shared.http2.remove_idle(&status)) {
                    changed(&shared);
                    // Without streams and senders, h2 sends GOAWAY and ends.
                    let _ = timeout(CLOSE_TIMEOUT, &mut connection).await;
                    return;
                }
            }
        }
        tokio::select! {
            biased;
            event = poll_fn(|cx| changes.poll(&mut connection, &status, cx)) => match event {
                Event::Ended(ended) => break ended.map_err(Into::into),
                Event::Changed => changed(&shared),
            },
            () = poll_fn(|cx| keepalive.poll_pong(cx)) => {}
            () = status.changed.notified() => {}
            () = &mut timer => {}
        }
    };
    status.drain();
    status.ended.store(true, Ordering::Release);
    // This fails its streams.
    drop(connection);
    if let Err(error) = ended {
        tracing::debug!(error = &*error, "upstream connection ended");
    }
    if let Some(shared) = shared.upgrade() {
        shared.http2.remove(status.id);
    }
}

fn changed(shared: &Weak<Shared>) {
    if let Some(shared) = shared.upgrade() {
        shared.http2.changed();
    }
}

/// Changes that affect requests waiting for a stream.
struct Changes {
    settings: u32,
    goaway: bool,
}

enum Event {
    Ended(Result<(), h2::Error>),
    Changed,
}

impl Changes {
    fn poll(&mut self, connection: &mut H2, status: &Status, cx: &mut Context<'_>) -> Poll<Event> {
        if let Poll::Ready(ended) = Pin::new(&mut *connection).poll(cx) {
            return Poll::Ready(Event::Ended(ended));
        }
        let before = (self.settings, self.goaway);
        (self.settings, self.goaway) = (status.traffic.settings(), status.traffic.goaway());
        if before == (self.settings, self.goaway) {
            return Poll::Pending;
        }
        status.set_limit(connection.max_concurrent_send_streams());
        Poll::Ready(Event::Changed)
    }
}

/// What to do next.
enum Next {
    /// Check again at this time, or when something changes.
    Wait(Instant),
    Close,
    /// The server didn't acknowledge a PING.
    Dead,
    /// It gets no more streams, and the remaining ones have taken too long.
    Drained,
}

/// Decides when to send a PING, and when to stop waiting.
struct Keepalive {
    interval: Option<Duration>,
    timeout: Duration,
    idle_timeout: Duration,
    pings: Option<PingPong>,
    /// The PING that the server hasn't acknowledged yet.
    sent_at: Option<Instant>,
    last_sent_at: Instant,
    /// Whether a PING was sent because the connection is suspect.
    asked: bool,
    /// When it stopped getting new streams.
    draining_since: Option<Instant>,
}

impl Keepalive {
    fn new(settings: &Settings, pings: Option<PingPong>, status: &Status) -> Self {
        Self {
            interval: settings.ping_interval,
            timeout: settings.ping_timeout,
            idle_timeout: settings.idle_timeout,
            pings,
            sent_at: None,
            last_sent_at: status.start,
            asked: false,
            draining_since: None,
        }
    }

    fn next(&mut self, status: &Status, wanted: bool) -> Next {
        let (now, streams) = (Instant::now(), status.streams());
        let idle_until = status.idle_since() + self.idle_timeout;
        if streams == 0 && (status.is_draining() || !wanted || now >= idle_until) {
            return Next::Close;
        }
        let mut until = if streams == 0 { idle_until } else { now + self.idle_timeout };
        let received_at = status.traffic.received_at();
        if status.is_draining() {
            let since = *self.draining_since.get_or_insert(now);
            let deadline = (received_at.max(since) + DRAIN_SILENCE).min(since + DRAIN_TIMEOUT);
            if now >= deadline {
                return Next::Drained;
            }
            until = until.min(deadline);
        }
        match (self.sent_at, self.interval) {
            (Some(sent_at), _) => {
                let deadline = sent_at.max(received_at) + self.timeout;
                if now >= deadline {
                    return Next::Dead;
                }
                until = until.min(deadline);
            }
            (None, Some(interval)) => {
                let due = received_at.max(self.last_sent_at) + interval;
                match streams {
                    0 => until = until.min(now + interval),
                    _ if now >= due => self.send(now),
                    _ => until = until.min(due),
                }
            }
            (None, None) => {}
        }
        if !status.is_suspect() {
            self.asked = false;
        } else if !self.asked {
            self.asked = true;
            if self.sent_at.is_none() {
                self.send(now);
            }
        }
        if let Some(sent_at) = self.sent_at {
            until = until.min(sent_at.max(received_at) + self.timeout);
        }
        Next::Wait(until)
    }

    fn send(&mut self, now: Instant) {
        if let Some(pings) = &mut self.pings
            && pings.send_ping(Ping::opaque()).is_ok()
        {
            (self.sent_at, self.last_sent_at) = (Some(now), now);
        }
    }

    fn poll_pong(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(pings) = self.pings.as_mut().filter(|_| self.sent_at.is_some()) else {
            return Poll::Pending;
        };
        // An error means that the connection has ended, which its own result shows too.
        match pings.poll_pong(cx) {
            Poll::Ready(Ok(_)) => {
                self.sent_at = None;
                Poll::Ready(())
            }
            Poll::Ready(Err(_)) | Poll::Pending => Poll::Pending,
        }
    }
}

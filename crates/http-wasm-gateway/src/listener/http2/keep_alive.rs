//! PINGs to a silent client.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use h2::{Ping, PingPong};
use tokio::time::{Sleep, sleep};

use super::io::Traffic;

/// How long a client is silent before a PING is sent, and how long it may then take to answer.
const INTERVAL: Duration = Duration::from_secs(20);

/// Checks whether a client is still there.
pub(super) struct KeepAlive {
    pings: Option<PingPong>,
    timer: Pin<Box<Sleep>>,
    asked: bool,
}

impl KeepAlive {
    pub(super) fn new() -> Self {
        Self { pings: None, timer: Box::pin(sleep(INTERVAL)), asked: false }
    }

    /// From now on, PINGs can be sent with this.
    pub(super) fn pings(&mut self, pings: Option<PingPong>) {
        self.pings = pings;
    }

    /// Ready when the client hasn't answered a PING.
    pub(super) fn poll_dead(&mut self, traffic: &Traffic, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            ready!(self.timer.as_mut().poll(cx));
            let asked_at = self.timer.deadline() - INTERVAL;
            if traffic.last_read() > asked_at {
                self.asked = false;
                self.timer.as_mut().reset(traffic.last_read() + INTERVAL);
                continue;
            }
            if self.asked {
                return Poll::Ready(());
            }
            let Some(pings) = &mut self.pings else { return Poll::Pending };
            // The answer to an earlier one; it is enough that something was read.
            let _ = pings.poll_pong(cx);
            let _ = pings.send_ping(Ping::opaque());
            self.asked = true;
            let answered_by = self.timer.deadline() + INTERVAL;
            self.timer.as_mut().reset(answered_by);
        }
    }
}

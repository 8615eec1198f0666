//! Connections that carry a request.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use crate::proxy::pool::connections::http1::Connection;
use crate::proxy::pool::shared::Shared;
use crate::proxy::timeout::ResponseTimer;

/// A connection that carries a request. Unless it is [released](Self::release), it is closed when this is dropped.
#[derive(Debug)]
pub(super) struct Busy {
    pub(super) connection: Box<Connection>,
    pub(super) shared: Arc<Shared>,
    /// Which side is expected to act while the request's body is being sent.
    pub(super) response_timer: ResponseTimer,
}

impl Busy {
    /// Makes the connection idle once the request has been sent too. If the upstream has responded and closes the
    /// connection, or doesn't read the rest of the request, that is dropped.
    pub(super) fn release(self) {
        if self.connection.has_sent() {
            self.finish();
        } else {
            tokio::spawn(self.finish_upload());
        }
    }

    fn finish(self) {
        if self.connection.may_reuse() {
            self.shared.put_idle(self.connection);
        } else {
            self.connection.close();
        }
    }

    async fn finish_upload(mut self) {
        let limit = self.shared.settings.idle_timeout;
        let sent = poll_fn(|cx| {
            if let Poll::Ready(sent) = self.connection.poll_send(cx) {
                return Poll::Ready(sent.is_ok());
            }
            if self.connection.poll_closed(cx).is_ready() {
                return Poll::Ready(false);
            }
            self.response_timer.poll_expired(limit, &mut self.connection.timer, cx).map(|()| false)
        });
        if sent.await {
            self.finish();
        }
    }
}

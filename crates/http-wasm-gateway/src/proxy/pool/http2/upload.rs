//! Sends the body of a request.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use h2::{Reason, SendStream};
use http::HeaderMap;
use http_body::Body as _;
use tokio::sync::oneshot;

use super::slot::Slot;
use crate::body::BoxError;
use crate::proxy::pool::RequestBody;
use crate::proxy::timeout::ResponseTimer;

/// A body that is being sent. As a future, it completes when all of it has been passed to h2.
pub(super) struct Upload {
    body: RequestBody,
    stream: SendStream<Bytes>,
    /// Data that waits for the server's window, and whether it is the last.
    pending: Option<(Bytes, bool)>,
    /// Whether any of it has fitted into the window.
    begun: bool,
}

/// Why a body wasn't sent completely.
#[derive(Debug)]
pub(super) enum UploadError {
    /// The body failed.
    Body(BoxError),
    /// The stream has ended. The response shows why.
    Stream,
}

impl Upload {
    pub(super) fn new(body: RequestBody, stream: SendStream<Bytes>) -> Self {
        Self { body, stream, pending: None, begun: false }
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), UploadError>> {
        loop {
            if !matches!(self.stream.poll_reset(cx), Poll::Pending) {
                return Poll::Ready(Err(UploadError::Stream));
            }
            if let Some((data, last)) = self.pending.take() {
                // Data that exceeds the window waits in h2. The next frame isn't polled until there is room again.
                if self.stream.capacity() == 0 {
                    self.stream.reserve_capacity(1);
                    match self.stream.poll_capacity(cx) {
                        Poll::Pending => {
                            self.pending = Some((data, last));
                            return Poll::Pending;
                        }
                        Poll::Ready(Some(Ok(0))) => {
                            self.pending = Some((data, last));
                            continue;
                        }
                        Poll::Ready(Some(Ok(_))) => {}
                        Poll::Ready(None | Some(Err(_))) => return Poll::Ready(Err(UploadError::Stream)),
                    }
                }
                self.data(data, last)?;
                if last {
                    return Poll::Ready(Ok(()));
                }
                continue;
            }
            let frame = match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Ok(frame)) => frame,
                Some(Err(error)) => {
                    self.stream.send_reset(Reason::CANCEL);
                    return Poll::Ready(Err(UploadError::Body(error)));
                }
                None => return Poll::Ready(self.data(Bytes::new(), true)),
            };
            match frame.into_data() {
                Ok(data) => {
                    let last = self.body.is_end_stream();
                    match (data.is_empty(), last) {
                        (true, true) => return Poll::Ready(self.data(data, true)),
                        // Some servers treat empty DATA frames as an attack.
                        (true, false) => {}
                        (false, _) => self.pending = Some((data, last)),
                    }
                }
                Err(frame) => {
                    if let Ok(trailers) = frame.into_trailers() {
                        return Poll::Ready(self.trailers(trailers));
                    }
                }
            }
        }
    }

    /// Whether any of it has fitted into the window.
    pub(super) fn has_begun(&self) -> bool {
        self.begun
    }

    fn data(&mut self, data: Bytes, last: bool) -> Result<(), UploadError> {
        self.begun = true;
        self.stream.send_data(data, last).map_err(|_| UploadError::Stream)
    }

    fn trailers(&mut self, trailers: HeaderMap) -> Result<(), UploadError> {
        self.stream.reserve_capacity(0);
        self.stream.send_trailers(trailers).map_err(|_| UploadError::Stream)
    }

    /// Continues in a separate task while the response is being received.
    pub(super) fn detach(mut self) -> Detached {
        let (order, mut ordered) = oneshot::channel();
        tokio::spawn(async move {
            let order = tokio::select! {
                _ = poll_fn(|cx| self.poll(cx)) => return,
                order = pin!(&mut ordered) => order,
            };
            let reason = match order {
                Ok(Order::Stop) => Reason::NO_ERROR,
                Ok(Order::Finish { timer, limit, slot: _held }) => tokio::select! {
                    _ = poll_fn(|cx| self.poll(cx)) => return,
                    () = pin!(timer.expired(limit)) => Reason::NO_ERROR,
                },
                Err(_) => Reason::CANCEL,
            };
            self.stream.send_reset(reason);
        });
        Detached(order)
    }
}

/// What to do when the response is complete.
#[derive(Debug)]
enum Order {
    /// Don't send the rest.
    Stop,
    /// Send the rest, unless the server reads nothing for too long.
    Finish { timer: ResponseTimer, limit: Duration, slot: Slot },
}

/// A body that is still being sent; it is cancelled when this is dropped.
#[derive(Debug)]
pub(super) struct Detached(oneshot::Sender<Order>);

impl Detached {
    /// Stops sending, since the response is complete.
    pub(super) fn stop(self) {
        let _ = self.0.send(Order::Stop);
    }

    /// Goes on sending after the response, unless the server reads nothing for `limit`.
    pub(super) fn finish(self, timer: ResponseTimer, limit: Duration, slot: Slot) {
        let _ = self.0.send(Order::Finish { timer, limit, slot });
    }
}

//! Limits on the size and rate of request bodies.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until};

use super::trusted_proxies::TrustedProxies;
use super::upload::Upload;
use crate::body::BoxError;
use crate::config::ClientLimits;
use crate::trailers;

/// An incoming body. It fails if it is too large, and, until the response is available, if it is too slow. After that
/// it may be half of a conversation, as in gRPC, in which the client may be silent for as long as it likes.
///
/// When it is dropped, the unread rest goes back to the [`Upload`].
#[derive(Debug)]
pub(super) struct IncomingBody<B> {
    /// `None` once it has ended.
    body: Option<B>,
    upload: Arc<Upload<B>>,
    /// The number of bytes received.
    size: u64,
    transfer: TransferTimeout,
    timer: Option<Pin<Box<Sleep>>>,
    /// What drops trailers that others let pass, if anything does.
    trusted_proxies: Option<Arc<TrustedProxies>>,
}

impl<B> IncomingBody<B> {
    pub(super) fn new(
        body: B,
        upload: Arc<Upload<B>>,
        limits: &ClientLimits,
        trusted_proxies: &Arc<TrustedProxies>,
    ) -> Self {
        let transfer = TransferTimeout::new(limits.body_timeout.0, Some(limits.min_body_rate.0));
        let trusted_proxies = trusted_proxies.drop_trailers().then(|| trusted_proxies.clone());
        Self { body: Some(body), upload, size: 0, transfer, timer: None, trusted_proxies }
    }

    fn fail(
        &self,
        status: StatusCode,
        reason: impl Into<BoxError>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.upload.set_failure(status);
        Poll::Ready(Some(Err(reason.into())))
    }
}

impl<B> Drop for IncomingBody<B> {
    fn drop(&mut self) {
        self.upload.return_body(self.body.take());
    }
}

impl<B> Body for IncomingBody<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        let Some(body) = &mut this.body else { return Poll::Ready(None) };
        this.upload.requested();
        match Pin::new(&mut *body).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                let bytes = frame.data_ref().map_or(0, |data| data.len() as u64);
                if body.is_end_stream() {
                    this.body = None;
                }
                this.upload.received();
                this.transfer.transferred(bytes);
                this.size = this.size.saturating_add(bytes);
                if this.size > this.upload.limit() {
                    return this.fail(StatusCode::PAYLOAD_TOO_LARGE, "the body is too large");
                }
                let frame = match &this.trusted_proxies {
                    Some(trusted_proxies) => {
                        trailers::filter_with(frame, |name| trusted_proxies.drops_trailer(name))
                    }
                    None => trailers::filter(frame),
                };
                Poll::Ready(frame.map(Ok))
            }
            Poll::Ready(Some(Err(error))) => {
                this.body = None;
                this.fail(StatusCode::BAD_REQUEST, error)
            }
            Poll::Ready(None) => {
                this.body = None;
                Poll::Ready(None)
            }
            Poll::Pending if this.upload.is_answered() => Poll::Pending,
            Poll::Pending => {
                let deadline = this.transfer.deadline();
                let timer = this.timer.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
                if timer.deadline() != deadline {
                    timer.as_mut().reset(deadline);
                }
                match timer.as_mut().poll(cx) {
                    Poll::Ready(()) if !this.upload.is_answered() => {
                        this.fail(StatusCode::REQUEST_TIMEOUT, "the body is too slow")
                    }
                    _ => Poll::Pending,
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or(SizeHint::with_exact(0), Body::size_hint)
    }
}

/// The rate at which a body moves. Only time spent waiting for the peer counts.
#[derive(Debug)]
pub(super) struct TransferTimeout {
    /// How long the next bytes may take.
    timeout: Duration,
    /// Minimum rate in bytes per second, if there is one.
    rate: Option<u64>,
    bytes: u64,
    waited: Duration,
    waits_since: Option<Instant>,
}

impl TransferTimeout {
    pub(super) fn new(timeout: Duration, rate: Option<u64>) -> Self {
        Self { timeout, rate, bytes: 0, waited: Duration::ZERO, waits_since: None }
    }

    /// Records that this many bytes have moved, and that the wait has ended.
    pub(super) fn transferred(&mut self, bytes: u64) {
        self.bytes = self.bytes.saturating_add(bytes);
        if let Some(since) = self.waits_since.take() {
            self.waited += since.elapsed();
        }
    }

    /// The deadline for the next bytes: `timeout` after the start of this wait, or earlier if all waits together have
    /// been too long for the minimum rate.
    pub(super) fn deadline(&mut self) -> Instant {
        let since = *self.waits_since.get_or_insert_with(Instant::now);
        let Some(rate) = self.rate else { return since + self.timeout };
        let earned = Duration::from_millis(self.bytes.saturating_mul(1000) / rate.max(1));
        let left = (self.timeout + earned).saturating_sub(self.waited);
        since + left.min(self.timeout)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use bytes::Bytes;
    use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
    use http_body_util::{BodyExt as _, Channel, channel::Sender};
    use tokio::time::Instant;

    use super::super::trusted_proxies::TrustedProxies;
    use super::super::upload::Upload;
    use super::IncomingBody;
    use crate::body::BoxError;
    use crate::config::{ClientLimits, Listen, Size, Time, Underscores};

    type Content = Channel<Bytes, BoxError>;

    fn received() -> (Sender<Bytes, BoxError>, IncomingBody<Content>, Arc<Upload<Content>>) {
        received_at(&Listen::default())
    }

    fn received_at(
        listen: &Listen,
    ) -> (Sender<Bytes, BoxError>, IncomingBody<Content>, Arc<Upload<Content>>) {
        let limits = ClientLimits {
            body_timeout: Time::seconds(10),
            min_body_rate: Size(100),
            max_request_body: Some(Size(5_000)),
            ..ClientLimits::default()
        };
        let (sender, body) = Channel::new(1);
        let upload = Upload::new(false, limits.max_request_body.map(|size| size.0));
        let trusted_proxies = Arc::new(TrustedProxies::new(listen));
        (sender, IncomingBody::new(body, upload.clone(), &limits, &trusted_proxies), upload)
    }

    /// Sends this many pieces of this size, one per second.
    async fn drip(sender: &mut Sender<Bytes, BoxError>, pieces: usize, size: usize) {
        for _ in 0..pieces {
            tokio::time::sleep(Duration::from_secs(1)).await;
            if sender.send_data(vec![0; size].into()).await.is_err() {
                return;
            }
        }
        std::future::pending().await
    }

    #[tokio::test(start_paused = true)]
    async fn a_stalled_body_times_out() {
        let (mut sender, body, upload) = received();
        let start = Instant::now();
        tokio::select! {
            collected = body.collect() => assert!(collected.is_err()),
            () = drip(&mut sender, 3, 1000) => unreachable!("it is never done"),
        }
        assert_eq!((start.elapsed().as_secs(), upload.failure()), (13, Some(StatusCode::REQUEST_TIMEOUT)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_below_the_minimum_rate_times_out() {
        let (mut sender, body, upload) = received();
        let start = Instant::now();
        tokio::select! {
            collected = body.collect() => assert!(collected.is_err()),
            () = drip(&mut sender, 1000, 20) => unreachable!("it is given up"),
        }
        // Each second earns a fifth of one.
        assert_eq!((start.elapsed().as_secs(), upload.failure()), (12, Some(StatusCode::REQUEST_TIMEOUT)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_at_the_minimum_rate_may_take_any_time_until_it_is_too_large() {
        let (mut sender, body, upload) = received();
        let start = Instant::now();
        tokio::select! {
            collected = body.collect() => assert!(collected.is_err()),
            () = drip(&mut sender, 1000, 100) => unreachable!("it is given up"),
        }
        assert_eq!((start.elapsed().as_secs(), upload.failure()), (51, Some(StatusCode::PAYLOAD_TOO_LARGE)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_may_stall_once_its_request_is_answered() {
        let (mut sender, mut body, upload) = received();
        upload.answered();
        let later = async {
            tokio::time::sleep(Duration::from_secs(1000)).await;
            sender.send_data("late".into()).await.expect("the body is being read");
        };
        let (_, frame) = tokio::join!(later, body.frame());
        assert!(frame.expect("a frame").is_ok());
    }

    #[tokio::test]
    async fn fields_that_the_listener_drops_from_heads_are_dropped_from_trailers() {
        let fields = |underscores| Listen {
            client_fields: vec!["x-user".parse().unwrap()],
            underscores,
            ..Listen::default()
        };
        for (listen, expected) in [
            (Listen::default(), &["x-sum", "x-user", "x_user", "a_b"][..]),
            (fields(Underscores::Pass), &["x-sum", "a_b"]),
            (fields(Underscores::Drop), &["x-sum"]),
            (fields(Underscores::Reject), &["x-sum"]),
        ] {
            let (mut sender, body, _upload) = received_at(&listen);
            let mut trailers = HeaderMap::new();
            for name in ["x-sum", "x-user", "x_user", "x-real-ip", "a_b"] {
                trailers.insert(HeaderName::from_static(name), HeaderValue::from_static("1"));
            }
            sender.send_trailers(trailers).await.expect("the body is being read");
            drop(sender);
            let collected = body.collect().await.expect("a whole body");
            let passed: Vec<_> =
                collected.trailers().expect("trailers").keys().map(HeaderName::as_str).collect();
            assert_eq!(passed.len(), expected.len(), "{passed:?}");
            assert!(expected.iter().all(|name| passed.contains(name)), "{passed:?}");
        }
    }
}

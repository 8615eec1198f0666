//! Bodies that Envoy sends in pieces.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use thiserror::Error;
use tokio::sync::{mpsc, oneshot};

/// How many pieces are received ahead of the guests.
const PIECES: usize = 2;

/// Receives the pieces of a body from Envoy, and passes them on to [`ReceivedBody`].
pub(super) struct BodySender {
    pieces: mpsc::Sender<Piece>,
    end: Option<oneshot::Sender<Option<HeaderMap>>>,
}

/// The end of a body: `Some` with trailers, `None` without. The sender is dropped if the body is cut off.
pub(super) type End = oneshot::Receiver<Option<HeaderMap>>;

/// How a body is transferred from and to Envoy.
pub(super) enum BodyTransfer {
    /// In pieces, after the head.
    Streamed(End),
    /// Envoy sends no body. A body that guests write goes with the head.
    WithHead,
    /// Envoy doesn't send its body. The flag is set once the guests have finished with it.
    Kept(Arc<AtomicBool>),
    /// What follows the head isn't a body. Its pieces bypass the guests, whose own body is dropped.
    Tunnel(ReceivedBody, End),
    /// As `Tunnel`, but Envoy doesn't send the pieces.
    KeptTunnel,
}

enum Piece {
    Data(Bytes),
    End(Option<HeaderMap>),
}

/// Why a body can't be read to its end.
#[derive(Debug, Error)]
pub(super) enum BodyError {
    #[error("Envoy has ended the exchange")]
    Cut,
    #[error(
        "Envoy sends no bodies: its filter's `processing_mode` must have the body mode FULL_DUPLEX_STREAMED"
    )]
    Kept,
}

/// A body that arrives in pieces.
pub(super) struct ReceivedBody(State);

enum State {
    Receiving(mpsc::Receiver<Piece>),
    /// There is a body, but Envoy doesn't send it.
    Kept(Arc<AtomicBool>),
    Ended,
}

impl ReceivedBody {
    /// A body with the sender of its pieces.
    pub(super) fn channel() -> (BodySender, Self, End) {
        let (pieces, receiver) = mpsc::channel(PIECES);
        let (end, ended) = oneshot::channel();
        let sender = BodySender { pieces, end: Some(end) };
        (sender, Self(State::Receiving(receiver)), ended)
    }

    /// An empty body.
    pub(super) fn none() -> Self {
        Self(State::Ended)
    }

    /// A body that Envoy doesn't send. Reading it is an error.
    pub(super) fn kept() -> (Self, BodyTransfer) {
        let is_passed = Arc::new(AtomicBool::new(false));
        (Self(State::Kept(is_passed.clone())), BodyTransfer::Kept(is_passed))
    }
}

impl BodySender {
    /// Passes a piece on, once there is room for it. A piece that will never be read is dropped.
    pub(super) async fn data(&mut self, data: Bytes) {
        if !data.is_empty() {
            let _unread = self.pieces.send(Piece::Data(data)).await;
        }
    }

    /// Completes the body.
    pub(super) async fn end(&mut self, trailers: Option<HeaderMap>) {
        if let Some(end) = self.end.take() {
            let _unasked = end.send(trailers.clone());
            let _unread = self.pieces.send(Piece::End(trailers)).await;
        }
    }
}

impl Body for ReceivedBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let pieces = match &mut self.0 {
            State::Receiving(pieces) => pieces,
            State::Kept(is_passed) => {
                if !is_passed.load(Ordering::Relaxed) {
                    tracing::error!("a guest reads a body: {}", BodyError::Kept);
                }
                return Poll::Ready(Some(Err(BodyError::Kept)));
            }
            State::Ended => return Poll::Ready(None),
        };
        let frame = match std::task::ready!(pieces.poll_recv(cx)) {
            Some(Piece::Data(data)) => return Poll::Ready(Some(Ok(Frame::data(data)))),
            Some(Piece::End(trailers)) => trailers.map(|trailers| Ok(Frame::trailers(trailers))),
            None => Some(Err(BodyError::Cut)),
        };
        self.0 = State::Ended;
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.0, State::Ended)
    }

    fn size_hint(&self) -> SizeHint {
        if self.is_end_stream() { SizeHint::with_exact(0) } else { SizeHint::default() }
    }
}

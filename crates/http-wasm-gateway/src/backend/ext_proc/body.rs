//! Bodies that Envoy sends piece by piece.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use thiserror::Error;
use tokio::sync::{mpsc, oneshot};

/// Pieces that are received before the guests have read them.
const PIECES: usize = 2;

/// Where the pieces of one direction's body come in.
pub(super) struct BodySender {
    pieces: mpsc::Sender<Piece>,
    end: Option<oneshot::Sender<Option<HeaderMap>>>,
}

/// How a body ended: with trailers or without, or that it was cut off.
pub(super) type End = oneshot::Receiver<Option<HeaderMap>>;

/// How Envoy gets a body, and sends its own.
pub(super) enum BodyTransfer {
    /// Piece by piece, after the head.
    Pieces(End),
    /// With the head, if there is one at all. Envoy sends none.
    WithHead,
    /// Envoy keeps a body to itself. Set once guests are done with it.
    Kept(Arc<AtomicBool>),
    /// What follows the head isn't a body, and passes piece by piece whatever guests have written.
    Tunnel(Pieces, End),
    /// The same, but Envoy keeps it.
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

/// A body that comes in pieces.
pub(super) struct Pieces(State);

enum State {
    Coming(mpsc::Receiver<Piece>),
    /// There is one, but Envoy keeps it.
    Kept(Arc<AtomicBool>),
    Ended,
}

impl Pieces {
    /// A body, and where its pieces come in.
    pub(super) fn coming() -> (BodySender, Self, End) {
        let (sender, receiver) = mpsc::channel(PIECES);
        let (end, ended) = oneshot::channel();
        let inlet = BodySender { pieces: sender, end: Some(end) };
        (inlet, Self(State::Coming(receiver)), ended)
    }

    /// No body.
    pub(super) fn none() -> Self {
        Self(State::Ended)
    }

    /// A body that can't be read.
    pub(super) fn kept() -> (Self, BodyTransfer) {
        let is_passed = Arc::new(AtomicBool::new(false));
        (Self(State::Kept(is_passed.clone())), BodyTransfer::Kept(is_passed))
    }
}

impl BodySender {
    /// Takes in the next piece, once there is room for it. One that nobody will read is dropped.
    pub(super) async fn data(&mut self, data: Bytes) {
        if !data.is_empty() {
            let _unread = self.pieces.send(Piece::Data(data)).await;
        }
    }

    /// The body is complete.
    pub(super) async fn end(&mut self, trailers: Option<HeaderMap>) {
        if let Some(end) = self.end.take() {
            let _unasked = end.send(trailers.clone());
            let _unread = self.pieces.send(Piece::End(trailers)).await;
        }
    }
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let pieces = match &mut self.0 {
            State::Coming(pieces) => pieces,
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

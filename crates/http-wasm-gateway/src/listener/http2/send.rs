//! Sends a response's body to a client, limiting what is queued if the client doesn't read.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use futures_util::task::AtomicWaker;
use h2::SendStream;
use http_body::{Body, Frame};
use tokio::time::{Sleep, sleep_until};

use super::io::Traffic;
use crate::body::BoxError;
use crate::config::ClientLimits;
use crate::listener::body::TransferTimeout;

/// How many bytes are queued for a client before streams have to wait. Above this, a stream takes more of a response's
/// body only once everything that it had is written and its window is open.
const MAX_HELD: usize = 1024 * 1024;

/// How much is passed on at once. With more, the stream would use the connection's window at the expense of others.
const PIECE: usize = 16 * 1024;

/// The data queued for the client of one connection.
#[derive(Debug)]
pub(super) struct Held {
    /// The bytes of all streams.
    bytes: AtomicUsize,
    traffic: Arc<Traffic>,
}

impl Held {
    pub(super) fn new(traffic: Arc<Traffic>) -> Arc<Self> {
        Arc::new(Self { bytes: AtomicUsize::new(0), traffic })
    }
}

/// The part of one stream.
#[derive(Debug)]
struct StreamHeld {
    bytes: AtomicUsize,
    connection: Arc<Held>,
    waiting: AtomicWaker,
}

/// Bytes that count as queued until they are written or dropped.
#[derive(Debug)]
pub(super) struct Piece {
    bytes: Bytes,
    counted: usize,
    held: Option<Arc<StreamHeld>>,
}

impl Piece {
    fn new(bytes: Bytes, held: &Arc<StreamHeld>) -> Self {
        let counted = bytes.len();
        held.bytes.fetch_add(counted, Ordering::AcqRel);
        held.connection.bytes.fetch_add(counted, Ordering::AcqRel);
        Self { bytes, counted, held: Some(held.clone()) }
    }

    fn empty() -> Self {
        Self { bytes: Bytes::new(), counted: 0, held: None }
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        if let Some(held) = &self.held {
            held.connection.bytes.fetch_sub(self.counted, Ordering::AcqRel);
            if held.bytes.fetch_sub(self.counted, Ordering::AcqRel) == self.counted {
                held.waiting.wake();
            }
        }
    }
}

impl Buf for Piece {
    fn remaining(&self) -> usize {
        self.bytes.len()
    }

    fn chunk(&self) -> &[u8] {
        &self.bytes
    }

    fn advance(&mut self, count: usize) {
        self.bytes.advance(count);
    }
}

/// How a response ended.
#[derive(Debug)]
pub(super) enum Ended {
    Complete(SendStream<Piece>),
    /// The client reset the stream, or has disconnected.
    Reset,
    /// The body ended prematurely.
    Broken(BoxError),
    /// The client has taken too long.
    Slow,
}

/// Sends a body to its end. If there is none, the caller must reset the stream.
pub(super) async fn send<B>(
    body: B,
    mut stream: SendStream<Piece>,
    held: &Arc<Held>,
    limits: &ClientLimits,
) -> Ended
where
    B: Body<Data = Bytes, Error = BoxError>,
{
    let mut body = pin!(body);
    let held = Arc::new(StreamHeld {
        bytes: AtomicUsize::new(0),
        connection: held.clone(),
        waiting: AtomicWaker::new(),
    });
    let mut transfer =
        TransferTimeout::new(limits.body_timeout.0, limits.min_response_rate.map(|rate| rate.0));
    let mut timer = None;
    loop {
        let frame = poll_fn(|cx| {
            if stream.poll_reset(cx).is_ready() {
                return Poll::Ready(Err(Ended::Reset));
            }
            if ready!(poll_room(&mut stream, &held, &mut transfer, &mut timer, cx)).is_err() {
                return Poll::Ready(Err(Ended::Slow));
            }
            body.as_mut().poll_frame(cx).map(Ok)
        });
        let frame = match frame.await {
            Err(ended) => return ended,
            Ok(None) => {
                return complete(stream.send_data(Piece::empty(), true), stream);
            }
            Ok(Some(Err(error))) => return Ended::Broken(error),
            Ok(Some(Ok(frame))) => frame,
        };
        let mut data = match frame.into_data() {
            Ok(data) => Piece::new(data, &held),
            Err(frame) => {
                if let Ok(trailers) = Frame::into_trailers(frame) {
                    stream.reserve_capacity(0);
                    return complete(stream.send_trailers(trailers), stream);
                }
                continue;
            }
        };
        let ends = body.is_end_stream();
        while !data.bytes.is_empty() {
            let room = match capacity(&mut stream, data.bytes.len(), &mut transfer, &mut timer).await {
                Ok(room) => room,
                Err(ended) => return ended,
            };
            let piece = data.bytes.split_to(room.min(data.bytes.len()).min(PIECE));
            let last = ends && data.bytes.is_empty();
            held.connection.traffic.sends(piece.len());
            data.counted -= piece.len();
            let moved = Piece { counted: piece.len(), bytes: piece, held: data.held.clone() };
            if stream.send_data(moved, last).is_err() {
                return Ended::Reset;
            }
            if last {
                return Ended::Complete(stream);
            }
        }
        if ends {
            return complete(stream.send_data(Piece::empty(), true), stream);
        }
    }
}

fn complete(sent: Result<(), h2::Error>, stream: SendStream<Piece>) -> Ended {
    if sent.is_ok() { Ended::Complete(stream) } else { Ended::Reset }
}

/// Ready when more of the body can be taken.
fn poll_room(
    stream: &mut SendStream<Piece>,
    held: &StreamHeld,
    transfer: &mut TransferTimeout,
    timer: &mut Option<Pin<Box<Sleep>>>,
    cx: &mut Context<'_>,
) -> Poll<Result<(), Slow>> {
    if held.connection.bytes.load(Ordering::Acquire) < MAX_HELD {
        transfer.transferred(0);
        return Poll::Ready(Ok(()));
    }
    held.waiting.register(cx.waker());
    if held.bytes.load(Ordering::Acquire) == 0 {
        if stream.capacity() > 0 {
            transfer.transferred(0);
            return Poll::Ready(Ok(()));
        }
        stream.reserve_capacity(1);
        match stream.poll_capacity(cx) {
            Poll::Ready(Some(Ok(0))) | Poll::Pending => {}
            // A problem with the stream is reported when something is sent.
            Poll::Ready(_) => return Poll::Ready(Ok(())),
        }
    }
    poll_slow(transfer, timer, cx).map(Err)
}

/// How much of this many bytes may be sent now.
async fn capacity(
    stream: &mut SendStream<Piece>,
    wanted: usize,
    transfer: &mut TransferTimeout,
    timer: &mut Option<Pin<Box<Sleep>>>,
) -> Result<usize, Ended> {
    stream.reserve_capacity(wanted.min(PIECE));
    let room = poll_fn(|cx| {
        if stream.capacity() > 0 {
            return Poll::Ready(Ok(stream.capacity()));
        }
        if stream.poll_reset(cx).is_ready() {
            return Poll::Ready(Err(Ended::Reset));
        }
        loop {
            match stream.poll_capacity(cx) {
                Poll::Ready(Some(Ok(0))) => {}
                Poll::Ready(Some(Ok(room))) => return Poll::Ready(Ok(room)),
                Poll::Ready(_) => return Poll::Ready(Err(Ended::Reset)),
                Poll::Pending => break,
            }
        }
        poll_slow(transfer, timer, cx).map(|Slow| Err(Ended::Slow))
    });
    let room = room.await?;
    transfer.transferred(room.min(wanted).min(PIECE) as u64);
    Ok(room)
}

/// The client has taken too long.
struct Slow;

fn poll_slow(
    transfer: &mut TransferTimeout,
    timer: &mut Option<Pin<Box<Sleep>>>,
    cx: &mut Context<'_>,
) -> Poll<Slow> {
    let deadline = transfer.deadline();
    let timer = timer.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
    if timer.deadline() != deadline {
        timer.as_mut().reset(deadline);
    }
    timer.as_mut().poll(cx).map(|()| Slow)
}

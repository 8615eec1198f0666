//! Response bodies.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::Response;
use http_body::{Body, Frame, SizeHint};
use tokio::sync::mpsc;

use super::busy::Busy;
use crate::body::BoxError;
use crate::proxy::pool::connections::http1::{Failure, Tunnel};

/// A response body. It holds its connection until the body ends.
#[derive(Debug)]
pub(in crate::proxy) struct ResponseBody {
    driver: Driver,
    /// How many bytes are left, if known.
    left: Option<u64>,
}

#[derive(Debug)]
enum Driver {
    /// The reader of the body drives the connection.
    Connection(Busy),
    /// A task drives the connection, because the rest of the request must be sent even if the response isn't read.
    Task(mpsc::Receiver<Result<Frame<Bytes>, Failure>>),
    /// All of the body arrived together with the head.
    Whole(Bytes),
    Ended,
}

impl ResponseBody {
    /// The response whose head has been received on this connection.
    pub(super) fn of(response: Response<()>, mut busy: Busy) -> Response<Self> {
        let connection = &mut busy.connection;
        let left = connection.left();
        let driver = if connection.has_response() {
            busy.release();
            Driver::Ended
        } else if let Some(whole) = connection.take_whole_body() {
            busy.release();
            Driver::Whole(whole)
        } else if connection.has_sent() || connection.has_switched() {
            Driver::Connection(busy)
        } else {
            // A frame, and room to see the end after it: only then is it noticed that the upstream closes.
            let (to, frames) = mpsc::channel(2);
            tokio::spawn(busy.pump(to));
            Driver::Task(frames)
        };
        response.map(|()| Self { driver, left })
    }

    /// Returns the connection, if it has switched to another protocol.
    pub(in crate::proxy) fn into_tunnel(self) -> Option<Tunnel> {
        match self.driver {
            Driver::Connection(busy) if busy.connection.has_switched() => Some(busy.connection.into_tunnel()),
            _ => None,
        }
    }

    /// Returns the body, if all of it has arrived.
    pub(in crate::proxy) fn into_whole(self) -> Result<Bytes, Self> {
        match self.driver {
            Driver::Whole(whole) => Ok(whole),
            driver => Err(Self { driver, ..self }),
        }
    }

    fn end(&mut self) {
        if let Driver::Connection(busy) = std::mem::replace(&mut self.driver, Driver::Ended) {
            busy.release();
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        let (frame, ended) = match &mut this.driver {
            Driver::Connection(busy) => {
                let frame = ready!(busy.connection.poll_frame(cx));
                (frame, busy.connection.has_response())
            }
            Driver::Task(frames) => {
                let frame = ready!(frames.poll_recv(cx));
                let data = frame.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref());
                this.left = this.left.map(|left| left - data.map_or(0, |data| data.len() as u64).min(left));
                (frame, this.left == Some(0))
            }
            Driver::Whole(whole) => {
                let frame = Frame::data(std::mem::take(whole));
                this.driver = Driver::Ended;
                return Poll::Ready(Some(Ok(frame)));
            }
            Driver::Ended => return Poll::Ready(None),
        };
        match frame {
            None => this.end(),
            Some(Ok(_)) if ended => this.end(),
            Some(Err(_)) => this.driver = Driver::Ended,
            Some(Ok(_)) => {}
        }
        Poll::Ready(frame.map(|frame| frame.map_err(Failure::into_source)))
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.driver, Driver::Ended)
    }

    fn size_hint(&self) -> SizeHint {
        let left = match &self.driver {
            Driver::Connection(busy) => busy.connection.left(),
            Driver::Task(_) | Driver::Whole(_) => self.left,
            Driver::Ended => Some(0),
        };
        left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

impl Failure {
    fn into_source(self) -> BoxError {
        match self {
            Self::RequestBody(error) => error,
            Self::Response(error) => error.into(),
            Self::Io(error) | Self::Unsent(error) => error.into(),
            Self::Closed => "the connection was closed".into(),
        }
    }
}

impl Busy {
    /// Sends the rest of the request, and passes on the response's body on demand. Ends early if the body is no longer
    /// wanted.
    async fn pump(mut self, to: mpsc::Sender<Result<Frame<Bytes>, Failure>>) {
        loop {
            let room = tokio::select! {
                room = to.reserve() => room,
                sent = poll_fn(|cx| self.connection.poll_send(cx)), if !self.connection.has_sent() => match sent {
                    Ok(()) => continue,
                    Err(failure) => {
                        let _ = to.send(Err(failure)).await;
                        return;
                    }
                },
            };
            let Ok(room) = room else { return };
            let frame = tokio::select! {
                frame = poll_fn(|cx| self.connection.poll_frame(cx)) => frame,
                () = to.closed() => return,
            };
            match frame {
                Some(Ok(frame)) => room.send(Ok(frame)),
                Some(Err(failure)) => return room.send(Err(failure)),
                None => break,
            }
            if self.connection.has_response() {
                break;
            }
        }
        drop(to);
        self.release();
    }
}

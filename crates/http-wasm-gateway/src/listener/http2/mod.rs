//! HTTP/2 connections, on top of the `h2` crate.
//!
//! hyper's server hides what is needed here: interim responses, resets of individual streams, and the data queued for a
//! client that doesn't read.

mod body;
mod control;
mod io;
mod keep_alive;
mod preface;
mod send;
mod stream;
mod streams;
mod unread;

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::BytesMut;
use h2::Reason;
use h2::server::{Builder, Handshake};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Sleep, sleep};

use self::io::{FrameIo, Traffic};
use self::keep_alive::KeepAlive;
pub(super) use self::preface::PREFACE;
use self::send::{Held, Piece};
use self::streams::Streams;
use self::unread::Unread;
use super::request::Requests;
use crate::body::BoxError;
use crate::config::ClientLimits;
use crate::exchange::{Answer, aborted};
use crate::turns::Turn;

/// Streams that were reset because the client broke the rules. With more of them, the connection is closed
/// (CVE-2025-8671).
const MAX_ERROR_RESETS: usize = 100;

/// Streams that may be reset before they are accepted: more than [`FrameIo`] lets through.
const MAX_RESET_UNACCEPTED: usize = 1024;

/// How much of one response is buffered.
const MAX_SEND_BUFFER: usize = 64 * 1024;

/// How long a client may take to read that it was disconnected.
const ABORT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a client may take to acknowledge the end of the connection, before it is sent the last stream that gets a
/// response.
const DRAIN_ACK_TIMEOUT: Duration = Duration::from_secs(3);

/// One connection.
pub(super) struct Connection<S, A>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    state: State<S>,
    requests: Arc<Requests<A>>,
    traffic: Arc<Traffic>,
    held: Arc<Held>,
    unread: Arc<Unread>,
    streams: Arc<Streams>,
    turn: Turn,
    keep_alive: KeepAlive,
    closing: bool,
    /// The deadline for that acknowledgement.
    ack: Option<Pin<Box<Sleep>>>,
    /// Completes when everything that is still running is to be aborted. Only set once the connection is to end.
    abort: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    /// The deadline for telling the client that it was disconnected.
    abort_timer: Option<Pin<Box<Sleep>>>,
}

enum State<S>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    Handshake(Box<Handshake<FrameIo<S>, Piece>>),
    Serving(Box<h2::server::Connection<FrameIo<S>, Piece>>),
}

impl<S, A> Connection<S, A>
where
    S: AsyncRead + AsyncWrite + Unpin,
    A: Answer,
{
    /// Serves `io`, starting with what has already been read of it.
    pub(super) fn new(
        io: S,
        early: BytesMut,
        permit: OwnedSemaphorePermit,
        requests: Arc<Requests<A>>,
    ) -> Self {
        let traffic = Traffic::new();
        let unread = Unread::new(requests.answer.unread_budget().clone());
        let io = FrameIo::new(io, early, traffic.clone(), unread.clone(), requests.flushes.clone(), permit);
        Self {
            state: State::Handshake(Box::new(builder(&requests.limits).handshake(io))),
            held: Held::new(traffic.clone()),
            unread,
            streams: Streams::new(requests.answer.turn_queue().clone()),
            turn: Turn::default(),
            keep_alive: KeepAlive::new(),
            requests,
            traffic,
            closing: false,
            ack: None,
            abort: None,
            abort_timer: None,
        }
    }

    /// Asks the client to send no more requests: sends GOAWAY with the highest stream ID and a PING and, once the
    /// client has acknowledged that, GOAWAY with the last stream that gets a response.
    pub(super) fn graceful_shutdown(mut self: Pin<&mut Self>) {
        let this = &mut *self;
        this.closing = true;
        this.ack = Some(Box::pin(sleep(DRAIN_ACK_TIMEOUT)));
        let mut abort = this.requests.abort.clone();
        this.abort = Some(Box::pin(async move { aborted(&mut abort).await }));
        if let State::Serving(connection) = &mut this.state {
            connection.graceful_shutdown();
        }
    }
}

impl<S, A> Future for Connection<S, A>
where
    S: AsyncRead + AsyncWrite + Unpin,
    A: Answer,
{
    type Output = Result<(), BoxError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let (streams, mut turn) = (self.streams.clone(), std::mem::take(&mut self.turn));
        let polled = streams.poll(&mut turn, cx, |cx| self.poll_now(cx));
        self.turn = turn;
        polled
    }
}

impl<S, A> Connection<S, A>
where
    S: AsyncRead + AsyncWrite + Unpin,
    A: Answer,
{
    fn poll_now(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        let this = self;
        loop {
            let connection = match &mut this.state {
                State::Handshake(handshake) => {
                    let mut connection = ready!(Pin::new(&mut **handshake).poll(cx))?;
                    this.keep_alive.pings(connection.ping_pong());
                    if this.closing {
                        connection.graceful_shutdown();
                    }
                    this.state = State::Serving(Box::new(connection));
                    continue;
                }
                State::Serving(connection) => connection,
            };
            if let Some(ack) = &mut this.ack
                && ack.as_mut().poll(cx).is_ready()
            {
                this.ack = None;
                this.traffic.end();
            }
            if let Some(abort) = &mut this.abort
                && abort.as_mut().poll(cx).is_ready()
            {
                // The connection ends once the streams have been reset.
                (this.abort, this.ack) = (None, None);
                this.streams.abort();
                this.traffic.end();
            }
            match connection.poll_accept(cx) {
                Poll::Ready(Some(request)) => {
                    let (request, mut respond) = request?;
                    let (held, max) = (this.requests.activity.held(), this.requests.limits.max_http2_streams);
                    // Streams that the client has reset still count until guests no longer compute for them.
                    let are_full = held > 0 && held + this.streams.open() >= max.get() as usize;
                    if are_full || this.streams.is_aborted() {
                        respond.send_reset(Reason::REFUSED_STREAM);
                        continue;
                    }
                    this.traffic.accepted();
                    let unread = match request.body().is_end_stream() {
                        true => None,
                        false => Some(this.unread.accept(request.body().stream_id().as_u32())),
                    };
                    let (requests, held) = (this.requests.clone(), this.held.clone());
                    let streams = this.streams.clone();
                    let served = async move {
                        tokio::select! {
                            biased;
                            () = stream::serve(request, respond, requests, held, unread) => {}
                            // This resets the stream.
                            () = streams.aborted() => {}
                        }
                    };
                    tokio::spawn(this.streams.run(served));
                }
                Poll::Ready(None) => return Poll::Ready(Ok(())),
                Poll::Pending if this.traffic.resume() => {}
                Poll::Pending => match &mut this.abort_timer {
                    None if this.traffic.cut_off().is_some() => {
                        connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
                        this.abort_timer = Some(Box::pin(sleep(ABORT_TIMEOUT)));
                    }
                    None => {
                        ready!(this.keep_alive.poll_dead(&this.traffic, cx));
                        return Poll::Ready(Err("the client doesn't respond".into()));
                    }
                    Some(timer) => {
                        ready!(timer.as_mut().poll(cx));
                        return Poll::Ready(Err(this.traffic.cut_off().unwrap_or("cut off").into()));
                    }
                },
            }
        }
    }
}

fn builder(limits: &ClientLimits) -> Builder {
    let (window, connection_window) = limits.http2_windows();
    let mut builder = Builder::new();
    builder
        .initial_window_size(window)
        // With less, streams whose content isn't read would stall the others.
        .initial_connection_window_size(connection_window)
        .max_concurrent_streams(limits.max_http2_streams.get())
        // Up to the announced limit, `h2` doesn't respond by itself, so that the request can be logged.
        .max_header_list_size(u32::try_from(limits.max_header_size.0).unwrap_or(u32::MAX).saturating_mul(2))
        // Reading pauses until streams are accepted, and resets count as control frames (CVE-2023-44487).
        .max_pending_accept_reset_streams(MAX_RESET_UNACCEPTED)
        .max_local_error_reset_streams(Some(MAX_ERROR_RESETS))
        .max_send_buffer_size(MAX_SEND_BUFFER);
    builder
}

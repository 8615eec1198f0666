//! A connection, and the request that it carries.

use std::io;
use std::mem::MaybeUninit;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{Method, Request, Response, StatusCode, Version};
use http_body::Frame;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};
use tokio::sync::oneshot;

use super::body::{RequestBody, Sender, Wants, arriving};
use super::half_close::HalfClose;
use super::head::{self, Head, Length};
use super::output::{self, Answered, write_interim, write_status};
use super::signals::Signals;
use crate::body::BoxError;
use crate::exchange::{Interims, Upgraded, refusal_text};
use crate::http1::{ChunkPart, Chunks, HeadScan, MessageWriter, Padding, Switched, WriteError};
use crate::listener::check::Refusal;
use crate::listener::date;
use crate::listener::linger::Linger;
use crate::listener::request::{Requests, Sending};

/// How much is read from the connection at once. While a request is processed, no more is held of the next ones.
const READ_BYTES: usize = 16 * 1024;

/// How much of the request line is kept for the access log if the head is rejected.
const MAX_LINE: usize = 1024;

/// How long a client may continue to send data that is discarded, and how long it may pause.
const LINGER: Duration = Duration::from_secs(30);
const LINGER_PAUSE: Duration = Duration::from_secs(5);

/// A connection, with the requests that it shares with the rest of the listener.
#[derive(Debug)]
pub(super) struct Connection<'a, S, A> {
    io: S,
    /// Data that has been received but not consumed.
    input: BytesMut,
    search: HeadScan,
    request: Answered,
    /// The request's body, while it arrives.
    receiving: Option<Receiving>,
    /// Whether the rest of the body won't be read, because it isn't wanted or is malformed, or the client has closed.
    unread: bool,
    output: MessageWriter<Sending<RequestBody>>,
    /// Whether the connection can continue after the current request.
    keep_alive: bool,
    /// Whether the client has closed its direction.
    ended: bool,
    half_close: HalfClose,
    linger: Option<Linger>,
    requests: &'a Requests<A>,
    signals: &'a Signals,
}

/// What follows on a connection.
#[derive(Debug)]
pub(super) enum Next {
    /// A complete head.
    Head(Bytes),
    /// A head that was rejected, with its first line.
    Refused(Bytes, Refusal),
    /// The connection has ended, or is to end.
    End,
}

/// A request that has been started.
#[derive(Debug)]
pub(super) struct Begun {
    pub(super) request: Request<RequestBody>,
    /// Passes on the connection, if the request is for an upgrade and the connection switches.
    pub(super) upgrade: Option<oneshot::Sender<Upgraded>>,
    pub(super) upgraded: Option<oneshot::Receiver<Upgraded>>,
}

/// A body that arrives.
#[derive(Debug)]
struct Receiving {
    sender: Sender,
    rest: Rest,
    /// Whether the client waits for `100 Continue`.
    expects_continue: bool,
}

#[derive(Debug)]
enum Rest {
    /// This many bytes are left.
    Length(u64),
    Chunked(Chunks),
}

impl<'a, S, A> Connection<'a, S, A> {
    pub(super) fn new(io: S, early: BytesMut, requests: &'a Requests<A>, signals: &'a Signals) -> Self {
        Self {
            io,
            input: early,
            search: HeadScan::default(),
            request: Answered { method: Method::GET, version: Version::HTTP_11 },
            receiving: None,
            unread: false,
            output: MessageWriter::default(),
            keep_alive: true,
            ended: false,
            half_close: HalfClose::new(requests.limits.half_close_timeout.0),
            linger: None,
            requests,
            signals,
        }
    }

    /// Starts a request.
    pub(super) fn begin(&mut self, head: Head) -> Begun {
        let Head { request, length, keep_alive, upgrades, expects_continue } = head;
        self.signals.set_partial_head(false);
        self.output.buffer.begin();
        self.keep_alive = keep_alive;
        self.request = Answered { method: request.method().clone(), version: request.version() };
        let mut receive = |length, rest| {
            let (sender, body) = arriving(length);
            self.receiving = Some(Receiving { sender, rest, expects_continue });
            body
        };
        let body = match length {
            Length::Known(length) if length <= self.input.len() as u64 => {
                RequestBody::Whole(self.input.split_to(length as usize).freeze())
            }
            Length::Known(length) => receive(Some(length), Rest::Length(length)),
            Length::Chunked => {
                let max = self.requests.limits.max_header_size.bytes();
                receive(None, Rest::Chunked(Chunks::new(Padding::Refused, max, usize::MAX)))
            }
        };
        let (upgrade, upgraded) = upgrades.then(oneshot::channel).unzip();
        Begun { request: request.map(|()| body), upgrade, upgraded }
    }

    /// Whether a response with this status makes the connection switch to another protocol.
    pub(super) fn switches(&self, status: StatusCode) -> bool {
        status == StatusCode::SWITCHING_PROTOCOLS
            || self.request.method == Method::CONNECT && status.is_success()
    }

    /// Starts the response.
    pub(super) fn respond(&mut self, response: Response<Sending<RequestBody>>) {
        if let Some(receiving) = &mut self.receiving {
            receiving.expects_continue = false;
        }
        let keep_alive = self.keep_alive && !self.signals.is_closing() && !self.unread;
        let switches = self.switches(response.status());
        self.keep_alive = output::begin(&mut self.output, response, &self.request, keep_alive || switches);
    }

    /// Whether the connection continues after the current request.
    pub(super) fn continues(&self) -> bool {
        self.keep_alive && !self.unread
    }

    /// The connection after a switch to another protocol.
    pub(super) fn into_switched(self) -> Switched<S> {
        Switched::new(self.io, self.input.freeze())
    }

    /// Rejects the head of a request with this method.
    pub(super) fn refuse(&mut self, method: &Method, status: StatusCode) {
        self.unread = true;
        let text = refusal_text(status);
        let bytes = self.output.buffer.begin();
        write_status(bytes, Version::HTTP_11, status);
        for part in [b"date: ", date::now().as_bytes(), b"\r\n"] {
            bytes.extend_from_slice(part);
        }
        let fields = "content-type: text/plain; charset=utf-8\r\nconnection: close\r\ncontent-length";
        bytes.extend_from_slice(format!("{fields}: {}\r\n\r\n", text.len()).as_bytes());
        if *method != Method::HEAD {
            bytes.extend_from_slice(text.as_bytes());
        }
    }
}

impl<S, A> Connection<'_, S, A>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    /// Reads the next head.
    pub(super) fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<Next, BoxError>> {
        let max = self.requests.limits.max_header_size.bytes();
        loop {
            match head::take(&mut self.search, &mut self.input, max) {
                Ok(Some(head)) => return Poll::Ready(Ok(Next::Head(head))),
                Ok(None) => {}
                Err(refusal) => return Poll::Ready(Ok(Next::Refused(first_line(&self.input), refusal))),
            }
            let partial = !self.input.is_empty();
            if partial {
                self.requests.activity.head_begins();
                self.signals.set_partial_head(true);
            }
            if self.signals.has_timed_out() {
                return Poll::Ready(Ok(Next::Refused(first_line(&self.input), TIMED_OUT)));
            }
            let read = match self.poll_read(READ_BYTES, cx)? {
                Poll::Ready(read) => read,
                Poll::Pending if self.signals.is_closing() => return Poll::Ready(Ok(Next::End)),
                Poll::Pending => return Poll::Pending,
            };
            if read == 0 {
                return Poll::Ready(match partial {
                    true => Err("closed within a request head".into()),
                    false => Ok(Next::End),
                });
            }
        }
    }

    /// Polls the handler, and does what it needs meanwhile. Fails if the client has gone away.
    pub(super) fn poll_answer(
        &mut self,
        mut answer: Pin<&mut impl Future<Output = Response<Sending<RequestBody>>>>,
        interims: &Interims,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Response<Sending<RequestBody>>, BoxError>> {
        loop {
            let answered = answer.as_mut().poll(cx);
            while interims.has_next()
                && let Some(interim) = interims.next()
            {
                write_interim(self.output.buffer.bytes(), &interim);
            }
            if let Poll::Ready(response) = answered {
                return Poll::Ready(Ok(response));
            }
            self.write_now(cx)?;
            ready!(self.poll_request(cx))?;
        }
    }

    /// Writes the response, and continues to pass on the request's body.
    pub(super) fn poll_respond(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        loop {
            let flushed = || self.requests.flushes.completed();
            if let Poll::Ready(result) = self.output.poll(&mut self.io, flushed, cx) {
                return Poll::Ready(result.map_err(WriteError::into_inner));
            }
            ready!(self.poll_request(cx))?;
        }
    }

    /// Passes on the rest of the request's body after the response.
    pub(super) fn poll_rest(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        while self.receiving.is_some() {
            ready!(self.poll_request(cx))?;
        }
        self.output.buffer.release();
        Poll::Ready(Ok(()))
    }

    /// Closes the connection, and lets the client finish sending.
    pub(super) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.linger.is_none() {
            ready!(self.output.buffer.poll(&mut self.io, cx))?;
            ready!(Pin::new(&mut self.io).poll_shutdown(cx))?;
            let may_send = self.unread || !self.input.is_empty() || self.has_more(cx);
            if self.ended || !may_send {
                return Poll::Ready(Ok(()));
            }
        }
        let linger = self.linger.get_or_insert_with(|| Linger::new(LINGER, LINGER_PAUSE));
        linger.poll(&mut self.io, &mut self.input, cx).map(Ok)
    }

    /// Whether the client has sent something that hasn't been read.
    fn has_more(&mut self, cx: &mut Context<'_>) -> bool {
        matches!(self.poll_read(READ_BYTES, cx), Poll::Ready(Ok(1..)))
    }

    /// Ready when a handler may have received more of the request's body. Otherwise, waits until it wants more, or, if
    /// the request is complete, for the client to go away, which is an error.
    fn poll_request(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        if self.unread {
            return Poll::Pending;
        }
        let Some(receiving) = &mut self.receiving else { return self.poll_gone(cx).map(Err) };
        if ready!(receiving.sender.poll_wants(cx)) == Wants::Nothing {
            (self.receiving, self.unread) = (None, true);
            return Poll::Ready(Ok(()));
        }
        // A client that has sent some of the body doesn't wait.
        if std::mem::take(&mut receiving.expects_continue) && self.input.is_empty() {
            self.output.buffer.bytes().extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
            self.write_now(cx)?;
        }
        self.poll_body(cx).map(Ok)
    }

    /// Receives more of the request's body.
    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while let Some(receiving) = &mut self.receiving {
            let failure: BoxError = match receiving.pass_on(&mut self.input, cx) {
                Ok(Passed::More) => return Poll::Ready(()),
                Ok(Passed::Last) => {
                    self.receiving = None;
                    return Poll::Ready(());
                }
                Ok(Passed::Nothing) => {
                    let wanted = receiving.rest.wanted();
                    match ready!(self.poll_read(wanted, cx)) {
                        Ok(0) => "closed before the end of the body".into(),
                        Ok(_) => continue,
                        Err(error) => error.into(),
                    }
                }
                Err(reason) => {
                    tracing::debug!(reason, "request body refused");
                    reason.into()
                }
            };
            if let Some(receiving) = self.receiving.take() {
                receiving.sender.fail(failure);
            }
            self.unread = true;
        }
        Poll::Ready(())
    }

    /// Ready when the client has closed the connection, and has had time to receive the response.
    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<BoxError> {
        while !self.ended {
            if self.input.len() >= READ_BYTES {
                return Poll::Pending;
            }
            if let Err(error) = ready!(self.poll_read(READ_BYTES, cx)) {
                return Poll::Ready(error.into());
            }
        }
        self.half_close.poll_expired(cx).map(|()| "the client has closed the connection".into())
    }

    /// Writes what is in the buffer, as far as the connection accepts it.
    fn write_now(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if !self.output.buffer.is_flushed()
            && let Poll::Ready(Err(error)) = self.output.buffer.poll(&mut self.io, cx)
        {
            return Err(error);
        }
        Ok(())
    }

    /// Reads about this much. Returns 0 at the end.
    fn poll_read(&mut self, wanted: usize, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.ended {
            return Poll::Ready(Ok(0));
        }
        let read = if self.input.is_empty() && self.receiving.is_none() {
            // A connection that waits for a request holds no buffer, and shares none with the previous request.
            self.input = BytesMut::new();
            let mut bytes = [MaybeUninit::uninit(); READ_BYTES];
            let mut read = ReadBuf::uninit(&mut bytes);
            ready!(Pin::new(&mut self.io).poll_read(cx, &mut read))?;
            self.input = BytesMut::from(read.filled());
            self.input.len()
        } else {
            self.input.reserve(wanted);
            ready!(pin!(self.io.read_buf(&mut self.input)).poll(cx))?
        };
        self.ended = read == 0;
        Poll::Ready(Ok(read))
    }
}

/// What was passed on of a body.
enum Passed {
    Nothing,
    More,
    /// The last part.
    Last,
}

impl Receiving {
    /// Passes on the next part of the body, if it is in `input`.
    fn pass_on(&mut self, input: &mut BytesMut, cx: &mut Context<'_>) -> Result<Passed, &'static str> {
        match &mut self.rest {
            Rest::Length(_) if input.is_empty() => Ok(Passed::Nothing),
            Rest::Length(left) => {
                let taken = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len());
                *left -= taken as u64;
                let last = *left == 0;
                self.sender.send(Frame::data(input.split_to(taken).freeze()), last, cx);
                Ok(if last { Passed::Last } else { Passed::More })
            }
            Rest::Chunked(chunks) => match chunks.take(input).map_err(|fault| fault.reason())? {
                None => Ok(Passed::Nothing),
                Some(ChunkPart::Data(data)) => {
                    self.sender.send(Frame::data(data), false, cx);
                    Ok(Passed::More)
                }
                Some(ChunkPart::Trailers(trailers)) => {
                    self.sender.send(Frame::trailers(trailers), true, cx);
                    Ok(Passed::Last)
                }
                Some(ChunkPart::End) => {
                    self.sender.end(cx);
                    Ok(Passed::Last)
                }
            },
        }
    }
}

impl Rest {
    /// How much to read at once.
    fn wanted(&self) -> usize {
        match self {
            Self::Length(left) => usize::try_from(*left).unwrap_or(READ_BYTES).min(READ_BYTES),
            Self::Chunked(_) => READ_BYTES,
        }
    }
}

const TIMED_OUT: Refusal = Refusal { status: StatusCode::REQUEST_TIMEOUT, reason: "the head took too long" };

/// The first line of a head, for the access log.
pub(super) fn first_line(head: &[u8]) -> Bytes {
    let line = &head[..head.len().min(MAX_LINE)];
    Bytes::copy_from_slice(memchr::memchr(b'\r', line).map_or(line, |end| &line[..end]))
}

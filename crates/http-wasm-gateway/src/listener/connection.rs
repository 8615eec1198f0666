//! One connection, from its first byte to its end.

use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::{Instant, timeout_at};

use super::activity::{Activity, Expired, Patience};
use super::framing::Framing;
use super::request::Requests;
use super::source::Sources;
use super::tls::{self, Tls};
use super::{Answer, Client};
use crate::body::BoxError;
use crate::config::{ClientLimits, ListenHttp, Time};

/// How clients of HTTP/2 begin (RFC 9113 section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// How long connections of HTTP/1.1 are kept for another request once the server was told to stop. Its answer says that it was the
/// last; to close without that would lose the requests that are coming in just then.
const LAST_CALL: Duration = Duration::from_secs(1);

/// How long a connection may take to say goodbye.
const GOODBYE: Duration = Duration::from_secs(5);

/// Streams that a client reset before anybody had begun with them; with more on one connection it is closed. Clients
/// change their minds, but not about everything at once (CVE-2023-44487).
const MAX_PENDING_RESETS: usize = 20;

/// Streams that were reset because the client broke the rules; with more on one connection it is closed (CVE-2025-8671).
const MAX_ERROR_RESETS: usize = 100;

/// What is buffered of one response; with hyper's 400 KiB all streams of one connection could hold 80 MiB.
const MAX_SEND_BUFFER: usize = 64 * 1024;

/// How long a connection of HTTP/2 is silent before the client is asked whether it is still there, and how long it then has to answer.
const PING: Duration = Duration::from_secs(20);

/// How long a client that is refused may take for anything.
const REFUSAL: Time = Time::seconds(5);

/// What all connections of a listener have in common.
#[derive(Debug)]
pub(super) struct Connections<A> {
    pub(super) answer: Arc<A>,
    pub(super) tls: Option<Tls>,
    pub(super) http: ListenHttp,
    pub(super) limits: Arc<ClientLimits>,
    pub(super) sources: Arc<Sources>,
    /// Whether the server is about to stop. Each connection has a receiver for as long as it lasts.
    pub(super) closing: watch::Receiver<bool>,
    /// Whether requests are answered with 503, whatever they ask for.
    pub(super) refuse: bool,
}

impl<A> Clone for Connections<A> {
    fn clone(&self) -> Self {
        Self {
            answer: self.answer.clone(),
            tls: self.tls.clone(),
            http: self.http,
            limits: self.limits.clone(),
            sources: self.sources.clone(),
            closing: self.closing.clone(),
            refuse: self.refuse,
        }
    }
}

impl<A: Answer> Connections<A> {
    /// The same for connections that are refused. They get no time to spare.
    pub(super) fn refusing(&self) -> Self {
        let limits = ClientLimits {
            header_timeout: self.limits.header_timeout.min(REFUSAL),
            idle_timeout: self.limits.idle_timeout.min(REFUSAL),
            body_timeout: self.limits.body_timeout.min(REFUSAL),
            ..(*self.limits).clone()
        };
        Self { limits: Arc::new(limits), refuse: true, ..self.clone() }
    }

    /// Serves a connection that was accepted at `accepted`.
    pub(super) async fn serve(
        mut self,
        mut stream: TcpStream,
        peer: SocketAddr,
        accepted: Instant,
        place: OwnedSemaphorePermit,
    ) -> Result<(), BoxError> {
        let mut closing = self.closing.clone();
        let limit = accepted + self.limits.header_timeout.0;
        let sources = self.sources.clone();
        let addr = tokio::select! {
            addr = timeout_at(limit, sources.of_connection(&mut stream, peer)) => addr??,
            () = last_call(&mut closing) => return Ok(()),
        };
        let Some(tls) = self.tls.take() else {
            return self.serve_http(stream, Client { addr, tls: false }, accepted, place).await;
        };
        let stream = tokio::select! {
            stream = timeout_at(limit, tls.acceptor.accept(stream)) => stream??,
            () = last_call(&mut closing) => return Ok(()),
        };
        drop(closing);
        if let Some(http) = tls::agreed(stream.get_ref().1.alpn_protocol()) {
            self.http = http;
        }
        self.serve_http(stream, Client { addr, tls: true }, accepted, place).await
    }

    async fn serve_http<S>(
        self,
        mut io: S,
        client: Client,
        accepted: Instant,
        place: OwnedSemaphorePermit,
    ) -> Result<(), BoxError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let mut closing = self.closing.clone();
        let mut read = BytesMut::new();
        let head = accepted + self.limits.header_timeout.0;
        let http2 = tokio::select! {
            http2 = timeout_at(head, self.speaks_http2(&mut io, &mut read)) => http2??,
            () = last_call(&mut closing) => return Ok(()),
        };
        let activity = Activity::new(accepted);
        let framing = match http2 {
            true => Framing::none(io, read, activity.clone(), place),
            false => Framing::new(io, read, activity.clone(), self.limits.max_header_size.bytes(), place),
        };
        let requests = Arc::new(Requests {
            answer: self.answer,
            client,
            limits: self.limits.clone(),
            sources: self.sources,
            activity: activity.clone(),
            upgrade: (!http2).then(|| framing.upgrade()),
            flushes: framing.flushes(),
            closing: self.closing,
            refuse: self.refuse,
        });
        let service = service_fn(move |request| requests.clone().respond(request));
        let io = TokioIo::new(framing);
        let life = Life { activity, limits: &self.limits };
        if http2 {
            let connection = http2_builder(&self.limits).serve_connection(io, service);
            let closing = closing.wait_for(|&closing| closing);
            life.of(connection, http2::Connection::graceful_shutdown, closing).await
        } else {
            let connection = http1_builder(&self.limits).serve_connection(io, service).with_upgrades();
            life.of(connection, http1::UpgradeableConnection::graceful_shutdown, last_call(&mut closing))
                .await
        }
    }

    /// Whether the client speaks HTTP/2. What is read to find out is left in `read`.
    async fn speaks_http2(
        &self,
        io: &mut (impl AsyncRead + Unpin),
        read: &mut BytesMut,
    ) -> Result<bool, BoxError> {
        match self.http {
            ListenHttp::Http1 => return Ok(false),
            ListenHttp::Http2 => return Ok(true),
            ListenHttp::Auto => {}
        }
        loop {
            let known = read.len().min(PREFACE.len());
            if read[..known] != PREFACE[..known] {
                return Ok(false);
            }
            if known == PREFACE.len() {
                return Ok(true);
            }
            if io.read_buf(read).await? == 0 {
                return Err("it ended before a request".into());
            }
        }
    }
}

/// Ends when the server has been about to stop for so long that no more requests are waited for.
async fn last_call(closing: &mut watch::Receiver<bool>) {
    // An error means that nobody is left who could say so.
    let _ = closing.wait_for(|&closing| closing).await;
    tokio::time::sleep(LAST_CALL).await;
}

/// How long a connection lasts.
struct Life<'a> {
    activity: Arc<Activity>,
    limits: &'a ClientLimits,
}

impl Life<'_> {
    /// Runs a connection until it ends, expires, or was told `goodbye` after `closing`.
    async fn of<C, E>(
        self,
        connection: C,
        goodbye: fn(Pin<&mut C>),
        closing: impl Future,
    ) -> Result<(), BoxError>
    where
        C: Future<Output = Result<(), E>>,
        E: Into<BoxError>,
    {
        let take = self.limits.body_timeout.0;
        let patience =
            Patience { head: self.limits.header_timeout.0, idle: self.limits.idle_timeout.0, take };
        let mut connection = pin!(connection);
        tokio::select! {
            result = connection.as_mut() => return result.map_err(Into::into),
            expired = self.activity.expired(patience) => match expired {
                Expired::Idle => {}
                Expired::Head => return Err("no request in time".into()),
                Expired::Take => return Err("the client does not take its response".into()),
            },
            _ = closing => {}
        }
        goodbye(connection.as_mut());
        self.activity.restart();
        tokio::select! {
            result = connection => result.map_err(Into::into),
            _ = self.activity.expired(Patience { head: GOODBYE, idle: GOODBYE, take }) => {
                Err("no goodbye in time".into())
            }
        }
    }
}

fn http1_builder(limits: &ClientLimits) -> http1::Builder {
    let max = limits.max_header_size.bytes();
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        // Heads come whole, and the time that they take is measured by who puts them together.
        .header_read_timeout(None)
        .max_headers(limits.max_headers.get() as usize)
        .max_header_size(max)
        // Less than 8 KiB is more than hyper can do.
        .max_buf_size(max.max(8 * 1024));
    builder
}

fn http2_builder(limits: &ClientLimits) -> http2::Builder<TokioExecutor> {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_header_list_size(u32::try_from(limits.max_header_size.0).unwrap_or(u32::MAX))
        .max_concurrent_streams(limits.max_http2_streams.get())
        .max_pending_accept_reset_streams(MAX_PENDING_RESETS)
        .max_local_error_reset_streams(MAX_ERROR_RESETS)
        .max_send_buf_size(MAX_SEND_BUFFER)
        .keep_alive_interval(PING)
        .keep_alive_timeout(PING);
    builder
}

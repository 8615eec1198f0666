//! One connection, from its first byte to its end.

use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use http::StatusCode;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::{Instant, timeout_at};

use super::activity::{Activity, Expired, Timeouts};
use super::flush::Flushes;
use super::framing::{Framing, StartLine};
use super::http2;
use super::refused::unparsed;
use super::request::Requests;
use super::seldom::Seldom;
use super::tls::{self, Tls};
use super::trusted_proxies::TrustedProxies;
use crate::body::BoxError;
use crate::config::{ClientLimits, ListenHttp, Time};
use crate::exchange::{Answer, Client, Inbound, Interims};

/// The first line of HTTP/2's preface. No HTTP/1.1 request starts with it.
const HTTP2_REQUEST_LINE: usize = b"PRI * HTTP/2.0\r\n".len();

/// How long HTTP/1.1 connections are kept for another request once the server is about to stop. The response to that
/// request announces the end of the connection. Otherwise, requests that are just arriving would be lost.
const DRAIN_GRACE: Duration = Duration::from_secs(1);

/// How long a connection may take to shut down.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);

/// The timeout of every step for a client that is rejected.
const REFUSAL: Time = Time::seconds(5);

/// The number of header fields that hyper accepts by default.
const HYPER_MAX_HEADERS: usize = 100;

/// What all connections of a listener share.
#[derive(Debug)]
pub(super) struct Connections<A> {
    pub(super) answer: Arc<A>,
    pub(super) tls: Option<Tls>,
    pub(super) http: ListenHttp,
    pub(super) limits: Arc<ClientLimits>,
    pub(super) trusted_proxies: Arc<TrustedProxies>,
    /// Whether the server is about to stop. Each connection holds a receiver while it exists.
    pub(super) closing: watch::Receiver<bool>,
    /// Whether everything that is still running is to be aborted. Tunnels observe this.
    pub(super) abort: watch::Receiver<bool>,
    /// Whether all requests get 503.
    pub(super) refuse: bool,
}

impl<A> Clone for Connections<A> {
    fn clone(&self) -> Self {
        Self {
            answer: self.answer.clone(),
            tls: self.tls.clone(),
            http: self.http,
            limits: self.limits.clone(),
            trusted_proxies: self.trusted_proxies.clone(),
            closing: self.closing.clone(),
            abort: self.abort.clone(),
            refuse: self.refuse,
        }
    }
}

impl<A: Answer> Connections<A> {
    /// The same for connections that are rejected, with short timeouts.
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
        permit: OwnedSemaphorePermit,
    ) -> Result<(), BoxError> {
        let mut closing = self.closing.clone();
        let limit = accepted + self.limits.header_timeout.0;
        let trusted_proxies = self.trusted_proxies.clone();
        let addr = tokio::select! {
            addr = timeout_at(limit, trusted_proxies.of_connection(&mut stream, peer)) => addr??,
            () = drain_grace(&mut closing) => return Ok(()),
        };
        let Some(tls) = self.tls.take() else {
            return self.serve_http(stream, Client { addr, tls: false }, accepted, permit).await;
        };
        let stream = tokio::select! {
            stream = timeout_at(limit, tls.acceptor.accept(stream)) => stream??,
            () = drain_grace(&mut closing) => return Ok(()),
        };
        drop(closing);
        if let Some(http) = tls::agreed(stream.get_ref().1.alpn_protocol()) {
            self.http = http;
        }
        // Boxed, so that the task of a connection without TLS is no larger.
        Box::pin(self.serve_http(stream, Client { addr, tls: true }, accepted, permit)).await
    }

    async fn serve_http<S>(
        self,
        mut io: S,
        client: Client,
        accepted: Instant,
        permit: OwnedSemaphorePermit,
    ) -> Result<(), BoxError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let mut closing = self.closing.clone();
        let mut read = BytesMut::new();
        let head = accepted + self.limits.header_timeout.0;
        let http2 = tokio::select! {
            http2 = timeout_at(head, self.speaks_http2(&mut io, &mut read)) => http2??,
            () = drain_grace(&mut closing) => return Ok(()),
        };
        let activity = Activity::new(accepted);
        let flushes = Arc::<Flushes>::default();
        let mut requests = Requests {
            answer: self.answer,
            client,
            client_address: client.address_value(),
            limits: self.limits.clone(),
            trusted_proxies: self.trusted_proxies,
            activity: activity.clone(),
            upgrade: None,
            flushes: flushes.clone(),
            closing: self.closing,
            abort: self.abort,
            refuse: self.refuse,
        };
        let mut lifetime = Lifetime { activity: activity.clone(), limits: &self.limits, start_line: None };
        if http2 {
            let connection = pin!(http2::Connection::new(io, read, permit, Arc::new(requests)));
            let closing = closing.wait_for(|&closing| closing);
            return lifetime.run(connection, http2::Connection::graceful_shutdown, closing).await;
        }
        let interims = Arc::<Interims>::default();
        let framing = Framing::new(io, read, activity, flushes, interims.clone(), &self.limits, permit);
        requests.upgrade = Some(framing.upgrade());
        let start_line = framing.start_line();
        let requests = Arc::new(requests);
        let answer = requests.answer.clone();
        let service = service_fn(move |request| requests.clone().respond(request, interims.clone()));
        let connection = http1_builder(&self.limits).serve_connection(TokioIo::new(framing), service);
        let connection = pin!(connection.with_upgrades());
        let shut_down = http1::UpgradeableConnection::graceful_shutdown;
        lifetime.start_line = Some(start_line.clone());
        let result = lifetime.run(connection, shut_down, drain_grace(&mut closing)).await;
        let refused = match start_line.has_timed_out() {
            true => Some(StatusCode::REQUEST_TIMEOUT),
            false => result.as_ref().err().and_then(|error| status_from_hyper(&**error)),
        };
        if let Some(status) = refused {
            answer.refused(Inbound::new(unparsed(&start_line.get()), client), status);
        }
        result
    }

    /// Whether the client uses HTTP/2. What is read to find out is left in `read`.
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
            let same = read.iter().zip(http2::PREFACE).take_while(|(read, known)| read == known).count();
            if same == http2::PREFACE.len() {
                return Ok(true);
            }
            if same < read.len() {
                // The code that reads it responds to an invalid preface.
                return Ok(same >= HTTP2_REQUEST_LINE);
            }
            if io.read_buf(read).await? == 0 {
                return Err("closed before a request".into());
            }
        }
    }
}

/// Completes when the server has been about to stop for so long that it no longer waits for requests.
async fn drain_grace(closing: &mut watch::Receiver<bool>) {
    // An error means that the sender has been dropped.
    let _ = closing.wait_for(|&closing| closing).await;
    tokio::time::sleep(DRAIN_GRACE).await;
}

/// hyper's response to a head that it couldn't parse.
fn status_from_hyper(error: &(dyn std::error::Error + 'static)) -> Option<StatusCode> {
    let error = error.downcast_ref::<hyper::Error>().filter(|error| error.is_parse())?;
    Some(match error.is_parse_too_large() {
        // hyper offers no other way to find out.
        true if error.to_string().contains("URI too long") => StatusCode::URI_TOO_LONG,
        true => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        false => StatusCode::BAD_REQUEST,
    })
}

/// What determines the lifetime of a connection.
struct Lifetime<'a> {
    activity: Arc<Activity>,
    limits: &'a ClientLimits,
    /// The start line of the last HTTP/1.1 request.
    start_line: Option<Arc<StartLine>>,
}

impl Lifetime<'_> {
    /// Runs a connection until it ends or times out, or was told to `shut_down` after `closing`.
    async fn run<C, E>(
        self,
        mut connection: Pin<&mut C>,
        shut_down: fn(Pin<&mut C>),
        closing: impl Future,
    ) -> Result<(), BoxError>
    where
        C: Future<Output = Result<(), E>>,
        E: Into<BoxError>,
    {
        let response = self.limits.body_timeout.0;
        let timeouts =
            Timeouts { head: self.limits.header_timeout.0, idle: self.limits.idle_timeout.0, response };
        let interrupted = pin!(async {
            tokio::select! {
                expired = self.activity.expired(timeouts) => Some(expired),
                _ = closing => None,
            }
        });
        let expired = tokio::select! {
            biased;
            result = connection.as_mut() => return result.map_err(Into::into),
            expired = Seldom::new(interrupted) => expired,
        };
        match expired {
            None | Some(Expired::Idle) => {}
            // A request that has started to arrive gets 408.
            Some(Expired::Head) if self.start_line.is_some_and(|line| line.times_out()) => {}
            Some(Expired::Head) => return Err("timed out waiting for a request".into()),
            Some(Expired::Response) => return Err("the client doesn't read its response".into()),
            Some(Expired::Upload) => return Err("the rest of a request body isn't read".into()),
        }
        shut_down(connection.as_mut());
        self.activity.restart();
        tokio::select! {
            result = connection => result.map_err(Into::into),
            _ = self.activity.expired(Timeouts { head: SHUTDOWN_TIMEOUT, idle: SHUTDOWN_TIMEOUT, response }) => {
                Err("timed out during graceful shutdown".into())
            }
        }
    }
}

fn http1_builder(limits: &ClientLimits) -> http1::Builder {
    let max = limits.max_header_size.bytes();
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        // Heads arrive complete, since the framing layer limits how long they take.
        .header_read_timeout(None)
        .max_header_size(max)
        // hyper doesn't support less than 8 KiB.
        .max_buf_size(max.max(8 * 1024));
    let max_headers = limits.max_headers.get() as usize;
    // If this is set, even to the default, hyper initialises that many fields for each head.
    if max_headers != HYPER_MAX_HEADERS {
        builder.max_headers(max_headers);
    }
    builder
}

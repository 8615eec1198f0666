//! One connection, from its first byte to its end.

use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::{Instant, timeout_at};

use super::activity::{Activity, Expired, Timeouts};
use super::request::Requests;
use super::seldom::Seldom;
use super::tls::{self, Tls};
use super::trusted_proxies::TrustedProxies;
use super::{http1, http2};
use crate::body::BoxError;
use crate::config::{ClientLimits, ListenHttp, Time};
use crate::exchange::{Answer, Client, aborted};

/// The first line of HTTP/2's preface. No HTTP/1.1 request starts with it.
const HTTP2_REQUEST_LINE: usize = b"PRI * HTTP/2.0\r\n".len();

/// How long HTTP/1.1 connections are kept for another request once the server is about to stop. The response to that
/// request announces the end of the connection. Otherwise, requests that are just arriving would be lost.
const DRAIN_GRACE: Duration = Duration::from_secs(1);

/// How long a connection may take to shut down.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);

/// The timeout of every step for a client that is rejected.
const REFUSAL: Time = Time::seconds(5);

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
        let requests = Requests {
            answer: self.answer,
            client,
            client_address: client.address_value(),
            limits: self.limits.clone(),
            trusted_proxies: self.trusted_proxies,
            activity: activity.clone(),
            flushes: Arc::default(),
            closing: self.closing,
            abort: self.abort,
            refuse: self.refuse,
        };
        if http2 {
            // It observes `abort` itself.
            let lifetime = Lifetime { activity, limits: &self.limits, head_times_out: || false, abort: None };
            let connection = pin!(http2::Connection::new(io, read, permit, Arc::new(requests)));
            let closing = closing.wait_for(|&closing| closing);
            return lifetime.run(connection, http2::Connection::graceful_shutdown, closing).await;
        }
        let signals = http1::Signals::default();
        let abort = Some(requests.abort.clone());
        let lifetime =
            Lifetime { activity, limits: &self.limits, head_times_out: || signals.time_out(), abort };
        let connection = pin!(http1::serve(io, read, permit, requests, &signals));
        lifetime.run(connection, |_| signals.close(), drain_grace(&mut closing)).await
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

/// What determines the lifetime of a connection.
struct Lifetime<'a, T> {
    activity: Arc<Activity>,
    limits: &'a ClientLimits,
    /// Called when a head takes too long. Returns whether the connection responds to it, once it is told to shut down.
    head_times_out: T,
    /// Whether the connection is to be aborted, which is only observed once it was told to shut down.
    abort: Option<watch::Receiver<bool>>,
}

impl<T: FnOnce() -> bool> Lifetime<'_, T> {
    /// Runs a connection until it ends or times out, or was told to `shut_down` after `closing`.
    async fn run<C>(
        self,
        mut connection: Pin<&mut C>,
        shut_down: impl FnOnce(Pin<&mut C>),
        closing: impl Future,
    ) -> Result<(), BoxError>
    where
        C: Future<Output = Result<(), BoxError>>,
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
            result = connection.as_mut() => return result,
            expired = Seldom::new(interrupted) => expired,
        };
        match expired {
            None | Some(Expired::Idle) => {}
            // A request that has started to arrive gets 408.
            Some(Expired::Head) if (self.head_times_out)() => {}
            Some(Expired::Head) => return Err("timed out waiting for a request".into()),
            Some(Expired::Response) => return Err("the client doesn't read its response".into()),
            Some(Expired::Upload) => return Err("the rest of a request body isn't read".into()),
        }
        shut_down(connection.as_mut());
        self.activity.restart();
        let mut abort = self.abort;
        let aborted = async {
            match &mut abort {
                Some(abort) => aborted(abort).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            result = connection => result,
            _ = self.activity.expired(Timeouts { head: SHUTDOWN_TIMEOUT, idle: SHUTDOWN_TIMEOUT, response }) => {
                Err("timed out during graceful shutdown".into())
            }
            () = aborted => Err("aborted".into()),
        }
    }
}

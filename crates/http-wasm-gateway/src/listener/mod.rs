//! An HTTP server for any tower service: HTTP/1.1 and HTTP/2 (prior knowledge) on one port, with a graceful end.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, header};
use http_body::Body;
use http_body_util::{Either, Empty};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};
use tower::{Service, ServiceExt as _};

use crate::body::BoxError;
use crate::signals::Signals;

/// How long a client may take to send a request head, and how long its connection may then lie idle in HTTP/1.1.
const HEADER_READ_TIMEOUT: Duration = Duration::from_secs(30);

/// The largest list of header fields taken over HTTP/2; hyper's own 16 KiB is less than what its HTTP/1.1 takes.
const MAX_HEADER_LIST_BYTES: u32 = 64 * 1024;

/// Pause after an accept that failed for want of something, file descriptors as a rule.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves until a signal comes; then accepts no more and lets running requests finish, for `limit` at most or until a
/// second signal comes. Upgraded connections are no requests any more: they end with the process.
///
/// `prepare` sees each request first, with the client's address.
pub(crate) async fn serve<S, B, P>(
    listener: TcpListener,
    service: S,
    prepare: P,
    mut signals: Signals,
    limit: Duration,
) where
    S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Into<BoxError>,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
    P: Fn(SocketAddr, &mut Request<Incoming>) + Clone + Send + 'static,
{
    let builder = builder();
    let graceful = GracefulShutdown::new();
    loop {
        let (stream, peer) = tokio::select! {
            () = signals.recv() => break,
            accepted = accept(&listener) => accepted,
        };
        let first = Arc::new(AtomicBool::new(false));
        let (seen, service, prepare) = (first.clone(), service.clone(), prepare.clone());
        let handler = service_fn(move |mut request: Request<Incoming>| {
            seen.store(true, Ordering::Relaxed);
            prepare(peer, &mut request);
            let (service, head) = (service.clone(), request.method() == Method::HEAD);
            async move { service.oneshot(request).await.map(|response| without_body_if(head, response)) }
        });
        let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), handler).into_owned();
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            let result = tokio::select! {
                result = pin!(connection) => result,
                () = silent(&first) => Err("no request in time".into()),
            };
            if let Err(error) = result {
                tracing::debug!(%peer, error, "connection ended");
            }
        });
    }
    drop(listener);
    drain(graceful, signals, limit).await;
}

fn builder() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_READ_TIMEOUT);
    builder.http2().timer(TokioTimer::new()).max_header_list_size(MAX_HEADER_LIST_BYTES);
    builder
}

async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                // Without it small writes wait for acknowledgements; a socket that refuses it still works.
                let _ = stream.set_nodelay(true);
                return (stream, peer);
            }
            Err(error) if concerns_one_client(&error) => {
                tracing::debug!(%error, "a client left before it was accepted")
            }
            Err(error) => {
                tracing::error!(%error, "cannot accept connections; trying again shortly");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn concerns_one_client(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

/// Ends when no request came in time. hyper's own timeout begins only once it knows the protocol's version, so a client
/// that sends nothing at all would stay.
async fn silent(seen: &AtomicBool) {
    tokio::time::sleep(HEADER_READ_TIMEOUT).await;
    if seen.load(Ordering::Relaxed) {
        std::future::pending().await
    }
}

/// Answers to HEAD have no body; hyper sees to that in HTTP/1.1 but not in HTTP/2.
fn without_body_if<B: Body<Data = Bytes>>(
    head: bool,
    response: Response<B>,
) -> Response<Either<B, Empty<Bytes>>> {
    if !head {
        return response.map(Either::Left);
    }
    let length = response.body().size_hint().exact();
    let mut response = response.map(|_| Either::Right(Empty::new()));
    // A length of 0 says nothing: the handler may have left the body out itself.
    if let Some(length) = length.filter(|&length| length > 0)
        && !response.headers().contains_key(header::TRANSFER_ENCODING)
    {
        response.headers_mut().entry(header::CONTENT_LENGTH).or_insert_with(|| HeaderValue::from(length));
    }
    response
}

async fn drain(graceful: GracefulShutdown, mut signals: Signals, limit: Duration) {
    tracing::info!(connections = graceful.count(), "stopping: no new connections, running requests finish");
    tokio::select! {
        () = graceful.shutdown() => tracing::info!("stopped"),
        () = tokio::time::sleep(limit) => tracing::warn!(?limit, "stopped; requests that took too long were cut off"),
        () = signals.recv() => tracing::warn!("stopped by a second signal; running requests were cut off"),
    }
}

//! Guests in front of a backend.

use std::net::SocketAddr;
use std::time::Duration;

use http::{HeaderValue, Request, Response, StatusCode, header};
use http_wasm_tower::Guest;
use hyper::body::Incoming;
use tokio::net::TcpListener;
use tower::limit::ConcurrencyLimit;
use tower::load_shed::LoadShed;
use tower::{Service, ServiceExt as _};

use crate::backend::{Backend, PeerAddr, Upstream};
use crate::body::{BoxBody, BoxError, boxed, empty};
use crate::chain::{Handler, chain};
use crate::error::{ServeError, plain};
use crate::listener;
use crate::signals::Signals;

/// What to serve, and how.
#[derive(Debug)]
pub struct Serve {
    /// Address to listen on, HOST:PORT.
    pub listen: String,
    /// The chain, outermost first.
    pub guests: Vec<Guest>,
    /// What stands behind the guests.
    pub upstream: Upstream,
    /// Requests in flight at once.
    pub max_requests: usize,
    /// How long the upstream may take to answer, counted from when it has the request.
    pub upstream_timeout: Duration,
    /// How long running requests may take to finish once the server was told to stop.
    pub shutdown_timeout: Duration,
}

/// Serves until a signal says stop. `ready` is told the address as soon as connections are accepted there.
///
/// # Errors
/// When it could not start.
pub async fn serve(serve: Serve, ready: impl FnOnce(SocketAddr)) -> Result<(), ServeError> {
    let backend = Backend::new(serve.upstream, serve.upstream_timeout);
    let prepare = prepare(&backend);
    let handler = limited(chain(serve.guests, backend), serve.max_requests)
        .map_request(|request: Request<Incoming>| request.map(boxed));

    let signals = Signals::install()
        .map_err(|error| ServeError::System(format!("cannot handle signals: {}", plain(&error))))?;
    let listener = TcpListener::bind(&serve.listen)
        .await
        .map_err(|source| ServeError::Listen { address: serve.listen, source })?;
    let address = listener
        .local_addr()
        .map_err(|error| ServeError::System(format!("cannot tell the address: {}", plain(&error))))?;
    ready(address);

    listener::serve(listener, handler, prepare, signals, serve.shutdown_timeout).await;
    Ok(())
}

/// Lets `max` requests in at once, until their response heads are there, and turns further ones away: each may hold an
/// instance of each guest, and those have no cap of their own.
fn limited(
    handler: Handler,
    max: usize,
) -> impl Service<Request<BoxBody>, Response = Response<BoxBody>, Error = BoxError, Future: Send + 'static>
+ Clone
+ Send
+ 'static {
    let limited = LoadShed::new(ConcurrencyLimit::new(handler, max));
    limited.map_result(|result: Result<_, BoxError>| {
        // The handler itself never fails, so this is the limit.
        Ok::<_, BoxError>(result.unwrap_or_else(|_| overloaded()))
    })
}

fn overloaded() -> Response<BoxBody> {
    let mut response = Response::new(empty());
    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    response
}

/// What is done to each request before any guest sees it.
fn prepare(backend: &Backend) -> impl Fn(SocketAddr, &mut Request<Incoming>) + Clone + Send + 'static {
    let proxied = backend.is_proxy();
    move |peer, request| {
        request.extensions_mut().insert(PeerAddr(peer));
        if proxied {
            // Here and not in the proxy: a client must not name, in `Connection`, a header that a guest will add, and so
            // have it taken away again.
            crate::backend::remove_nominated(request.headers_mut());
        }
    }
}

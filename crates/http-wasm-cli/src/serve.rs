//! `http-wasm serve`: guests in front of a backend.

use std::io::Write as _;
use std::net::SocketAddr;

use http::{HeaderValue, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use tokio::net::TcpListener;
use tower::limit::ConcurrencyLimit;
use tower::load_shed::LoadShed;
use tower::{Service, ServiceExt as _};

use crate::backend::{Backend, PeerAddr};
use crate::body::{BoxBody, BoxError, boxed, empty};
use crate::chain::{Handler, chain};
use crate::config::{Guests, Serve};
use crate::failure::{Failure, plain};
use crate::guest;
use crate::server;
use crate::signals::Signals;

/// Serves until a signal says stop.
pub(crate) async fn run(serve: Serve) -> Result<(), Failure> {
    let engine = http_wasm_tower::engine()?;
    let (guests, shows_welcome) = match &serve.guests {
        Guests::Example => (vec![guest::load_welcome(&engine)?], true),
        Guests::Named(specs) => {
            (specs.iter().map(|spec| guest::load(&engine, spec)).collect::<Result<_, _>>()?, false)
        }
    };
    let backend = Backend::new(serve.upstream, serve.upstream_timeout);
    let prepare = prepare(&backend);
    let handler = limited(chain(guests, backend), serve.max_requests)
        .map_request(|request: Request<Incoming>| request.map(boxed));

    let signals = Signals::install()
        .map_err(|error| Failure::Other(format!("cannot handle signals: {}", plain(&error))))?;
    let listener = TcpListener::bind(serve.listen.as_str())
        .await
        .map_err(|source| Failure::Listen { address: serve.listen, source })?;
    let address = listener
        .local_addr()
        .map_err(|error| Failure::Other(format!("cannot tell the address: {}", plain(&error))))?;
    announce(address, shows_welcome);

    server::serve(listener, handler, prepare, signals, serve.shutdown_timeout).await;
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

/// The ready line, and for the embedded example how to see it at work. Nobody may be reading, which is no reason to stop.
fn announce(address: SocketAddr, shows_welcome: bool) {
    let mut text = format!("listening on http://{address}\n");
    if shows_welcome {
        text += &format!(
            "\nThe embedded example guest (guests/welcome) stands in front of a backend that echoes requests. Try:\n\n  \
             curl -i http://{address}/hello           # answered by the guest\n  \
             curl -i http://{address}/admin           # rejected by the guest\n  \
             curl -i 'http://{address}/v1/users?a=b'  # rewritten by the guest, answered by the backend\n\n"
        );
    }
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

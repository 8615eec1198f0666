//! A host in this process: our own, with or without a rule broken, in front of the kit's backend.

use std::net::SocketAddr;
use std::sync::LazyLock;

use http_wasm_host::{Engine, Mutation};
use http_wasm_tower::{Body, FailurePolicy, Guest, HttpWasmLayer, SourceAddr};
use hyper::body::Incoming;
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Request, Response, Uri, Version};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tower::{Layer as _, ServiceExt as _, service_fn};

/// What is wrong with the host.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    /// Nothing.
    None,
    /// A rule of the core.
    Rule(Mutation),
    /// What clients get when a guest fails.
    Answer(OnFailure),
}

/// Ways to answer when a guest fails; none of them is right.
#[derive(Clone, Copy, Debug)]
pub(crate) enum OnFailure {
    /// The error is in the body.
    WithDetail,
    /// The status is 200.
    AsIfNothing,
}

impl FailurePolicy for OnFailure {
    fn response(&self, error: &http_wasm_host::Error, _: Option<&Parts>) -> Response<Body> {
        match self {
            Self::WithDetail => {
                let mut response = Response::new(Body::from(bytes::Bytes::from(format!("{error:?}"))));
                *response.status_mut() = hyper::StatusCode::INTERNAL_SERVER_ERROR;
                response
            }
            Self::AsIfNothing => Response::new(Body::empty()),
        }
    }
}

/// One for all hosts: each engine sets address space aside.
fn engine() -> &'static Engine {
    static ENGINE: LazyLock<Engine> = LazyLock::new(|| http_wasm_tower::engine().expect("an engine"));
    &ENGINE
}

/// Starts a host with this guest on a free port; it serves until the runtime ends.
pub(crate) async fn start(fault: Fault, wasm: Vec<u8>, backend: SocketAddr) -> SocketAddr {
    let mutation = match fault {
        Fault::Rule(mutation) => Some(mutation),
        Fault::None | Fault::Answer(_) => None,
    };
    let load = move || {
        Guest::builder(engine())
            .name(format!("{fault:?}"))
            .mutation(mutation)
            .load(&wasm)
            .expect("the guest loads")
    };
    let guest: Guest = tokio::task::spawn_blocking(load).await.expect("loading does not panic");
    let mut layer = HttpWasmLayer::new(guest);
    if let Fault::Answer(on_failure) = fault {
        layer = layer.failure_policy(on_failure);
    }
    let client = Client::builder(TokioExecutor::new()).build_http::<Body>();
    let forward = service_fn(move |request| forward(client.clone(), backend, request));
    let service = layer.layer(forward);

    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("a bound listener has an address");
    tokio::spawn(async move {
        while let Ok((connection, client)) = listener.accept().await {
            let service = service.clone().map_request(move |mut request: Request<Incoming>| {
                request.extensions_mut().insert(SourceAddr(client));
                request
            });
            tokio::spawn(async move {
                let server = auto::Builder::new(TokioExecutor::new());
                // Broken hosts break connections.
                let _ = server
                    .serve_connection(TokioIo::new(connection), TowerToHyperService::new(service))
                    .await;
            });
        }
    });
    address
}

/// The next handler: as little of a proxy as the kit needs.
async fn forward(
    client: Client<HttpConnector, Body>,
    backend: SocketAddr,
    mut request: Request<Body>,
) -> Result<Response<Body>, hyper_util::client::legacy::Error> {
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    let uri = if path == "*" { format!("http://{backend}") } else { format!("http://{backend}{path}") };
    if let Ok(uri) = Uri::try_from(uri) {
        *request.uri_mut() = uri;
    }
    *request.version_mut() = Version::HTTP_11;
    drop_connection_headers(request.headers_mut());
    // Without this hyper would frame the body of a GET, and bodies with trailers, by their length.
    let unframed = !request.headers().contains_key(header::CONTENT_LENGTH);
    if request.headers().contains_key(header::TRAILER) {
        request.headers_mut().remove(header::CONTENT_LENGTH);
    }
    let bodiless = hyper::body::Body::is_end_stream(request.body());
    let sized = hyper::body::Body::size_hint(request.body()).exact().is_some();
    if !bodiless && (request.headers().contains_key(header::TRAILER) || unframed && !sized) {
        request.headers_mut().insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    let mut response = client.request(request).await?;
    drop_connection_headers(response.headers_mut());
    Ok(response.map(Body::new))
}

fn drop_connection_headers(headers: &mut HeaderMap) {
    for name in [header::CONNECTION, header::TRANSFER_ENCODING] {
        headers.remove(name);
    }
}

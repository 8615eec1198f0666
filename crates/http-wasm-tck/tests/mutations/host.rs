//! This project's host with or without a broken rule, in this process, in front of the kit's backend.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::LazyLock;
use std::task::Poll;

use http_wasm_host::{BodyKind, Engine, Error, Guest, Outcome, RequestStream, Rule};
use http_wasm_tower::Body;
use hyper::body::Incoming;
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Request, Response, Uri, Version};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use crate::broken::Broken;
use crate::imports::intercept;
use crate::mutation::Mutation;
use crate::streams::{self, StreamFault, Streaming};

/// The fault of a host.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    /// Nothing.
    None,
    /// A rule of the core.
    Rule(Mutation),
    /// A wrong response when a guest fails.
    Answer(OnFailure),
    /// A host that streams, as it is or with a rule of streaming broken.
    Stream(Streaming),
}

/// Wrong responses when a guest fails.
#[derive(Clone, Copy, Debug)]
pub(crate) enum OnFailure {
    /// The error is in the body.
    WithDetail,
    /// The status is 200.
    AsIfNothing,
}

impl OnFailure {
    fn response(self, error: &Error) -> Response<Body> {
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

/// One engine for all hosts, since each reserves address space.
fn engine() -> &'static Engine {
    static ENGINE: LazyLock<Engine> = LazyLock::new(|| http_wasm_tower::Engine::new().expect("an engine"));
    &ENGINE
}

/// Loads the guest for a host with this fault.
fn load(fault: Fault, wasm: &[u8]) -> Guest<Broken> {
    let builder = Guest::<Broken>::builder(engine()).name(format!("{fault:?}"));
    let builder = match fault {
        Fault::None | Fault::Answer(_) => builder,
        Fault::Stream(streaming) => streaming.set(builder),
        Fault::Rule(mutation) => match inner_rule(mutation) {
            Some(rule) => builder.break_rule(rule),
            None => builder.intercept(intercept(mutation)),
        },
    };
    builder.load(wasm).expect("the guest loads")
}

/// The core's rule for a mutation that can't be broken from outside.
fn inner_rule(mutation: Mutation) -> Option<Rule> {
    Some(match mutation {
        Mutation::NextIsOne => Rule::AnyNextProceeds,
        Mutation::StopIgnored => Rule::ZeroStops,
        Mutation::ReqCtxTruncated => Rule::ReqCtxWhole,
        Mutation::ReqCtxZero => Rule::ReqCtxPassed,
        Mutation::InstanceSwapped => Rule::SameInstance,
        Mutation::ResponsePhaseSkipped => Rule::ResponseHandled,
        Mutation::TrappedInstanceKept => Rule::TrappedDropped,
        _ => return None,
    })
}

/// Starts a host with this guest on a free port. It runs until the runtime is dropped.
pub(crate) async fn start(fault: Fault, wasm: Vec<u8>, backend: SocketAddr) -> SocketAddr {
    let loading = tokio::task::spawn_blocking(move || load(fault, &wasm));
    let guest = loading.await.expect("loading does not panic");
    let next = Client::builder(TokioExecutor::new()).build_http::<Body>();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("a bound listener has an address");
    tokio::spawn(async move {
        while let Ok((connection, client)) = listener.accept().await {
            let (guest, next) = (guest.clone(), next.clone());
            let service = hyper::service::service_fn(move |request: Request<Incoming>| {
                let (guest, next) = (guest.clone(), next.clone());
                async move { serve(fault, &guest, request, client, next, backend).await }
            });
            tokio::spawn(async move {
                let server = auto::Builder::new(TokioExecutor::new());
                // Broken hosts break connections.
                let _ = server.serve_connection(TokioIo::new(connection), service).await;
            });
        }
    });
    address
}

/// Passes one request through the guest.
async fn serve(
    fault: Fault,
    guest: &Guest<Broken>,
    request: Request<Incoming>,
    client: SocketAddr,
    next: Client<HttpConnector, Body>,
    backend: SocketAddr,
) -> Result<Response<Body>, hyper_util::client::legacy::Error> {
    let mutation = match fault {
        Fault::Rule(mutation) => Some(mutation),
        Fault::None | Fault::Answer(_) | Fault::Stream(_) => None,
    };
    let failed = |error: &Error| match fault {
        Fault::Answer(on_failure) => on_failure.response(error),
        Fault::None | Fault::Rule(_) | Fault::Stream(_) => {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = hyper::StatusCode::INTERNAL_SERVER_ERROR;
            response
        }
    };
    let is_head = request.method() == hyper::Method::HEAD;
    let streaming = match fault {
        Fault::Stream(streaming) => Some(streaming),
        Fault::None | Fault::Answer(_) | Fault::Rule(_) => None,
    };
    let host = Broken::new(request.map(Body::new), client, mutation).streaming(streaming);
    let mut outcome = guest.handle_request(host).await;
    let mut early = None;
    if let Ok(Outcome::Streams(stream)) = outcome {
        let streaming = streaming.expect("the guest streams");
        (outcome, early) = write_request(streaming, stream, next.clone(), backend).await;
        if let Ok(Outcome::Respond(_)) = outcome
            && let Some(response) = early
        {
            return response;
        }
    }
    let mut pinned = match outcome {
        Ok(Outcome::Next(pinned)) => pinned,
        Ok(Outcome::Respond(host)) => return Ok(host.into_response(is_head)),
        Ok(Outcome::Streams(_)) => unreachable!("a stream ends with a decision"),
        Ok(Outcome::Bypassed { error, .. }) | Err(error) => return Ok(failed(&error)),
    };
    let response = match early {
        Some(response) => response?,
        None => {
            let keep_head = pinned.reads_request();
            let request = pinned.host_mut().inner.take_request(keep_head);
            forward(next, backend, request).await?
        }
    };
    pinned.host_mut().set_response(response);
    Ok(match pinned.handle_response().await {
        Ok(handled) => streams::sent(fault, handled.host.into_response(is_head)),
        Err(error) => failed(&error),
    })
}

/// Forwards a request while its guest writes it. Returns what the guest decides, and the response if that is used.
async fn write_request(
    streaming: Streaming,
    mut stream: RequestStream<Broken>,
    next: Client<HttpConnector, Body>,
    backend: SocketAddr,
) -> (Result<Outcome<Broken>, Error>, Option<Forwarded>) {
    let (respond, responded) = oneshot::channel();
    let request = streaming.sent(stream.host_mut().inner.take_request(false), responded);
    let mut forwarded = Box::pin(forward(next, backend, request));
    let (mut respond, mut response) = (Some(respond), None);
    let outcome = poll_fn(|cx| {
        if response.is_none()
            && let Poll::Ready(answer) = forwarded.as_mut().poll(cx)
        {
            response = Some(answer);
            stream.on_response();
            respond.take().map(|respond| respond.send(()));
        }
        Pin::new(&mut stream).poll(cx)
    })
    .await;
    let breaks = |fault| streaming.breaks(BodyKind::Request, fault);
    if matches!(outcome, Ok(Outcome::Next(_))) || breaks(StreamFault::StopIgnored) {
        if response.is_none() {
            response = Some(forwarded.await);
        }
    } else {
        if response.is_none() && breaks(StreamFault::EndsWhole) {
            tokio::spawn(forwarded);
        }
        response = None;
    }
    (outcome, response)
}

type Forwarded = Result<Response<Body>, hyper_util::client::legacy::Error>;

/// The next handler: a minimal proxy.
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
    // Without this, hyper would add a length to the body of a GET, and to bodies with trailers.
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

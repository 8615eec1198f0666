//! Services, servers on free ports, and clients.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Wake};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream};
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt as _, Collected, StreamBody};
use http_wasm_tower::{Body, BoxError, Error, Guest, HttpWasm, HttpWasmLayer, SourceAddr};
use hyper::body::Frame;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tower::{Layer as _, Service, ServiceExt as _};

/// A timeout for everything in these tests: longer waits are failures.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(20);

/// Fails the test if this takes longer than the timeout.
pub(crate) async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(TIMEOUT, what).await.expect("this takes too long")
}

/// Polls until there is nothing more to do, and returns whether the future is still pending. One poll isn't enough: on
/// a busy machine, a guest may yield in the middle of its work.
pub(crate) async fn is_pending(mut future: std::pin::Pin<&mut impl Future>) -> bool {
    loop {
        let woken = Arc::new(Woken::default());
        if future.as_mut().poll(&mut Context::from_waker(&woken.clone().into())).is_ready() {
            return false;
        }
        // A guest that has yielded is woken by the runtime.
        tokio::time::sleep(Duration::from_millis(2)).await;
        if !woken.0.load(Ordering::Relaxed) {
            return true;
        }
    }
}

#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

// Services

/// Answers with the received request as text: the request line, the headers, the body, the trailers.
pub(crate) async fn describe(request: Request<Body>) -> Result<Response<Body>, Infallible> {
    let (head, body) = request.into_parts();
    let mut text = format!("{} {} {:?}\n", head.method, head.uri, head.version);
    write_fields(&mut text, &head.headers);
    let body = body.collect().await.expect("the body is whole");
    let trailers = body.trailers().cloned();
    write!(text, "\n{}\n", String::from_utf8_lossy(&body.to_bytes())).expect("a string takes all");
    write_fields(&mut text, &trailers.unwrap_or_default());
    Ok(Response::new(text.into_bytes().into_body()))
}

fn write_fields(text: &mut String, fields: &HeaderMap) {
    for (name, value) in fields {
        writeln!(text, "{name}: {}", String::from_utf8_lossy(value.as_bytes())).expect("a string takes all");
    }
}

/// Answers with the request's body, frame by frame.
pub(crate) async fn mirror(request: Request<Body>) -> Result<Response<Body>, Infallible> {
    Ok(Response::new(request.into_body()))
}

/// Answers `hello`.
pub(crate) async fn hello(_: Request<Body>) -> Result<Response<Body>, Infallible> {
    Ok(Response::new("hello".into_body()))
}

pub(crate) trait IntoBody {
    fn into_body(self) -> Body;
}

impl<T: Into<Bytes>> IntoBody for T {
    fn into_body(self) -> Body {
        Body::from(self.into())
    }
}

/// A body of unknown length.
pub(crate) fn streamed<S>(pieces: S) -> Body
where
    S: Stream<Item = Result<Bytes, BoxError>> + Send + 'static,
{
    Body::new(StreamBody::new(pieces.map(|piece| piece.map(Frame::data))))
}

/// A body of unknown length, with trailers.
pub(crate) fn with_trailers(data: &'static str, trailers: &[(&'static str, &'static str)]) -> Body {
    let frames = [Frame::data(Bytes::from(data)), Frame::trailers(fields(trailers))];
    Body::new(StreamBody::new(stream::iter(frames.map(Ok::<_, Infallible>))))
}

pub(crate) fn fields(fields: &[(&'static str, &'static str)]) -> HeaderMap {
    let field = |&(name, value): &(&'static str, &'static str)| {
        (http::HeaderName::from_static(name), http::HeaderValue::from_static(value))
    };
    let mut map = HeaderMap::new();
    for (name, value) in fields.iter().map(field) {
        map.append(name, value);
    }
    map
}

/// A body that the test feeds.
pub(crate) fn fed() -> (tokio::sync::mpsc::UnboundedSender<Result<Bytes, BoxError>>, Body) {
    let (sender, receiver) = tokio::sync::mpsc::unbounded_channel();
    let pieces = stream::unfold(receiver, |mut receiver| async { Some((receiver.recv().await?, receiver)) });
    (sender, streamed(pieces))
}

/// Pseudo-random bytes, in which no error goes unnoticed.
pub(crate) fn noise(len: usize) -> Bytes {
    let mut random = Random(len as u64 + 1);
    (0..len).map(|_| random.next() as u8).collect()
}

/// A small pseudo-random number generator with a seed.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 32
    }

    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}

/// Sends a request through a guest in front of a service, all in this process.
pub(crate) async fn call<S>(guest: &Guest, inner: S, request: Request<Body>) -> Response<Body>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    let service: HttpWasm<S> = HttpWasmLayer::new(guest.clone()).layer(inner);
    soon(service.oneshot(request)).await.expect("it can't fail")
}

/// The error that a response carries for services around this one.
pub(crate) fn error(response: &Response<Body>) -> &Error {
    response.extensions().get::<Arc<Error>>().expect("the typed error")
}

pub(crate) fn get(uri: &str) -> Request<Body> {
    Request::get(uri).body(Body::empty()).expect("a legal request")
}

pub(crate) fn post(uri: &str, body: impl IntoBody) -> Request<Body> {
    Request::post(uri).body(body.into_body()).expect("a legal request")
}

pub(crate) async fn collect<B>(body: B) -> Bytes
where
    B: http_body::Body<Data = Bytes>,
    B::Error: std::fmt::Debug,
{
    gather(body).await.to_bytes()
}

pub(crate) async fn gather<B>(body: B) -> Collected<Bytes>
where
    B: http_body::Body<Data = Bytes>,
    B::Error: std::fmt::Debug,
{
    soon(body.collect()).await.expect("the body is whole")
}

pub(crate) async fn text<B>(body: B) -> String
where
    B: http_body::Body<Data = Bytes>,
    B::Error: std::fmt::Debug,
{
    String::from_utf8_lossy(&collect(body).await).into_owned()
}

/// The value of a header, or "" without it.
pub(crate) fn header<'a, B>(response: &'a Response<B>, name: &str) -> &'a str {
    response.headers().get(name).map_or("", |value| value.to_str().expect("a text"))
}

// Servers

/// Serves HTTP/1 and HTTP/2 on a free port, and passes the client's address to the service.
pub(crate) async fn serve<S, B>(service: S) -> SocketAddr
where
    S: Service<Request<hyper::body::Incoming>, Response = Response<B>> + Clone + Send + Sync + 'static,
    S::Future: Send,
    S::Error: Into<BoxError>,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let addr = listener.local_addr().expect("a bound listener has an address");
    tokio::spawn(serve_on(listener, service));
    addr
}

/// The same on this listener, until it is dropped.
pub(crate) async fn serve_on<S, B>(listener: TcpListener, service: S)
where
    S: Service<Request<hyper::body::Incoming>, Response = Response<B>> + Clone + Send + Sync + 'static,
    S::Future: Send,
    S::Error: Into<BoxError>,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    while let Ok((connection, client)) = listener.accept().await {
        let service = service.clone().map_request(move |mut request: Request<_>| {
            request.extensions_mut().insert(SourceAddr(client));
            request
        });
        tokio::spawn(async move {
            let mut server = auto::Builder::new(TokioExecutor::new());
            server.http2().enable_connect_protocol();
            let service = TowerToHyperService::new(service);
            // Clients here break their connections on purpose.
            let _ = server.serve_connection_with_upgrades(TokioIo::new(connection), service).await;
        });
    }
}

/// Serves a guest in front of a service.
pub(crate) async fn serve_guest<S>(guest: &Guest, inner: S) -> SocketAddr
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + Sync + 'static,
    S::Future: Send,
{
    serve(HttpWasmLayer::new(guest.clone()).layer(inner)).await
}

// Clients

/// A hyper client on one connection of either version.
pub(crate) enum Client {
    Http1(http1::SendRequest<Body>),
    Http2(http2::SendRequest<Body>),
}

impl Client {
    pub(crate) async fn http1(addr: SocketAddr) -> Self {
        let io = TokioIo::new(TcpStream::connect(addr).await.expect("the server accepts"));
        let (sender, connection) = http1::handshake(io).await.expect("HTTP/1.1");
        tokio::spawn(connection.with_upgrades());
        Self::Http1(sender)
    }

    pub(crate) async fn http2(addr: SocketAddr) -> Self {
        let io = TokioIo::new(TcpStream::connect(addr).await.expect("the server accepts"));
        let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await.expect("HTTP/2");
        tokio::spawn(connection);
        Self::Http2(sender)
    }

    /// One of each.
    pub(crate) async fn both(addr: SocketAddr) -> [Self; 2] {
        [Self::http1(addr).await, Self::http2(addr).await]
    }

    /// Sends a request. A URI without an authority gets `example.com`, which isn't contacted.
    pub(crate) async fn send(&mut self, mut request: Request<Body>) -> Response<hyper::body::Incoming> {
        match self {
            Self::Http1(sender) => {
                request.headers_mut().entry("host").or_insert(http::HeaderValue::from_static("example.com"));
                soon(sender.ready()).await.expect("the connection lives");
                soon(sender.send_request(request)).await.expect("a response")
            }
            Self::Http2(sender) => {
                if request.uri().authority().is_none() {
                    let uri = format!("http://example.com{}", request.uri());
                    *request.uri_mut() = uri.parse().expect("a legal URI");
                }
                soon(sender.ready()).await.expect("the connection lives");
                soon(sender.send_request(request)).await.expect("a response")
            }
        }
    }
}

/// A connection on which tests send and receive raw bytes.
pub(crate) struct Raw(pub(crate) TcpStream);

impl Raw {
    pub(crate) async fn connect(addr: SocketAddr) -> Self {
        Self(TcpStream::connect(addr).await.expect("the server accepts"))
    }

    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.write_all(bytes.as_ref()).await.expect("the peer reads");
    }

    /// Reads until this text has arrived, and returns everything that was read.
    pub(crate) async fn read_until(&mut self, text: &str) -> String {
        let mut all = Vec::new();
        while !all.windows(text.len()).any(|window| window == text.as_bytes()) {
            let read = soon(self.0.read_buf(&mut all)).await.expect("the peer sends");
            assert!(read > 0, "closed before {text:?}: {:?}", String::from_utf8_lossy(&all));
        }
        String::from_utf8_lossy(&all).into_owned()
    }

    pub(crate) async fn read_to_end(&mut self) -> String {
        let mut all = Vec::new();
        soon(self.0.read_to_end(&mut all)).await.expect("the peer sends and closes");
        String::from_utf8_lossy(&all).into_owned()
    }
}

/// Sends these bytes, which must make the server close the connection, and returns everything that it sent, without the
/// `date`.
pub(crate) async fn exchange(addr: SocketAddr, request: impl AsRef<[u8]>) -> String {
    let mut raw = Raw::connect(addr).await;
    raw.send(request).await;
    let answer = raw.read_to_end().await;
    answer.split_inclusive("\r\n").filter(|line| !line.starts_with("date: ")).collect()
}

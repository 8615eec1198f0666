//! In-memory servers that tests drive frame by frame and byte by byte.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use http::Uri;
use tokio::io::{
    AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, DuplexStream, ReadBuf, duplex,
};
use tokio::sync::{Mutex, mpsc};
use tower::util::BoxCloneSyncService;

use super::soon;
use crate::body::BoxError;
use crate::config::{Located, NonEmpty, Upstream, UpstreamHttp};
use crate::proxy::Proxy;
use crate::proxy::connect::{Connected, Connectors};
use crate::upstream_url::UpstreamUrl;

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PING: u8 = 6;
pub(super) const GOAWAY: u8 = 7;
pub(super) const WINDOW_UPDATE: u8 = 8;

pub(super) const END_STREAM: u8 = 1;
pub(super) const ACK: u8 = 1;
pub(super) const END_HEADERS: u8 = 4;

pub(super) const NO_ERROR: u32 = 0;
pub(super) const REFUSED_STREAM: u32 = 7;
pub(super) const CANCEL: u32 = 8;

pub(super) const MAX_CONCURRENT_STREAMS: u16 = 3;

/// `:status` 200 in HPACK's static table.
pub(super) const OK: &[u8] = &[0x88];

/// The server end of an upstream's connections.
pub(super) struct Upstreams {
    pub(super) proxy: Arc<Proxy>,
    connections: Mutex<mpsc::UnboundedReceiver<DuplexStream>>,
    next_write_fails: Arc<AtomicBool>,
}

impl Upstreams {
    /// An upstream that uses HTTP/2.
    pub(super) fn http2(settings: Upstream) -> Self {
        Self::new(Upstream { http: UpstreamHttp::Http2, ..settings })
    }

    pub(super) fn new(settings: Upstream) -> Self {
        let (opened, connections) = mpsc::unbounded_channel();
        let next_write_fails = Arc::new(AtomicBool::new(false));
        let fails = next_write_fails.clone();
        let connector = BoxCloneSyncService::new(tower::service_fn(move |_: Uri| {
            let (client, server) = duplex(1024 * 1024);
            let opened = opened.send(server).map_err(|_| BoxError::from("nobody listens"));
            let io = Box::new(ClientEnd { io: client, next_write_fails: fails.clone() });
            async move { opened.map(|()| Connected { io, negotiated_http2: false }) }
        }));
        let http =
            if settings.http == UpstreamHttp::Http2 { UpstreamHttp::Http2 } else { UpstreamHttp::Http1 };
        let connectors = Connectors { any: connector.clone(), http1: connector, http };
        let addr = SocketAddr::from(([10, 0, 0, 2], 80));
        let url = format!("http://{addr}").parse::<UpstreamUrl>().unwrap();
        let settings = Upstream { addresses: NonEmpty::from(Located::from(url)), ..settings };
        let proxy = Arc::new(Proxy::with("u", &settings, &connectors));
        Self { proxy, connections: Mutex::new(connections), next_write_fails }
    }

    /// Makes the proxy's next write fail, on any connection, as if the server had reset it without a read showing that.
    pub(super) fn fail_next_write(&self) {
        self.next_write_fails.store(true, Ordering::Relaxed);
    }

    /// The next connection.
    pub(super) async fn accept(&self) -> DuplexStream {
        soon(self.connections.lock().await.recv()).await.expect("the proxy is there")
    }

    /// Accepts the next connection, and answers its preface with these settings.
    pub(super) async fn accept_http2(&self, settings: &[(u16, u32)]) -> Peer {
        let mut io = self.accept().await;
        let mut preface = [0; 24];
        soon(io.read_exact(&mut preface)).await.unwrap();
        let mut peer = Peer { io, settings: Vec::new(), granted: 0, pings: 0, answers_pings: true };
        let announced: Vec<u8> = settings
            .iter()
            .flat_map(|(id, value)| id.to_be_bytes().into_iter().chain(value.to_be_bytes()))
            .collect();
        peer.send(SETTINGS, 0, 0, &announced).await;
        peer
    }

    /// Whether there are no further connections.
    pub(super) async fn no_more(&self) -> bool {
        self.connections.lock().await.try_recv().is_err()
    }
}

/// The proxy's end of a connection.
struct ClientEnd {
    io: DuplexStream,
    next_write_fails: Arc<AtomicBool>,
}

impl ClientEnd {
    fn check(&self) -> io::Result<()> {
        match self.next_write_fails.swap(false, Ordering::Relaxed) {
            true => Err(io::ErrorKind::ConnectionReset.into()),
            false => Ok(()),
        }
    }
}

impl AsyncRead for ClientEnd {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl AsyncWrite for ClientEnd {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.check()?;
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.check()?;
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// The server's end of an HTTP/2 connection.
pub(super) struct Peer {
    io: DuplexStream,
    /// The settings that the client has announced.
    pub(super) settings: Vec<(u16, u32)>,
    /// How much the client has widened the connection's window.
    pub(super) granted: u32,
    pub(super) pings: usize,
    pub(super) answers_pings: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) stream: u32,
    pub(super) payload: Vec<u8>,
}

impl Peer {
    pub(super) async fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let mut frame = vec![length[1], length[2], length[3], kind, flags];
        frame.extend(stream.to_be_bytes());
        frame.extend(payload);
        // The connection may already be closed.
        let _ = soon(self.io.write_all(&frame)).await;
    }

    /// The next frame that concerns a stream, or GOAWAY. `None` is the end of the connection.
    pub(super) async fn next(&mut self) -> Option<Frame> {
        loop {
            let mut header = [0; 9];
            self.io.read_exact(&mut header).await.ok()?;
            let mut payload = vec![0; u32::from_be_bytes([0, header[0], header[1], header[2]]) as usize];
            self.io.read_exact(&mut payload).await.ok()?;
            let stream = u32::from_be_bytes([header[5], header[6], header[7], header[8]]);
            let frame = Frame { kind: header[3], flags: header[4], stream, payload };
            match (frame.kind, frame.stream) {
                (SETTINGS, _) if frame.flags & ACK == 0 => {
                    for setting in frame.payload.chunks(6) {
                        let value = setting[2..].try_into().map(u32::from_be_bytes).unwrap();
                        self.settings.push((u16::from_be_bytes([setting[0], setting[1]]), value));
                    }
                    self.send(SETTINGS, ACK, 0, &[]).await;
                }
                (PING, _) if frame.flags & ACK == 0 => {
                    self.pings += 1;
                    if self.answers_pings {
                        self.send(PING, ACK, 0, &frame.payload).await;
                    }
                }
                (WINDOW_UPDATE, 0) => self.granted += u32::from_be_bytes(frame.payload.try_into().unwrap()),
                (SETTINGS | PING | WINDOW_UPDATE, _) => {}
                _ => return Some(frame),
            }
        }
    }

    /// The stream of the next request.
    pub(super) async fn request(&mut self) -> u32 {
        let frame = soon(self.next()).await.expect("a request comes");
        assert_eq!(frame.kind, HEADERS, "{frame:?}");
        frame.stream
    }

    /// Answers with 200 and no body.
    pub(super) async fn answer(&mut self, stream: u32) {
        self.send(HEADERS, END_HEADERS | END_STREAM, stream, OK).await;
    }

    pub(super) async fn reset(&mut self, stream: u32, reason: u32) {
        self.send(RST_STREAM, 0, stream, &reason.to_be_bytes()).await;
    }

    pub(super) async fn goaway(&mut self, last: u32, reason: u32) {
        let payload: Vec<u8> = last.to_be_bytes().into_iter().chain(reason.to_be_bytes()).collect();
        self.send(GOAWAY, 0, 0, &payload).await;
    }
}

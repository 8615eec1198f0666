//! Messages that are sent and received piece by piece, over both versions of HTTP.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use h2::client::ResponseFuture;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, Request, Response};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio::time::timeout;

/// Longer than anything here should take.
const LIMIT: Duration = Duration::from_secs(60);

/// An upstream whose responses a test sends.
pub(crate) struct LiveUpstream {
    pub(crate) addr: SocketAddr,
    requests: mpsc::UnboundedReceiver<LiveRequest>,
}

/// A request to respond to.
pub(crate) struct LiveRequest {
    /// Over HTTP/1.1, as received.
    pub(crate) head: String,
    pub(crate) body: Receiver,
    respond: Respond,
}

enum Respond {
    Http1(OwnedWriteHalf),
    Http2(h2::server::SendResponse<Bytes>),
}

/// A message that is being sent.
pub(crate) enum Live {
    Http1(OwnedWriteHalf),
    /// A response of which nothing is received, so that both directions of the connection end together.
    Http1Response(OwnedWriteHalf, #[expect(dead_code, reason = "dropped with it")] Box<Receiver>),
    Http2(SendStream<Bytes>),
}

impl LiveUpstream {
    pub(crate) fn start(runtime: &Runtime, http2: bool) -> Self {
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let addr = listener.local_addr().unwrap();
        let (asks, requests) = mpsc::unbounded_channel();
        runtime.spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(accept(socket, http2, asks.clone()));
            }
        });
        Self { addr, requests }
    }

    /// Takes the next request.
    pub(crate) async fn request(&mut self) -> LiveRequest {
        timeout(LIMIT, self.requests.recv()).await.expect("a request").unwrap()
    }

    /// Takes the next request, which has no body, and sends the head of its response.
    pub(crate) async fn respond(&mut self, head: &[(&str, &str)]) -> Live {
        let (body, live) = self.request().await.respond(head).await;
        match live {
            Live::Http1(socket) => Live::Http1Response(socket, Box::new(body)),
            other => other,
        }
    }
}

impl LiveRequest {
    /// Responds with 503.
    pub(crate) async fn refuse(self) {
        match self.respond {
            Respond::Http1(mut socket) => {
                let response = b"HTTP/1.1 503 Unavailable\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
                socket.write_all(response).await.unwrap();
            }
            Respond::Http2(mut respond) => {
                let response = Response::builder().status(503).body(()).unwrap();
                respond.send_response(response, true).unwrap();
            }
        }
    }

    /// Sends the head of the response. Returns the request's body too.
    pub(crate) async fn respond(self, head: &[(&str, &str)]) -> (Receiver, Live) {
        let live = match self.respond {
            Respond::Http1(mut socket) => {
                let fields: String =
                    head.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
                let head = format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n{fields}\r\n");
                socket.write_all(head.as_bytes()).await.unwrap();
                Live::Http1(socket)
            }
            Respond::Http2(mut respond) => {
                let mut response = Response::builder();
                for (name, value) in head {
                    response = response.header(*name, *value);
                }
                Live::Http2(respond.send_response(response.body(()).unwrap(), false).unwrap())
            }
        };
        (self.body, live)
    }
}

/// Reads the requests of a connection. Over HTTP/1.1, only the first is read.
async fn accept(mut socket: TcpStream, http2: bool, asks: mpsc::UnboundedSender<LiveRequest>) {
    if http2 {
        let Ok(mut connection) = h2::server::handshake(socket).await else { return };
        while let Some(Ok((request, respond))) = connection.accept().await {
            let (head, body) = request.into_parts();
            let head = format!("{head:?}");
            let body = Receiver::new(Source::Http2(body));
            let _gone = asks.send(LiveRequest { head, body, respond: Respond::Http2(respond) });
        }
        return;
    }
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match socket.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    let head = String::from_utf8(head).unwrap();
    let (reader, writer) = socket.into_split();
    let body = Receiver::new(Source::Http1 { reader: BufReader::new(reader), has_head: true });
    let _gone = asks.send(LiveRequest { head, body, respond: Respond::Http1(writer) });
}

impl Live {
    /// Sends a piece of the body, as fast as it is read. Does nothing if the receiver has gone.
    pub(crate) async fn send(&mut self, piece: &[u8]) {
        match self {
            Self::Http1(socket) | Self::Http1Response(socket, _) => {
                let mut chunk = format!("{:x}\r\n", piece.len()).into_bytes();
                chunk.extend_from_slice(piece);
                chunk.extend_from_slice(b"\r\n");
                let _gone = socket.write_all(&chunk).await;
            }
            Self::Http2(stream) => {
                let mut piece = Bytes::copy_from_slice(piece);
                while !piece.is_empty() {
                    stream.reserve_capacity(piece.len());
                    let Some(Ok(room)) = std::future::poll_fn(|cx| stream.poll_capacity(cx)).await else {
                        return;
                    };
                    let part = piece.split_to(room.min(piece.len()));
                    if stream.send_data(part, false).is_err() {
                        return;
                    }
                }
            }
        }
    }

    /// Ends the message with these trailers.
    pub(crate) async fn end(&mut self, trailers: &[(&str, &str)]) {
        match self {
            Self::Http1(socket) | Self::Http1Response(socket, _) => {
                let fields: String =
                    trailers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
                let _gone = socket.write_all(format!("0\r\n{fields}\r\n").as_bytes()).await;
            }
            Self::Http2(stream) if trailers.is_empty() => {
                let _gone = stream.send_data(Bytes::new(), true);
            }
            Self::Http2(stream) => {
                let mut fields = HeaderMap::new();
                for (name, value) in trailers {
                    fields.insert(http::HeaderName::try_from(*name).unwrap(), value.parse().unwrap());
                }
                let _gone = stream.send_trailers(fields);
            }
        }
    }

    /// Sends the last piece. Over HTTP/2, its frame ends the message.
    pub(crate) async fn end_with(&mut self, piece: &'static [u8]) {
        match self {
            Self::Http2(stream) => {
                let _gone = stream.send_data(Bytes::from_static(piece), true);
            }
            _ => {
                self.send(piece).await;
                self.end(&[]).await;
            }
        }
    }

    /// Aborts the message.
    pub(crate) fn abort(self) {
        if let Self::Http2(mut stream) = self {
            stream.send_reset(Reason::INTERNAL_ERROR);
        }
    }
}

/// A message that is being received.
pub(crate) struct Receiver {
    source: Source,
    /// Bytes received but not yet read.
    ahead: BytesMut,
    connection: Option<tokio::task::JoinHandle<()>>,
    /// Keeps the connection open.
    writer: Option<OwnedWriteHalf>,
}

enum Source {
    Http1 {
        reader: BufReader<OwnedReadHalf>,
        has_head: bool,
    },
    /// Before its head has arrived.
    Http2Head(ResponseFuture),
    Http2(RecvStream),
}

type Trailers = Vec<(String, String)>;

impl Drop for Receiver {
    fn drop(&mut self) {
        if let Some(connection) = &self.connection {
            connection.abort();
        }
    }
}

impl Receiver {
    /// Sends a GET request on a new connection.
    pub(crate) async fn get(to: SocketAddr, http2: bool) -> Self {
        Self::get_path(to, "/", http2).await
    }

    /// The same with this path.
    pub(crate) async fn get_path(to: SocketAddr, path: &str, http2: bool) -> Self {
        if http2 {
            return Self::get_many(to, path, 1).await.remove(0);
        }
        let (reader, mut writer) = TcpStream::connect(to).await.unwrap().into_split();
        writer.write_all(format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n").as_bytes()).await.unwrap();
        let source = Source::Http1 { reader: BufReader::new(reader), has_head: false };
        let mut response = Self::new(source);
        response.writer = Some(writer);
        response
    }

    fn new(source: Source) -> Self {
        Self { source, ahead: BytesMut::new(), connection: None, writer: None }
    }

    /// Begins a POST request on a new connection. Returns its body and the response.
    pub(crate) async fn post(to: SocketAddr, path: &str, http2: bool) -> (Live, Self) {
        let socket = TcpStream::connect(to).await.unwrap();
        if http2 {
            let (mut client, connection) = h2::client::handshake(socket).await.unwrap();
            let connection = tokio::spawn(async move {
                let _ended = connection.await;
            });
            let head = Request::post(format!("http://a{path}")).body(()).unwrap();
            let (response, body) = client.send_request(head, false).unwrap();
            let mut response = Self::new(Source::Http2Head(response));
            response.connection = Some(connection);
            return (Live::Http2(body), response);
        }
        let (reader, mut writer) = socket.into_split();
        let head = format!("POST {path} HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n");
        writer.write_all(head.as_bytes()).await.unwrap();
        let source = Source::Http1 { reader: BufReader::new(reader), has_head: false };
        (Live::Http1(writer), Self::new(source))
    }

    /// Sends several requests over one HTTP/2 connection, which ends with the first of them.
    pub(crate) async fn get_many(to: SocketAddr, path: &str, count: usize) -> Vec<Self> {
        let socket = TcpStream::connect(to).await.unwrap();
        // Unread bytes of one response don't keep the others from arriving.
        let mut client = h2::client::Builder::new();
        let (mut client, connection) =
            client.initial_connection_window_size(64 << 20).handshake::<_, Bytes>(socket).await.unwrap();
        let mut connection = Some(tokio::spawn(async move {
            let _ended = connection.await;
        }));
        let mut receivers = Vec::new();
        for _ in 0..count {
            let head = Request::get(format!("http://a{path}")).body(()).unwrap();
            let (response, _) = client.send_request(head, true).unwrap();
            let source = Source::Http2Head(response);
            let mut receiver = Self::new(source);
            receiver.connection = connection.take();
            receivers.push(receiver);
        }
        receivers
    }

    /// Receives the head, which must not declare a length.
    async fn head(&mut self) -> Result<(), String> {
        match &mut self.source {
            Source::Http1 { has_head: true, .. } | Source::Http2(_) => {}
            Source::Http1 { reader, has_head } => {
                let mut head = String::new();
                while !head.ends_with("\r\n\r\n") {
                    let read = timeout(LIMIT, reader.read_line(&mut head)).await.expect("a head");
                    if !matches!(read, Ok(1..)) {
                        return Err("the connection ended".into());
                    }
                }
                *has_head = head.starts_with("HTTP/1.1 200 ") && head.contains("transfer-encoding: chunked");
                if !*has_head {
                    return Err(head);
                }
            }
            Source::Http2Head(response) => {
                let response = timeout(LIMIT, response).await.expect("a head");
                let response = response.map_err(|error| error.to_string())?;
                let length = response.headers().get("content-length");
                if response.status().as_u16() != 200 || length.is_some() {
                    return Err(format!("{response:?}"));
                }
                self.source = Source::Http2(response.into_body());
            }
        }
        Ok(())
    }

    /// Receives the next piece. `None` at the end.
    async fn next(&mut self) -> Result<Option<Bytes>, String> {
        self.head().await?;
        match &mut self.source {
            Source::Http2Head(_) => Ok(None),
            Source::Http1 { reader, .. } => {
                let mut line = String::new();
                let read = timeout(LIMIT, reader.read_line(&mut line)).await.expect("a chunk");
                if !matches!(read, Ok(1..)) {
                    return Err("the connection ended".into());
                }
                let size = usize::from_str_radix(line.trim_end(), 16).map_err(|error| error.to_string())?;
                if size == 0 {
                    return Ok(None);
                }
                let mut piece = vec![0; size + 2];
                let read = timeout(LIMIT, reader.read_exact(&mut piece)).await.expect("a chunk's bytes");
                read.map_err(|error| error.to_string())?;
                piece.truncate(size);
                Ok(Some(piece.into()))
            }
            Source::Http2(stream) => match timeout(LIMIT, stream.data()).await.expect("a frame") {
                None => Ok(None),
                Some(Err(error)) => Err(error.to_string()),
                Some(Ok(piece)) => {
                    let _ended = stream.flow_control().release_capacity(piece.len());
                    Ok(Some(piece))
                }
            },
        }
    }

    /// Reads this many bytes.
    pub(crate) async fn read(&mut self, count: usize) -> Vec<u8> {
        while self.ahead.len() < count {
            let piece = self.next().await.unwrap().expect("more of the body");
            self.ahead.extend_from_slice(&piece);
        }
        self.ahead.split_to(count).to_vec()
    }

    /// Reads the rest, and the trailers.
    ///
    /// # Errors
    /// If the message is incomplete.
    pub(crate) async fn rest(&mut self) -> Result<(Vec<u8>, Trailers), String> {
        let mut rest = std::mem::take(&mut self.ahead).to_vec();
        while let Some(piece) = self.next().await? {
            rest.extend_from_slice(&piece);
        }
        let mut trailers = Vec::new();
        match &mut self.source {
            Source::Http2Head(_) => {}
            Source::Http1 { reader, .. } => loop {
                let mut line = String::new();
                if !matches!(timeout(LIMIT, reader.read_line(&mut line)).await.expect("a trailer"), Ok(1..)) {
                    return Err("the connection ended".into());
                }
                match line.trim_end().split_once(": ") {
                    Some((name, value)) => trailers.push((name.to_owned(), value.to_owned())),
                    None => break,
                }
            },
            Source::Http2(stream) => {
                let fields = timeout(LIMIT, stream.trailers()).await.expect("trailers");
                for (name, value) in &fields.map_err(|error| error.to_string())?.unwrap_or_default() {
                    trailers.push((name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()));
                }
            }
        }
        Ok((rest, trailers))
    }
}

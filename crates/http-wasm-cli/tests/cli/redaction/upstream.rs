//! An LLM-like upstream, which sends events as `text/event-stream`, split anywhere.

use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;

use flate2::Compression;
use flate2::write::GzEncoder;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

use super::events::Random;

/// An upstream's response.
#[derive(Clone, Default)]
pub(super) struct Answer {
    pub(super) body: Vec<u8>,
    pub(super) is_gzip: bool,
    /// Determines where it is split. `None`: it is sent as written.
    pub(super) seed: Option<u64>,
}

/// Responds to each request on a separate connection. `answer` gets the request's head in lower case. Returns the
/// address.
pub(super) async fn start(answer: impl Fn(&str) -> Answer + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let addr = listener.local_addr().expect("a bound listener has an address");
    let answer = Arc::new(answer);
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let answer = answer.clone();
            tokio::spawn(async move { serve(socket, &*answer).await.ok() });
        }
    });
    addr
}

/// Reads the head of a request. Returns `None` if the client has closed the connection.
pub(super) async fn read_head(stream: &mut BufReader<TcpStream>) -> std::io::Result<Option<String>> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if stream.read_line(&mut head).await? == 0 {
            return Ok(None);
        }
    }
    Ok(Some(head))
}

async fn serve(socket: TcpStream, answer: &(impl Fn(&str) -> Answer + ?Sized)) -> std::io::Result<()> {
    socket.set_nodelay(true)?;
    let mut stream = BufReader::new(socket);
    let Some(head) = read_head(&mut stream).await? else { return Ok(()) };
    let Answer { body, is_gzip, seed } = answer(&head.to_ascii_lowercase());
    let coding = if is_gzip { "content-encoding: gzip\r\n" } else { "" };
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n{coding}connection: close\r\n\
         transfer-encoding: chunked\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await?;
    let body = if is_gzip { gzip(&body)? } else { body };
    let mut random = seed.map(Random::new);
    let mut rest = &body[..];
    while !rest.is_empty() {
        let most = rest.len().min(16_384);
        let len = match &mut random {
            // Often a few bytes, sometimes many.
            Some(random) => {
                let bits = random.below(15);
                most.min(1 + random.below(1 << bits))
            }
            None => most,
        };
        let (piece, after) = rest.split_at(len);
        rest = after;
        let mut chunk = format!("{:x}\r\n", piece.len()).into_bytes();
        chunk.extend_from_slice(piece);
        chunk.extend_from_slice(b"\r\n");
        stream.write_all(&chunk).await?;
        if random.as_mut().is_some_and(|random| random.below(8) == 0) {
            tokio::task::yield_now().await;
        }
    }
    stream.write_all(b"0\r\n\r\n").await
}

/// Compresses the body with gzip, so that each 4 KiB can be decoded as they arrive.
pub(super) fn gzip(body: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    for piece in body.chunks(4096) {
        encoder.write_all(piece)?;
        encoder.flush()?;
    }
    encoder.finish()
}

//! The backend behind the host under test: responds as the request's `x-tck-answer` says, and remembers the requests.
//!
//! A request with `x-tck-fetch: ID` is answered with a report on the request that had `x-tck-id: ID`. The runner
//! therefore needs no connection to the backend except through the host.

mod answer;
mod received_request;

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWriteExt as _, BufWriter};
use tokio::net::{TcpListener, TcpStream};

pub use self::answer::Reply;
pub(crate) use self::answer::Timing;
pub use self::received_request::ReceivedRequest;
use crate::text::{from_hex, latin1};
use crate::wire::{Framed, Framing, Head, Reader, values, write_body, write_fields};

pub(crate) const ID: &str = "x-tck-id";
pub(crate) const FETCH: &str = "x-tck-fetch";
pub(crate) const ANSWER: &str = "x-tck-answer";

/// How long a connection stays open that is closed without reading a request's body.
const LINGER: Duration = Duration::from_millis(200);

/// How many requests are remembered.
const MEMORY: usize = 1024;

/// The kit's backend, bound to an address.
#[derive(Debug)]
pub struct Backend {
    listener: TcpListener,
    memory: Arc<Mutex<VecDeque<(String, ReceivedRequest)>>>,
}

impl Backend {
    /// Listens on `address`, HOST:PORT; port 0 selects any free port.
    ///
    /// # Errors
    /// If the address can't be listened on.
    pub async fn bind(address: &str) -> io::Result<Self> {
        Ok(Self { listener: TcpListener::bind(address).await?, memory: Arc::default() })
    }

    /// The address that it listens on.
    ///
    /// # Errors
    /// If the system doesn't report it.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Responds to requests until the future is dropped.
    pub async fn serve(self) {
        loop {
            let Ok((stream, _)) = self.listener.accept().await else {
                // Usually, file descriptors have run out, and some will soon be free.
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            };
            let connection = Connection { memory: self.memory.clone() };
            // A broken connection is the host's problem; the runner notices what the host didn't send.
            tokio::spawn(async move { connection.serve(stream).await.ok() });
        }
    }
}

struct Connection {
    memory: Arc<Mutex<VecDeque<(String, ReceivedRequest)>>>,
}

impl Connection {
    async fn serve(&self, mut stream: TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let (read, write) = stream.split();
        let (mut reader, mut writer) = (Reader::new(read), BufWriter::new(write));
        while let Some(head) = reader.head().await? {
            let mut seen = ReceivedRequest::of(&head);
            if values(&head.fields, "expect").any(|value| value.eq_ignore_ascii_case(b"100-continue")) {
                writer.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
                writer.flush().await?;
            }
            let fetched = values(&head.fields, FETCH).next().map(|id| self.recall(&latin1(id)));
            let is_fetch = fetched.is_some();
            let reply = fetched.unwrap_or_else(|| asked(&head));
            if reply.timing != Timing::Last {
                answer(&mut writer, &head, &reply).await?;
            }
            if !reply.closes() {
                reader.first_byte = None;
                seen.broken = receive(&mut seen, &mut reader, &head).await.err();
                let since = reader.first_byte.map(|first| first.elapsed()).unwrap_or_default();
                seen.streamed_ms = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
            }
            let is_last = seen.broken.is_some() || reply.is_cut || reply.framing == Framing::Close;
            if let Some(id) = values(&head.fields, ID).next()
                && !is_fetch
            {
                self.remember(latin1(id), seen);
            }
            match reply.timing {
                Timing::Last => answer(&mut writer, &head, &reply).await?,
                Timing::Early => {}
                Timing::EarlyAndLast => {
                    writer.shutdown().await?;
                    // To close it at once could reset the connection before the response is read.
                    tokio::time::sleep(LINGER).await;
                    return Ok(());
                }
            }
            if is_last {
                return Ok(());
            }
        }
        Ok(())
    }

    fn remember(&self, id: String, seen: ReceivedRequest) {
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        if memory.len() == MEMORY {
            memory.pop_front();
        }
        memory.push_back((id, seen));
    }

    fn recall(&self, id: &str) -> Reply {
        let memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        let found: Vec<&ReceivedRequest> =
            memory.iter().filter(|(other, _)| other == id).map(|(_, seen)| seen).collect();
        match serde_json::to_string(&found) {
            Ok(json) => Reply::text(200, &json),
            Err(_) => Reply::text(500, "the report is not JSON"),
        }
    }
}

/// Reads the body of a request. The error says what is wrong with it.
async fn receive<S: AsyncRead + Unpin>(
    seen: &mut ReceivedRequest,
    reader: &mut Reader<S>,
    head: &Head,
) -> Result<(), String> {
    let (framing, length) = head.framing()?;
    seen.framing = framing;
    let body = reader.body(framing, length).await.map_err(|error| error.to_string())?;
    seen.receive(&body.bytes, &body.trailers);
    Ok(())
}

fn asked(head: &Head) -> Reply {
    match values(&head.fields, ANSWER).next() {
        None => Reply::default(),
        Some(hex) => from_hex(hex)
            .and_then(|json| serde_json::from_slice(&json).ok())
            .unwrap_or_else(|| Reply::text(500, "x-tck-answer is damaged")),
    }
}

async fn answer(to: &mut (impl tokio::io::AsyncWrite + Unpin), head: &Head, reply: &Reply) -> io::Result<()> {
    for status in &reply.informational {
        to.write_all(format!("HTTP/1.1 {status} Early\r\nx-early: {status}\r\n\r\n").as_bytes()).await?;
        to.flush().await?;
    }
    let is_head = head.first.starts_with(b"HEAD ");
    let mut text = format!("HTTP/1.1 {} Answer\r\n", reply.status).into_bytes();
    write_fields(&mut text, &reply.fields());
    text.extend(b"\r\n");
    to.write_all(&text).await?;
    if is_head || matches!(reply.status, 100..=199 | 204 | 304) {
        return to.flush().await;
    }
    // The head is sent by itself, to detect a host that waits for more.
    if !reply.pause().is_zero() {
        to.flush().await?;
    }
    let framed = Framed {
        bytes: &reply.body.bytes(),
        framing: reply.framing,
        trailers: &reply.trailers(),
        piece: reply.piece,
        pause: reply.pause(),
        is_cut: reply.is_cut,
    };
    write_body(to, framed).await
}

//! Sending a request again.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, Uri, Version, header};
use http_body_util::{BodyExt as _, Full};
use http_wasm_gateway::counted;
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::exchange::{BODY_BYTES, Body, RequestHead};
use super::store::Store;

/// How long an exchange may take.
const LIMIT: Duration = Duration::from_secs(60);

/// How much of a response is read.
const MAX_RESPONSE: usize = 64 * 1024 * 1024;

/// Fields that belong to the connection or to the framing of the body. The client adds its own.
const OWN_FIELDS: [HeaderName; 8] = [
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::EXPECT,
    HeaderName::from_static("keep-alive"),
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// Sends the request of an exchange to the server again. Once the response is complete, returns the number of the new
/// exchange, if the request reached the guest.
///
/// # Errors
/// The reason why that isn't possible, for the page.
pub(super) async fn replay(store: &Store, id: u64, server: SocketAddr) -> Result<Option<u64>, String> {
    let exchange = store.exchange(id).ok_or("this exchange is no longer kept")?;
    let (head, body) = exchange.client_request().ok_or("its request isn't known yet")?;
    drop(exchange);
    let version = head.version;
    let request = build(&head, &body)?;
    let (from, sent) = match timeout(LIMIT, send(store, id, server, version, request)).await {
        Ok(sent) => sent?,
        Err(_) => return Err(format!("there was no response within {} seconds", LIMIT.as_secs())),
    };
    sent.map_err(|error| format!("the response can't be read: {error}"))?;
    Ok(store.exchange_from(from))
}

fn build(head: &RequestHead, body: &Body) -> Result<Request<Full<Bytes>>, String> {
    if head.method == Method::CONNECT || head.headers.contains_key(header::UPGRADE) {
        return Err("a request for a tunnel can't be sent again".to_owned());
    }
    if !body.is_complete || body.size > body.kept.len() as u64 {
        return Err(format!(
            "only part of its body is known: {} of it arrived, and at most {} KiB are kept",
            counted(usize::try_from(body.size).unwrap_or(usize::MAX), "byte"),
            BODY_BYTES / 1024
        ));
    }
    let mut request = Request::new(Full::new(Bytes::copy_from_slice(&body.kept)));
    let mut headers = head.headers.clone();
    OWN_FIELDS.iter().for_each(|name| drop(headers.remove(name)));
    let target = head.target();
    let host = headers.get(header::HOST).map_or("localhost", |host| host.to_str().unwrap_or("localhost"));
    let uri = match head.version {
        Version::HTTP_2 => format!("http://{host}{target}"),
        _ => target,
    };
    *request.uri_mut() = uri.parse::<Uri>().map_err(|error| format!("its target can't be sent: {error}"))?;
    if head.version == Version::HTTP_2 {
        headers.remove(header::HOST);
    } else if !headers.contains_key(header::HOST) {
        headers.insert(header::HOST, HeaderValue::from_static("localhost"));
    }
    *request.method_mut() = head.method.clone();
    *request.headers_mut() = headers;
    Ok(request)
}

/// Sends the request, and reads the response to its end. Returns the address from which it was sent.
async fn send(
    store: &Store,
    id: u64,
    server: SocketAddr,
    version: Version,
    request: Request<Full<Bytes>>,
) -> Result<(SocketAddr, Result<(), String>), String> {
    let failed = |error: &dyn std::fmt::Display| format!("the server can't be reached: {error}");
    let stream = TcpStream::connect(server).await.map_err(|error| failed(&error))?;
    let from = stream.local_addr().map_err(|error| failed(&error))?;
    store.expect_replay(from, id);
    let io = TokioIo::new(stream);
    let response = if version == Version::HTTP_2 {
        let (mut sender, connection) =
            http2::handshake(TokioExecutor::new(), io).await.map_err(|error| failed(&error))?;
        tokio::spawn(connection);
        sender.send_request(request).await
    } else {
        let (mut sender, connection) = http1::handshake(io).await.map_err(|error| failed(&error))?;
        tokio::spawn(connection);
        sender.send_request(request).await
    };
    let response = response.map_err(|error| failed(&error))?;
    Ok((from, read(response.into_body()).await))
}

async fn read(mut body: Incoming) -> Result<(), String> {
    let mut size = 0;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| error.to_string())?;
        size += frame.data_ref().map_or(0, Bytes::len);
        if size > MAX_RESPONSE {
            break;
        }
    }
    Ok(())
}

//! HTTP/2 with prior knowledge.

use std::convert::Infallible;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, HeaderName, HeaderValue, Version};
use http_body::Frame;
use http_body_util::{BodyExt as _, Empty, StreamBody};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

use super::message::{Request, Response, since};
use crate::wire::{Fields, Framing};

type Body = http_body_util::combinators::UnsyncBoxBody<Bytes, io::Error>;

pub(super) async fn send(stream: TcpStream, address: &str, request: &Request) -> io::Result<Response> {
    let (mut sender, connection) =
        http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.map_err(io::Error::other)?;
    let connection = Guard(tokio::spawn(connection));
    let mut message = message(address, request)?;
    let informational = Arc::new(Mutex::new(Vec::new()));
    let seen = informational.clone();
    hyper::ext::on_informational(&mut message, move |response| {
        seen.lock().unwrap_or_else(PoisonError::into_inner).push(response.status().as_u16());
    });
    let answer = sender.send_request(message).await.map_err(|error| io::Error::other(causes(&error)))?;
    let mut response = Response { status: answer.status().as_u16(), ..Response::default() };
    response.fields = from_map(answer.headers());
    if answer.headers().contains_key("content-length") {
        response.framing = Framing::Length;
    }
    let mut body = answer.into_body();
    let mut first = None;
    while let Some(frame) = body.frame().await {
        let frame = match frame {
            Ok(frame) => frame,
            Err(error) => {
                response.broken = Some(causes(&error));
                break;
            }
        };
        match frame.into_data() {
            Ok(data) => {
                if !data.is_empty() {
                    first.get_or_insert_with(Instant::now);
                }
                response.body.extend(data);
            }
            Err(frame) => response.trailers.extend(frame.trailers_ref().map(from_map).unwrap_or_default()),
        }
    }
    response.streamed = since(first);
    response.informational = informational.lock().unwrap_or_else(PoisonError::into_inner).clone();
    drop(connection);
    Ok(response)
}

/// Aborts the connection's task once the request is done.
struct Guard<T>(tokio::task::JoinHandle<T>);

impl<T> Drop for Guard<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn message(address: &str, request: &Request) -> io::Result<http::Request<Body>> {
    let authority = request.host.as_deref().unwrap_or(address);
    let uri = http::Uri::builder().scheme("http").authority(authority).path_and_query(&request.target[..]);
    let mut message = http::Request::new(body(request));
    *message.uri_mut() = uri.build().map_err(io::Error::other)?;
    *message.method_mut() = request.method.parse().map_err(io::Error::other)?;
    *message.version_mut() = Version::HTTP_2;
    *message.headers_mut() = to_map(&request.fields)?;
    if request.framing == Framing::Length {
        message.headers_mut().insert("content-length", HeaderValue::from(request.body.len()));
    }
    if !request.trailers.is_empty() {
        let names: Vec<&[u8]> = request.trailers.iter().map(|trailer| &trailer.0[..]).collect();
        let names = HeaderValue::from_bytes(&names.join(&b", "[..])).map_err(io::Error::other)?;
        message.headers_mut().insert("trailer", names);
    }
    Ok(message)
}

fn body(request: &Request) -> Body {
    if request.framing == Framing::None {
        return Empty::new().map_err(|never: Infallible| match never {}).boxed_unsync();
    }
    let bytes = Bytes::from(request.body.bytes());
    let piece = if request.piece == 0 { bytes.len().max(1) } else { request.piece };
    let pause = request.pause;
    let mut frames: Vec<io::Result<Frame<Bytes>>> =
        bytes.chunks(piece).map(|piece| Ok(Frame::data(Bytes::copy_from_slice(piece)))).collect();
    if !request.trailers.is_empty() {
        frames.push(Ok(Frame::trailers(to_map(&request.trailers).unwrap_or_default())));
    }
    if request.is_cut {
        frames.push(Err(io::ErrorKind::ConnectionAborted.into()));
    }
    let frames = stream::unfold((frames.into_iter(), true), move |(mut frames, first)| async move {
        let frame = frames.next()?;
        if !first && !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
        Some((frame, (frames, false)))
    });
    StreamBody::new(frames).boxed_unsync()
}

fn to_map(fields: &Fields) -> io::Result<HeaderMap> {
    let mut map = HeaderMap::new();
    for (name, value) in fields {
        let name = HeaderName::from_bytes(name).map_err(io::Error::other)?;
        map.append(name, HeaderValue::from_bytes(value).map_err(io::Error::other)?);
    }
    Ok(map)
}

fn from_map(map: &HeaderMap) -> Fields {
    map.iter().map(|(name, value)| (name.as_str().into(), value.as_bytes().to_vec())).collect()
}

fn causes(error: &hyper::Error) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

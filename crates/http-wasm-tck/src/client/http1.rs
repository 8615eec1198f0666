//! HTTP/1.1.

use std::io;

use tokio::io::{AsyncWriteExt as _, BufWriter};
use tokio::net::TcpStream;

use super::message::{Request, Response, since};
use crate::wire::{Fields, Framed, Framing, Head, Reader, write_body, write_fields};

pub(super) async fn send(stream: TcpStream, address: &str, request: &Request) -> io::Result<Response> {
    let (read, write) = stream.into_split();
    let mut reader = Reader::new(read);
    let mut writer = BufWriter::new(write);
    // Write and read at the same time: a host may respond, and stop reading, before it has the whole request.
    let write = async {
        let mut head = format!("{} {} {}\r\n", request.method, request.target, request.version).into_bytes();
        write_fields(&mut head, &fields(address, request));
        head.extend(b"\r\n");
        writer.write_all(&head).await?;
        let framed = Framed {
            bytes: &request.body.bytes(),
            framing: request.framing,
            trailers: &request.trailers,
            piece: request.piece,
            pause: request.pause,
            is_cut: request.is_cut,
        };
        write_body(&mut writer, framed).await?;
        if request.is_cut {
            return Err(closed("the client has aborted the request"));
        }
        // The connection stays open for writing, because some servers treat a half-closed connection as a disconnected
        // client.
        std::future::pending::<io::Result<()>>().await
    };
    let read = read_response(&mut reader, request);
    tokio::pin!(read);
    tokio::select! {
        result = &mut read => result,
        failed = write => match failed {
            // Both halves are dropped, which closes the connection.
            Err(error) if request.is_cut => Err(error),
            failed => match read.await {
                Ok(response) => Ok(response),
                Err(error) => failed.and(Err(error)),
            },
        },
    }
}

fn fields(address: &str, request: &Request) -> Fields {
    let host = request.host.as_deref().unwrap_or(address);
    let mut fields = vec![(b"Host".to_vec(), host.as_bytes().to_vec())];
    fields.extend(request.fields.iter().cloned());
    match request.framing {
        Framing::None | Framing::Close => {}
        Framing::Length => {
            fields.push((b"Content-Length".to_vec(), request.body.len().to_string().into_bytes()));
        }
        Framing::Chunked => fields.push((b"Transfer-Encoding".to_vec(), b"chunked".to_vec())),
    }
    if !request.trailers.is_empty() {
        let names: Vec<&[u8]> = request.trailers.iter().map(|trailer| &trailer.0[..]).collect();
        fields.push((b"Trailer".to_vec(), names.join(&b", "[..])));
    }
    fields
}

async fn read_response(
    reader: &mut Reader<impl tokio::io::AsyncRead + Unpin>,
    request: &Request,
) -> io::Result<Response> {
    let mut response = Response::default();
    let head = loop {
        let head =
            reader.head().await?.ok_or_else(|| closed("the connection was closed without a response"))?;
        match status(&head)? {
            status @ (100 | 102..=199) => response.informational.push(status),
            status => {
                response.status = status;
                break head;
            }
        }
    };
    let bodiless = request.method == "HEAD" || matches!(response.status, 101 | 204 | 304);
    let framing = head.framing();
    response.fields = head.fields;
    match framing {
        Err(reason) => response.broken = Some(reason),
        Ok((framing, length)) => {
            response.framing = framing;
            let framing = match framing {
                _ if bodiless => Framing::None,
                Framing::None => Framing::Close,
                framing => framing,
            };
            match reader.body(framing, length).await {
                Ok(body) => (response.body, response.trailers) = (body.bytes, body.trailers),
                Err(error) => response.broken = Some(error.to_string()),
            }
        }
    }
    response.streamed = since(reader.first_byte);
    Ok(response)
}

fn status(head: &Head) -> io::Result<u16> {
    let mut parts = head.first.split(|&byte| byte == b' ');
    let version = parts.next().unwrap_or_default();
    let code = parts.next().and_then(|code| std::str::from_utf8(code).ok()?.parse().ok());
    match code {
        Some(code) if version.starts_with(b"HTTP/1.") => Ok(code),
        _ => Err(closed("not an HTTP/1.1 response")),
    }
}

fn closed(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

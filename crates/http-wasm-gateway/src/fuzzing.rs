//! What fuzzers outside this crate look at. Not part of its API.

use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use http::Method;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::http1::response::{Limits, Refused, ResponseReader};

/// What the reader of upstream responses makes of some bytes.
#[derive(Debug, PartialEq, Eq)]
pub struct ReadResponse {
    /// What it passes on.
    pub passed: Vec<u8>,
    /// Why it refused the rest.
    pub refused: Option<String>,
    /// Whether the connection may carry another request.
    pub may_reuse: bool,
}

/// Has the reader read what an upstream sends in answer to one request before it closes. `piece` is called for the
/// number of bytes that arrive next.
pub fn read_response(method: &Method, response: &[u8], piece: &mut dyn FnMut() -> usize) -> ReadResponse {
    let (mut reader, handle) = ResponseReader::new(Pieces { rest: response, piece }, Limits::default());
    handle.begin(method);
    let mut cx = Context::from_waker(Waker::noop());
    let mut read = ReadResponse { passed: Vec::new(), refused: None, may_reuse: true };
    let written = pin!(&mut reader).poll_write(&mut cx, b"G");
    assert!(matches!(written, Poll::Ready(Ok(1))), "{written:?}");
    let mut room = vec![0; 4096];
    loop {
        let mut buf = ReadBuf::new(&mut room);
        let polled = pin!(&mut reader).poll_read(&mut cx, &mut buf);
        read.passed.extend_from_slice(buf.filled());
        match polled {
            Poll::Ready(Ok(())) if !buf.filled().is_empty() => read.may_reuse = handle.may_reuse(),
            Poll::Ready(Ok(())) => return read,
            Poll::Ready(Err(error)) => {
                assert!(buf.filled().is_empty(), "bytes beside an error");
                assert!(Refused::cause_of(&error).is_some(), "{error}");
                read.refused = Some(error.to_string());
                read.may_reuse = handle.may_reuse();
                return read;
            }
            Poll::Pending => unreachable!("all bytes are there"),
        }
    }
}

/// A connection on which bytes arrive in pieces.
struct Pieces<'a> {
    rest: &'a [u8],
    piece: &'a mut dyn FnMut() -> usize,
}

impl AsyncRead for Pieces<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let size = (self.piece)().clamp(1, buf.remaining().max(1)).min(self.rest.len());
        let (piece, rest) = self.rest.split_at(size);
        buf.put_slice(piece);
        self.rest = rest;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Pieces<'_> {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

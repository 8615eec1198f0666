//! Data that is sent to a client without hyper.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::Response;
use tokio::io::AsyncWrite;

use crate::exchange::write_interim;
use crate::listener::date;

/// Bytes that are written before any others.
#[derive(Debug, Default)]
pub(super) struct PrependedBytes {
    bytes: Vec<u8>,
    written: usize,
    /// Whether the response to a head that took too long has been started.
    timed_out: bool,
}

impl PrependedBytes {
    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Adds an informational response.
    pub(super) fn interim(&mut self, response: &Response<()>) {
        write_interim(response, &mut self.bytes);
    }

    /// Responds to a head that took too long.
    pub(super) fn poll_timeout<S: AsyncWrite + Unpin>(
        &mut self,
        io: &mut S,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        if !std::mem::replace(&mut self.timed_out, true) {
            const TEXT: &str = "the request took too long\n";
            let head = [b"HTTP/1.1 408 Request Timeout\r\ndate: ", date::now().as_bytes()].concat();
            let fields = "\r\ncontent-type: text/plain; charset=utf-8\r\nconnection: close\r\n";
            self.bytes.extend_from_slice(&head);
            let rest = format!("{fields}content-length: {}\r\n\r\n{TEXT}", TEXT.len());
            self.bytes.extend_from_slice(rest.as_bytes());
        }
        self.poll(io, cx)
    }

    /// Ready once all of it has been written.
    pub(super) fn poll<S: AsyncWrite + Unpin>(
        &mut self,
        io: &mut S,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while self.written < self.bytes.len() {
            let rest = &self.bytes[self.written..];
            match ready!(Pin::new(&mut *io).poll_write(cx, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.written += written,
            }
        }
        ready!(Pin::new(io).poll_flush(cx))?;
        *self = Self { timed_out: self.timed_out, ..Self::default() };
        Poll::Ready(Ok(()))
    }
}

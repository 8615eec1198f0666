//! Messages on their way to a connection.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use tokio::io::AsyncWrite;

use super::decimal;

/// How much of the buffer is kept between messages, in bytes.
const KEPT_CAPACITY: usize = 4 * 1024;

/// Pieces of a body up to this size are copied, so that they are written together with what surrounds them.
const COPIED: usize = 2 * 1024;

/// How many bytes are collected before they are written.
const FULL: usize = 16 * 1024;

/// How a body is delimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Coding {
    /// This many bytes are left.
    Length(u64),
    Chunked,
    /// It ends with the connection.
    UntilClose,
}

/// A body doesn't have the length that its head declares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum WrongLength {
    #[error("the body is longer than its Content-Length")]
    TooLong,
    #[error("the body is shorter than its Content-Length")]
    TooShort,
}

/// What is to be written to a connection next: heads and small pieces of bodies, and after them a larger piece.
#[derive(Debug, Default)]
pub(crate) struct WriteBuffer {
    bytes: Vec<u8>,
    /// How much of `bytes` has been written.
    written: usize,
    /// A larger piece of a body, to be written after `bytes`.
    data: Bytes,
    /// What follows `data`.
    end: &'static [u8],
    unflushed: bool,
    /// Whether any of the message has been written.
    begun: bool,
}

impl WriteBuffer {
    /// Starts a message. The previous one must have been written.
    pub(crate) fn begin(&mut self) -> &mut Vec<u8> {
        self.release();
        (self.written, self.begun) = (0, false);
        &mut self.bytes
    }

    /// Frees what an idle connection doesn't need. Everything must have been written.
    pub(crate) fn release(&mut self) {
        self.bytes.clear();
        self.bytes.shrink_to(KEPT_CAPACITY);
    }

    /// Whether any of the message has been written.
    pub(crate) fn has_begun(&self) -> bool {
        self.begun
    }

    /// Whether everything has been written and flushed.
    pub(crate) fn is_flushed(&self) -> bool {
        !self.unflushed && !self.has_bytes()
    }

    /// Whether there is room for more.
    pub(crate) fn has_room(&self) -> bool {
        self.data.is_empty() && self.end.is_empty() && self.bytes.len() < FULL
    }

    /// Where to add heads. There must be no piece of a body before it that is still to be written.
    pub(crate) fn bytes(&mut self) -> &mut Vec<u8> {
        debug_assert!(self.data.is_empty() && self.end.is_empty());
        &mut self.bytes
    }

    /// Adds a piece of a body, which may be empty, and its end if it is the `last` one. There must be room.
    pub(crate) fn data(&mut self, coding: &mut Coding, data: Bytes, last: bool) -> Result<(), WrongLength> {
        match coding {
            Coding::Length(left) => {
                *left = left.checked_sub(data.len() as u64).ok_or(WrongLength::TooLong)?;
                self.push(data, b"");
                if last { self.end(*coding, None) } else { Ok(()) }
            }
            // An empty chunk would be the last one.
            Coding::Chunked if data.is_empty() => {
                if last {
                    self.end(*coding, None)
                } else {
                    Ok(())
                }
            }
            Coding::Chunked => {
                self.chunk_size(data.len());
                self.push(data, if last { b"\r\n0\r\n\r\n" } else { b"\r\n" });
                Ok(())
            }
            Coding::UntilClose => {
                self.push(data, b"");
                Ok(())
            }
        }
    }

    /// Adds the end of a body. Only chunked bodies have trailers. There must be room.
    pub(crate) fn end(&mut self, coding: Coding, trailers: Option<&HeaderMap>) -> Result<(), WrongLength> {
        match coding {
            Coding::Chunked => {
                self.bytes.extend_from_slice(b"0\r\n");
                for (name, value) in trailers.into_iter().flatten() {
                    write_field(&mut self.bytes, name, value);
                }
                self.bytes.extend_from_slice(b"\r\n");
                Ok(())
            }
            Coding::Length(1..) => Err(WrongLength::TooShort),
            Coding::Length(0) | Coding::UntilClose => Ok(()),
        }
    }

    /// Adds data, and what follows it.
    fn push(&mut self, data: Bytes, end: &'static [u8]) {
        debug_assert!(self.has_room());
        if data.len() <= COPIED {
            self.bytes.extend_from_slice(&data);
            self.bytes.extend_from_slice(end);
        } else {
            (self.data, self.end) = (data, end);
        }
    }

    /// Adds the start of a chunk.
    fn chunk_size(&mut self, size: usize) {
        let mut digits = [0; usize::BITS as usize / 4];
        let (mut at, mut rest) = (digits.len(), size);
        while rest > 0 || at == digits.len() {
            at -= 1;
            digits[at] = b"0123456789abcdef"[rest % 16];
            rest /= 16;
        }
        self.bytes.extend_from_slice(&digits[at..]);
        self.bytes.extend_from_slice(b"\r\n");
    }

    /// Writes and flushes everything.
    pub(crate) fn poll(
        &mut self,
        io: &mut (impl AsyncWrite + Unpin),
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while self.has_bytes() {
            self.unflushed = true;
            let bytes = &self.bytes[self.written..];
            let written = if self.data.is_empty() && self.end.is_empty() {
                ready!(Pin::new(&mut *io).poll_write(cx, bytes))?
            } else if io.is_write_vectored() {
                let all = [IoSlice::new(bytes), IoSlice::new(&self.data), IoSlice::new(self.end)];
                ready!(Pin::new(&mut *io).poll_write_vectored(cx, &all))?
            } else {
                let next = [bytes, &self.data, self.end].into_iter().find(|part| !part.is_empty());
                ready!(Pin::new(&mut *io).poll_write(cx, next.unwrap_or_default()))?
            };
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.advance(written);
        }
        if self.unflushed {
            ready!(Pin::new(io).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    fn has_bytes(&self) -> bool {
        self.written < self.bytes.len() || !self.data.is_empty() || !self.end.is_empty()
    }

    fn advance(&mut self, mut written: usize) {
        self.begun = true;
        let bytes = written.min(self.bytes.len() - self.written);
        self.written += bytes;
        written -= bytes;
        let data = written.min(self.data.len());
        self.data.advance(data);
        if self.data.is_empty() {
            // Even an empty `Bytes` keeps its memory.
            self.data = Bytes::new();
        }
        self.end = &self.end[written - data..];
        if self.written == self.bytes.len() {
            self.bytes.clear();
            self.written = 0;
        }
    }
}

/// The length of a body that `headers`, which are about to be written, declare.
pub(crate) fn content_length(headers: &HeaderMap) -> Option<u64> {
    decimal(headers.get(header::CONTENT_LENGTH)?.as_bytes())
}

/// Adds a field line.
pub(crate) fn write_field(buffer: &mut Vec<u8>, name: &HeaderName, value: &HeaderValue) {
    let (name, value) = (name.as_str().as_bytes(), value.as_bytes());
    buffer.reserve(name.len() + value.len() + 4);
    buffer.extend_from_slice(name);
    buffer.extend_from_slice(b": ");
    buffer.extend_from_slice(value);
    buffer.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::sync::Arc;

    use bytes::Bytes;
    use http::{HeaderMap, HeaderValue};
    use tokio::io::AsyncReadExt as _;

    use super::{COPIED, Coding, WriteBuffer, WrongLength};

    #[test]
    fn chunk_sizes_are_hexadecimal_without_leading_zeros() {
        for size in [0, 1, 15, 16, 255, 4096, 0x10_0000, usize::MAX] {
            let mut buffer = WriteBuffer::default();
            buffer.chunk_size(size);
            assert_eq!(buffer.bytes, format!("{size:x}\r\n").as_bytes());
        }
    }

    #[test]
    fn only_the_end_of_a_chunked_body_is_a_chunk_without_data() {
        let mut trailers = HeaderMap::new();
        trailers.insert("x-sum", HeaderValue::from_static("1"));
        for (trailers, expected) in [(None, "0\r\n\r\n"), (Some(&trailers), "0\r\nx-sum: 1\r\n\r\n")] {
            let (mut buffer, mut coding) = (WriteBuffer::default(), Coding::Chunked);
            buffer.data(&mut coding, Bytes::new(), false).unwrap();
            buffer.data(&mut coding, Bytes::from_static(b"abc"), false).unwrap();
            buffer.end(coding, trailers).unwrap();
            assert_eq!(buffer.bytes, format!("3\r\nabc\r\n{expected}").as_bytes());
        }
        for data in ["", "abc"] {
            let mut buffer = WriteBuffer::default();
            buffer.data(&mut Coding::Chunked, Bytes::from(data), true).unwrap();
            assert!(
                buffer.bytes.ends_with(b"0\r\n\r\n")
                    && buffer.bytes.iter().filter(|&&byte| byte == b'0').count() == 1
            );
        }
    }

    #[test]
    fn a_body_must_have_the_declared_length() {
        let data = Bytes::from_static(b"abc");
        let mut buffer = WriteBuffer::default();
        let mut coding = Coding::Length(6);
        assert_eq!(buffer.data(&mut coding, data.clone(), true), Err(WrongLength::TooShort));
        assert_eq!(buffer.end(coding, None), Err(WrongLength::TooShort));
        assert_eq!(buffer.data(&mut coding, data.clone(), true), Ok(()));
        assert_eq!((buffer.end(coding, None), coding), (Ok(()), Coding::Length(0)));
        assert_eq!(buffer.data(&mut coding, data, false), Err(WrongLength::TooLong));
    }

    #[tokio::test]
    async fn a_piece_that_has_been_written_is_freed() {
        let piece = Arc::new([b'x'; COPIED + 1]);
        let (mut buffer, mut io) = (WriteBuffer::default(), tokio::io::sink());
        buffer.data(&mut Coding::Chunked, Bytes::from_owner(Piece(piece.clone())), true).unwrap();
        assert_eq!(Arc::strong_count(&piece), 2);
        poll_fn(|cx| buffer.poll(&mut io, cx)).await.unwrap();
        assert_eq!(Arc::strong_count(&piece), 1);
    }

    struct Piece(Arc<[u8; COPIED + 1]>);

    impl AsRef<[u8]> for Piece {
        fn as_ref(&self) -> &[u8] {
            &*self.0
        }
    }

    #[tokio::test]
    async fn small_and_large_pieces_are_written_in_order_whatever_the_connection_accepts() {
        for accepted in [1, 7, 100_000] {
            let (mut near, mut far) = tokio::io::duplex(accepted);
            let reader = tokio::spawn(async move {
                let mut all = Vec::new();
                far.read_to_end(&mut all).await.map(|_| all)
            });
            let (mut buffer, mut expected) = (WriteBuffer::default(), Vec::new());
            for size in [3, COPIED, COPIED + 1, 1, 3 * COPIED] {
                buffer.begin().extend_from_slice(b"head ");
                assert!(!buffer.has_begun());
                buffer.data(&mut Coding::Chunked, Bytes::from(vec![b'x'; size]), true).unwrap();
                assert_eq!(buffer.has_room(), size <= COPIED);
                poll_fn(|cx| buffer.poll(&mut near, cx)).await.unwrap();
                assert!(buffer.has_begun() && buffer.is_flushed() && buffer.has_room());
                expected.extend(format!("head {size:x}\r\n{}\r\n0\r\n\r\n", "x".repeat(size)).into_bytes());
            }
            drop(near);
            assert!(reader.await.unwrap().unwrap() == expected, "{accepted}");
        }
    }
}

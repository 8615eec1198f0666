//! Reading messages.

use std::io;
use std::time::Instant;

use tokio::io::{AsyncRead, AsyncReadExt as _};

use super::head::{Fields, Framing, Head};

/// More than any case sends.
const MAX_LINE_LEN: usize = 1024 * 1024;

/// Reads messages from a connection.
pub(crate) struct Reader<S> {
    stream: S,
    buffer: Vec<u8>,
    /// When the first byte of a body arrived.
    pub(crate) first_byte: Option<Instant>,
}

/// A body with its trailers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Body {
    pub(crate) bytes: Vec<u8>,
    pub(crate) trailers: Fields,
}

impl<S: AsyncRead + Unpin> Reader<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self { stream, buffer: Vec::new(), first_byte: None }
    }

    /// The next message's head; `None` if the peer closed the connection instead.
    pub(crate) async fn head(&mut self) -> io::Result<Option<Head>> {
        let first = match self.line().await {
            Ok(line) => line,
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof && self.buffer.is_empty() => {
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        Ok(Some(Head { first, fields: self.fields().await? }))
    }

    /// Reads a body with this framing.
    pub(crate) async fn body(&mut self, framing: Framing, length: u64) -> io::Result<Body> {
        let mut body = Body::default();
        match framing {
            Framing::None => {}
            Framing::Length => self.exactly(length, &mut body.bytes).await?,
            Framing::Close => {
                while self.fill().await? {
                    self.first_byte.get_or_insert_with(Instant::now);
                }
                body.bytes = std::mem::take(&mut self.buffer);
            }
            Framing::Chunked => loop {
                let line = self.line().await?;
                let size = std::str::from_utf8(&line).ok().and_then(|text| {
                    u64::from_str_radix(text.split(';').next().unwrap_or_default().trim(), 16).ok()
                });
                match size.ok_or_else(|| invalid("a chunk without a size"))? {
                    0 => {
                        body.trailers = self.fields().await?;
                        break;
                    }
                    size => {
                        self.exactly(size, &mut body.bytes).await?;
                        if !self.line().await?.is_empty() {
                            return Err(invalid("a chunk longer than its size"));
                        }
                    }
                }
            },
        }
        Ok(body)
    }

    async fn exactly(&mut self, length: u64, to: &mut Vec<u8>) -> io::Result<()> {
        let mut left = usize::try_from(length).map_err(|_| invalid("a body too long"))?;
        while left > 0 {
            if self.buffer.is_empty() && !self.fill().await? {
                return Err(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    format!("the body ended prematurely, {left} bytes short"),
                ));
            }
            self.first_byte.get_or_insert_with(Instant::now);
            let len = left.min(self.buffer.len());
            to.extend(self.buffer.drain(..len));
            left -= len;
        }
        Ok(())
    }

    async fn fields(&mut self) -> io::Result<Fields> {
        let mut fields = Fields::new();
        loop {
            let line = self.line().await?;
            if line.is_empty() {
                return Ok(fields);
            }
            let colon = line.iter().position(|&byte| byte == b':');
            let colon = colon.ok_or_else(|| invalid("a header line without a colon"))?;
            fields.push((line[..colon].to_vec(), line[colon + 1..].trim_ascii().to_vec()));
        }
    }

    /// Reads a line, without its line break. A bare LF is accepted as well, as it is by many peers.
    async fn line(&mut self) -> io::Result<Vec<u8>> {
        let mut searched = 0;
        loop {
            if let Some(at) = self.buffer[searched..].iter().position(|&byte| byte == b'\n') {
                let mut line: Vec<u8> = self.buffer.drain(..=searched + at).collect();
                line.pop();
                if line.last() == Some(&b'\r') {
                    line.pop();
                }
                return Ok(line);
            }
            searched = self.buffer.len();
            if searched > MAX_LINE_LEN {
                return Err(invalid("an endless line"));
            }
            if !self.fill().await? {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the connection was closed"));
            }
        }
    }

    async fn fill(&mut self) -> io::Result<bool> {
        Ok(self.stream.read_buf(&mut self.buffer).await? > 0)
    }
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn chunks_trailers_and_following_bytes_are_separated() {
        let bytes = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n1;x\r\nd\r\n0\r\n\
            X-Sum: 1\r\n\r\nGET";
        let mut reader = Reader::new(&bytes[..]);
        let head = reader.head().await.unwrap().unwrap();
        assert_eq!(head.first, b"POST / HTTP/1.1");
        let (framing, length) = head.framing().unwrap();
        let body = reader.body(framing, length).await.unwrap();
        assert_eq!(body.bytes, b"abcd");
        assert_eq!(body.trailers, [(b"X-Sum".to_vec(), b"1".to_vec())]);
        assert!(reader.head().await.is_err());
        assert!(Reader::new(&b""[..]).head().await.unwrap().is_none());
    }

    #[tokio::test]
    async fn a_body_that_breaks_off_is_an_error() {
        assert!(Reader::new(&b"ab"[..]).body(Framing::Length, 3).await.is_err());
        assert!(Reader::new(&b"5\r\nab"[..]).body(Framing::Chunked, 0).await.is_err());
    }
}

//! Writing messages.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncWrite, AsyncWriteExt as _};

use super::head::{Fields, Framing};

/// A body and how it is sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Framed<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) framing: Framing,
    pub(crate) trailers: &'a Fields,
    /// The size of pieces; 0 to send the body at once.
    pub(crate) piece: usize,
    /// The pause before each piece except the first.
    pub(crate) pause: Duration,
    /// The body ends without its last chunk.
    pub(crate) is_cut: bool,
}

/// Writes a body.
pub(crate) async fn write_body<S: AsyncWrite + Unpin>(to: &mut S, body: Framed<'_>) -> io::Result<()> {
    let piece = if body.piece == 0 { body.bytes.len().max(1) } else { body.piece };
    for (i, bytes) in body.bytes.chunks(piece).enumerate() {
        if i > 0 && !body.pause.is_zero() {
            to.flush().await?;
            tokio::time::sleep(body.pause).await;
        }
        if body.framing == Framing::Chunked {
            let chunk = [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat();
            to.write_all(&chunk).await?;
        } else {
            to.write_all(bytes).await?;
        }
    }
    if body.framing == Framing::Chunked && !body.is_cut {
        let mut end = b"0\r\n".to_vec();
        write_fields(&mut end, body.trailers);
        end.extend(b"\r\n");
        to.write_all(&end).await?;
    }
    to.flush().await
}

/// Appends header lines.
pub(crate) fn write_fields(to: &mut Vec<u8>, fields: &Fields) {
    for (name, value) in fields {
        to.extend(name);
        to.extend(b": ");
        to.extend(value);
        to.extend(b"\r\n");
    }
}

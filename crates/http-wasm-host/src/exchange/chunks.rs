//! Body bytes in order, kept without one allocation per tiny piece.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

/// Pieces shorter than this are copied together, all but the first: a peer that sends single bytes would otherwise pin one
/// receive buffer for each.
const COALESCE_BELOW: usize = 1024;

/// Body bytes in order.
#[derive(Clone, Debug, Default)]
pub struct Chunks {
    /// The first piece, if there is a closed one: most bodies have no other.
    front: Bytes,
    more: Option<Box<More>>,
    len: usize,
}

/// What comes after the first piece.
#[derive(Clone, Debug, Default)]
struct More {
    closed: VecDeque<Bytes>,
    /// Small pieces, not yet closed; they come after the others.
    tail: BytesMut,
}

impl Chunks {
    /// The number of bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no byte.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Appends bytes that can be shared.
    pub fn push(&mut self, piece: Bytes) {
        // One that is alone pins no more than one buffer.
        if piece.len() < COALESCE_BELOW && !self.is_empty() {
            return self.extend_from_slice(&piece);
        }
        self.len += piece.len();
        self.close_tail();
        self.close(piece);
    }

    /// Appends a copy of `piece`.
    pub fn extend_from_slice(&mut self, piece: &[u8]) {
        self.len += piece.len();
        self.more.get_or_insert_default().tail.extend_from_slice(piece);
    }

    /// Takes the first piece out.
    pub fn pop(&mut self) -> Option<Bytes> {
        self.close_tail();
        if self.front.is_empty() {
            return None;
        }
        let next = self.more.as_mut().and_then(|more| more.closed.pop_front()).unwrap_or_default();
        let piece = std::mem::replace(&mut self.front, next);
        self.len -= piece.len();
        Some(piece)
    }

    /// All of it, if it is one piece.
    pub(crate) fn into_whole(mut self) -> Result<Bytes, Self> {
        self.close_tail();
        if self.len == self.front.len() { Ok(self.front) } else { Err(self) }
    }

    /// Copies bytes from the front into `buf` and hands the pieces that were copied to `taken`.
    pub(crate) fn read(&mut self, buf: &mut [u8], mut taken: impl FnMut(Bytes)) {
        self.close_tail();
        let mut read = 0;
        while read < buf.len() && !self.front.is_empty() {
            let piece = self.take(buf.len() - read);
            buf[read..read + piece.len()].copy_from_slice(&piece);
            read += piece.len();
            taken(piece);
        }
    }

    /// Drops `len` bytes from the front.
    pub(crate) fn skip(&mut self, mut len: usize) {
        self.close_tail();
        while len > 0 && !self.front.is_empty() {
            len -= self.take(len).len();
        }
    }

    /// Takes up to `len` bytes of the first piece.
    fn take(&mut self, len: usize) -> Bytes {
        if len >= self.front.len() {
            return self.pop().unwrap_or_default();
        }
        self.len -= len;
        self.front.split_to(len)
    }

    fn close_tail(&mut self) {
        if let Some(more) = &mut self.more
            && !more.tail.is_empty()
        {
            let tail = more.tail.split().freeze();
            self.close(tail);
        }
    }

    /// Appends to the closed pieces.
    fn close(&mut self, piece: Bytes) {
        if self.front.is_empty() {
            self.front = piece;
        } else if !piece.is_empty() {
            self.more.get_or_insert_default().closed.push_back(piece);
        }
    }
}

impl From<Bytes> for Chunks {
    fn from(bytes: Bytes) -> Self {
        Self { len: bytes.len(), front: bytes, more: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_out_in_the_order_they_went_in_whatever_their_pieces() {
        let mut chunks = Chunks::default();
        let mut expected = Vec::new();
        for size in [1, 5000, 3, 0, 2000, 1, 1, 1023, 1024] {
            let piece = vec![size as u8; size];
            expected.extend_from_slice(&piece);
            chunks.push(piece.into());
        }
        assert_eq!(chunks.len(), expected.len());
        let mut head = [0; 4000];
        let mut taken = 0;
        chunks.read(&mut head, |piece| taken += piece.len());
        assert_eq!(taken, 4000);
        let mut out = head.to_vec();
        while let Some(piece) = chunks.pop() {
            out.extend_from_slice(&piece);
        }
        assert!(chunks.is_empty());
        assert_eq!(out, expected);
    }
}

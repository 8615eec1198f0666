//! Body bytes in order, kept without one allocation per tiny piece.

use std::collections::VecDeque;

use bytes::{Buf, Bytes, BytesMut};

/// Pieces shorter than this are copied together: a peer that sends single bytes would otherwise pin one receive
/// buffer for each.
const COALESCE_BELOW: usize = 1024;

/// Body bytes in order.
#[derive(Clone, Debug, Default)]
pub struct Chunks {
    whole: VecDeque<Bytes>,
    /// Small pieces, not yet closed; they come after `whole`.
    tail: BytesMut,
    len: usize,
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
        if piece.len() < COALESCE_BELOW {
            return self.extend_from_slice(&piece);
        }
        self.len += piece.len();
        self.close_tail();
        self.whole.push_back(piece);
    }

    /// Appends a copy of `piece`.
    pub fn extend_from_slice(&mut self, piece: &[u8]) {
        self.len += piece.len();
        self.tail.extend_from_slice(piece);
    }

    /// Takes the first piece out.
    pub fn pop(&mut self) -> Option<Bytes> {
        self.close_tail();
        let piece = self.whole.pop_front()?;
        self.len -= piece.len();
        Some(piece)
    }

    /// Copies bytes from the front into `buf` and hands the pieces that were copied to `taken`.
    pub(crate) fn read(&mut self, buf: &mut [u8], mut taken: impl FnMut(Bytes)) {
        self.close_tail();
        let mut read = 0;
        while read < buf.len() {
            let Some(front) = self.whole.front_mut() else { break };
            let piece = front.split_to(front.len().min(buf.len() - read));
            buf[read..read + piece.len()].copy_from_slice(&piece);
            read += piece.len();
            if front.is_empty() {
                self.whole.pop_front();
            }
            taken(piece);
        }
        self.len -= read;
    }

    /// Drops `len` bytes from the front.
    pub(crate) fn skip(&mut self, mut len: usize) {
        self.close_tail();
        while let Some(front) = self.whole.front_mut().filter(|_| len > 0) {
            let skipped = front.len().min(len);
            front.advance(skipped);
            if front.is_empty() {
                self.whole.pop_front();
            }
            (self.len, len) = (self.len - skipped, len - skipped);
        }
    }

    fn close_tail(&mut self) {
        if !self.tail.is_empty() {
            self.whole.push_back(self.tail.split().freeze());
        }
    }
}

impl From<Bytes> for Chunks {
    fn from(bytes: Bytes) -> Self {
        let mut chunks = Self::default();
        if !bytes.is_empty() {
            chunks.len = bytes.len();
            chunks.whole.push_back(bytes);
        }
        chunks
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

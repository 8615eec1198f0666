//! Body bytes in order, without an allocation for each small piece.

use std::collections::VecDeque;

use bytes::Bytes;

use super::body_budget::{BodyAccount, Reservation};

/// Pieces shorter than this are copied together, all but the first: each pins its receive buffer, which may be many
/// times as large.
const COALESCE_BELOW: usize = 8 * 1024;

/// Copied bytes are stored in blocks of this size, so that delivered ones can be freed.
const BLOCK: usize = 64 * 1024;

/// Body bytes in order, in pieces that can be shared.
#[derive(Debug, Default)]
pub struct Chunks {
    /// The first piece, if there is a closed one: most bodies have only that one.
    front: Bytes,
    more: Option<Box<Rest>>,
    len: usize,
    /// The reservation for these bytes, or for as many of them as are counted.
    reserved: Reservation,
}

/// The pieces after the first one.
#[derive(Debug, Default)]
struct Rest {
    closed: VecDeque<Bytes>,
    /// Small pieces that aren't closed yet; they follow the others.
    tail: Vec<u8>,
}

impl Chunks {
    /// Returns the number of bytes.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Returns whether there are no bytes.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Appends bytes that can be shared.
    pub fn push(&mut self, piece: Bytes) {
        // A single piece pins only one buffer.
        if piece.len() < COALESCE_BELOW && !self.is_empty() {
            return self.extend_from_slice(&piece);
        }
        self.len += piece.len();
        self.close_tail();
        self.close(piece);
    }

    /// Appends bytes with their reservation.
    pub(crate) fn push_reserved(&mut self, piece: Bytes, reserved: Reservation) {
        self.push(piece);
        self.reserved.merge(reserved);
    }

    /// Appends a copy of `piece`.
    #[inline]
    pub fn extend_from_slice(&mut self, mut piece: &[u8]) {
        if self.is_empty() {
            let (first, later) = piece.split_at(piece.len().min(BLOCK));
            (self.len, self.front) = (first.len(), Bytes::copy_from_slice(first));
            piece = later;
        }
        if !piece.is_empty() {
            self.extend_tail(piece);
        }
    }

    fn extend_tail(&mut self, mut piece: &[u8]) {
        self.len += piece.len();
        while !piece.is_empty() {
            let tail = &mut self.more.get_or_insert_default().tail;
            let (now, later) = piece.split_at(piece.len().min(BLOCK - tail.len()));
            if tail.capacity() - tail.len() < now.len() {
                // Doubles its size, up to a block.
                let capacity = (tail.len() + now.len()).max((2 * tail.len()).min(BLOCK));
                tail.reserve_exact(capacity - tail.len());
            }
            tail.extend_from_slice(now);
            if tail.len() == BLOCK {
                self.close_tail();
            }
            piece = later;
        }
    }

    /// The same, with its reservation.
    pub(crate) fn extend_reserved(&mut self, piece: &[u8], reserved: Reservation) {
        self.extend_from_slice(piece);
        self.reserved.merge(reserved);
    }

    /// Removes and returns the first piece.
    pub fn pop(&mut self) -> Option<Bytes> {
        let piece = self.pop_piece()?;
        self.reserved.release(piece.len());
        Some(piece)
    }

    /// All bytes, if they are one piece without a reservation.
    #[inline]
    pub(crate) fn into_whole(self) -> Result<Bytes, Self> {
        if self.len == self.front.len() && self.reserved.bytes() == 0 { Ok(self.front) } else { Err(self) }
    }

    /// Moves bytes from the front into `buf`.
    pub(crate) fn read(&mut self, buf: &mut [u8]) {
        self.close_tail();
        let mut read = 0;
        while read < buf.len() && !self.front.is_empty() {
            let piece = self.take(buf.len() - read);
            buf[read..read + piece.len()].copy_from_slice(&piece);
            read += piece.len();
            self.reserved.release(piece.len());
        }
    }

    /// The first piece, which is empty only if there are no bytes.
    #[inline]
    pub(crate) fn front(&self) -> &[u8] {
        &self.front
    }

    /// Moves `len` bytes from the front to the end of `other`, with their reservation. The first piece must have that
    /// many.
    pub(crate) fn move_to(&mut self, other: &mut Self, len: usize) {
        let piece = self.take(len);
        let reserved = self.reserved.split(piece.len());
        other.push_reserved(piece, reserved);
    }

    /// Copies the bytes from offset `at` into `buf`, as many as there are. They stay here.
    pub(crate) fn copy_to(&self, mut at: usize, mut buf: &mut [u8]) -> usize {
        let room = buf.len();
        let more = self.more.as_deref();
        let closed = more.into_iter().flat_map(|more| &more.closed).map(|piece| &piece[..]);
        let tail = more.map_or(&[][..], |more| &more.tail);
        for piece in std::iter::once(&self.front[..]).chain(closed).chain([tail]) {
            let rest = piece.get(at..).unwrap_or_default();
            at -= piece.len() - rest.len();
            let len = rest.len().min(buf.len());
            let (now, later) = buf.split_at_mut(len);
            now.copy_from_slice(&rest[..len]);
            buf = later;
        }
        room - buf.len()
    }

    /// Moves all of `later` to the end.
    #[inline]
    pub(crate) fn append(&mut self, mut later: Self) {
        while let Some(piece) = later.pop_piece() {
            let reserved = later.reserved.split(piece.len());
            self.push_reserved(piece, reserved);
        }
    }

    /// Drops `len` bytes from the front.
    pub(crate) fn skip(&mut self, mut len: usize) {
        self.close_tail();
        while len > 0 && !self.front.is_empty() {
            let dropped = self.take(len).len();
            self.reserved.release(dropped);
            len -= dropped;
        }
    }

    /// The account that the bytes are counted in.
    pub(crate) fn account(&self) -> Option<&BodyAccount> {
        self.reserved.account().filter(|_| self.reserved.bytes() > 0)
    }

    fn pop_piece(&mut self) -> Option<Bytes> {
        self.close_tail();
        if self.front.is_empty() {
            return None;
        }
        let next = self.more.as_mut().and_then(|more| more.closed.pop_front()).unwrap_or_default();
        let piece = std::mem::replace(&mut self.front, next);
        self.len -= piece.len();
        Some(piece)
    }

    /// Takes up to `len` bytes of the first piece.
    fn take(&mut self, len: usize) -> Bytes {
        if len >= self.front.len() {
            return self.pop_piece().unwrap_or_default();
        }
        self.len -= len;
        self.front.split_to(len)
    }

    fn close_tail(&mut self) {
        if let Some(more) = &mut self.more
            && !more.tail.is_empty()
        {
            let tail = Bytes::from(std::mem::take(&mut more.tail));
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
        Self { len: bytes.len(), front: bytes, ..Self::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_read_in_the_order_they_were_written_in_any_pieces() {
        let mut chunks = Chunks::default();
        let mut expected = Vec::new();
        for size in [1, 9000, 3, 0, 2000, 1, 1, 8191, 8192, 5] {
            let piece = vec![size as u8; size];
            expected.extend_from_slice(&piece);
            chunks.push(piece.into());
        }
        assert_eq!(chunks.len(), expected.len());
        let mut head = [0; 4000];
        chunks.read(&mut head);
        assert_eq!(chunks.len(), expected.len() - 4000);
        let mut out = head.to_vec();
        while let Some(piece) = chunks.pop() {
            out.extend_from_slice(&piece);
        }
        assert!(chunks.is_empty());
        assert_eq!(out, expected);
    }

    #[test]
    fn bytes_can_be_copied_from_any_offset_and_are_stored_in_blocks() {
        let written: Vec<u8> = (0..3 * BLOCK + 10).map(|at| (at % 251) as u8).collect();
        let mut chunks = Chunks::default();
        written.chunks(7_000).for_each(|piece| chunks.extend_from_slice(piece));
        let mut buf = vec![0; 5_000];
        for at in
            [0, 1, BLOCK - 1, BLOCK, 2 * BLOCK - 2_500, written.len() - 4, written.len(), written.len() + 9]
        {
            let copied = chunks.copy_to(at, &mut buf);
            let expected = written.get(at..).unwrap_or_default();
            assert_eq!(buf[..copied], expected[..expected.len().min(5_000)], "{at}");
        }
        let pieces: Vec<_> = std::iter::from_fn(|| chunks.pop()).collect();
        assert_eq!(pieces.iter().map(Bytes::len).collect::<Vec<_>>(), [7_000, BLOCK, BLOCK, BLOCK - 6_990]);
        assert_eq!(pieces.concat(), written);
    }
}

//! Body bytes on their way to the next handler or the client.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use super::Chunks;
use super::body_budget::{BodyAccount, Evictable, NoBodyMemory};

/// Bytes that their sender takes piece by piece. Those that count towards a budget can be revoked in the meantime,
/// since a receiver that doesn't read would hold them for as long as it likes.
#[derive(Debug)]
pub(crate) struct Delivery {
    pieces: Pieces,
    left: usize,
}

#[derive(Debug)]
enum Pieces {
    Own(Chunks),
    Shared { chunks: Arc<Mutex<Chunks>>, account: BodyAccount },
}

impl Delivery {
    pub(crate) fn new(chunks: Chunks) -> Self {
        let left = chunks.len();
        let pieces = match chunks.account().cloned() {
            None => Pieces::Own(chunks),
            Some(account) => {
                let chunks = Arc::new(Mutex::new(chunks));
                let evictable: Arc<dyn Evictable> = chunks.clone();
                account.on_eviction(Arc::downgrade(&evictable));
                if account.check().is_err() {
                    // The account has already lost its memory, so these bytes would never be evicted otherwise.
                    chunks.evict();
                }
                Pieces::Shared { chunks, account }
            }
        };
        Self { pieces, left }
    }

    /// The next piece, or `None` when all of them have been delivered.
    pub(crate) fn pop(&mut self) -> Result<Option<Bytes>, NoBodyMemory> {
        if self.left == 0 {
            return Ok(None);
        }
        let piece = match &mut self.pieces {
            Pieces::Own(chunks) => chunks.pop(),
            Pieces::Shared { chunks, account } => {
                let piece = lock(chunks).pop();
                // Whatever has been delivered before stays delivered.
                let piece = piece.filter(|_| account.check().is_ok()).ok_or(NoBodyMemory)?;
                account.moved(piece.len());
                Some(piece)
            }
        };
        self.left -= piece.as_ref().map_or(0, Bytes::len);
        Ok(piece)
    }

    /// Bytes that have not been delivered yet.
    pub(crate) fn len(&self) -> usize {
        self.left
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.left == 0
    }
}

impl Evictable for Mutex<Chunks> {
    fn evict(&self) {
        let bytes = std::mem::take(&mut *lock(self));
        drop(bytes);
    }
}

fn lock(chunks: &Mutex<Chunks>) -> MutexGuard<'_, Chunks> {
    chunks.lock().unwrap_or_else(PoisonError::into_inner)
}

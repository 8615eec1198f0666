//! Bytes on their way to the next handler or the client.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use super::{BodyAccount, NoBodyMemory};
use crate::message::Chunks;

/// Bytes that whoever sends them takes piece by piece. Those that count for a budget can be taken away meanwhile, as a receiver that
/// doesn't read would hold them for as long as it likes.
#[derive(Debug)]
pub(crate) struct Delivery {
    pieces: Pieces,
    left: usize,
}

#[derive(Debug)]
enum Pieces {
    Own(Chunks),
    Shared { shelf: Arc<Mutex<Chunks>>, account: BodyAccount },
}

impl Delivery {
    pub(crate) fn new(chunks: Chunks) -> Self {
        let left = chunks.len();
        let pieces = match chunks.account().cloned() {
            None => Pieces::Own(chunks),
            Some(account) => {
                let shelf = Arc::new(Mutex::new(chunks));
                account.0.seat.put_on_shelf(Arc::downgrade(&shelf));
                if account.check().is_err() {
                    // Nobody will come for this shelf any more.
                    drop(std::mem::take(&mut *lock(&shelf)));
                }
                Pieces::Shared { shelf, account }
            }
        };
        Self { pieces, left }
    }

    /// The next piece; `None` when all of them are delivered.
    pub(crate) fn pop(&mut self) -> Result<Option<Bytes>, NoBodyMemory> {
        if self.left == 0 {
            return Ok(None);
        }
        let piece = match &mut self.pieces {
            Pieces::Own(chunks) => chunks.pop(),
            Pieces::Shared { shelf, account } => {
                let piece = lock(shelf).pop();
                // What has been delivered before this moment stays delivered.
                let piece = piece.filter(|_| account.check().is_ok()).ok_or(NoBodyMemory)?;
                account.moved(piece.len());
                Some(piece)
            }
        };
        self.left -= piece.as_ref().map_or(0, Bytes::len);
        Ok(piece)
    }

    /// Bytes that are still to be delivered.
    pub(crate) fn len(&self) -> usize {
        self.left
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.left == 0
    }
}

fn lock(shelf: &Mutex<Chunks>) -> MutexGuard<'_, Chunks> {
    shelf.lock().unwrap_or_else(PoisonError::into_inner)
}

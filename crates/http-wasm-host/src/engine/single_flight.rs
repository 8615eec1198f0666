//! Values that are created once, even if several callers request them at the same time.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// The values in use, by key. The map keeps no value alive: a value is dropped with its last user.
pub(super) struct SingleFlight<K, V>(Mutex<HashMap<K, Arc<Slot<V>>>>);

/// Locked while the value is created. Other callers that request it wait.
type Slot<V> = Mutex<Weak<V>>;

impl<K, V> Default for SingleFlight<K, V> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Eq + Hash, V> SingleFlight<K, V> {
    /// Returns the value for this key, created by `make` if there is none.
    ///
    /// # Errors
    /// The errors of `make`. Callers that waited for the value then try to create it in turn.
    pub(super) fn get_or_make<E>(&self, key: K, make: impl FnOnce() -> Result<V, E>) -> Result<Arc<V>, E> {
        let slot = {
            let mut slots = lock(&self.0);
            // Locking doesn't block, since no other caller holds the slot.
            slots.retain(|_, slot| Arc::strong_count(slot) > 1 || lock(slot).strong_count() > 0);
            slots.entry(key).or_default().clone()
        };
        let mut slot = lock(&slot);
        if let Some(value) = slot.upgrade() {
            return Ok(value);
        }
        let value = Arc::new(make()?);
        *slot = Arc::downgrade(&value);
        Ok(value)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

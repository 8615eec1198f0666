//! Whether settings that may be secret are shown.

use std::cell::Cell;

thread_local! {
    static REVEAL_SECRETS: Cell<bool> = const { Cell::new(false) };
}

/// Runs `task`, during which settings are serialized with their values instead of references. This is for digests,
/// which must change when a value does.
pub(crate) fn revealed<T>(task: impl FnOnce() -> T) -> T {
    struct Restore(bool);
    impl Drop for Restore {
        fn drop(&mut self) {
            REVEAL_SECRETS.set(self.0);
        }
    }
    let _restore = Restore(REVEAL_SECRETS.replace(true));
    task()
}

/// Whether settings are serialized with their values.
pub(crate) fn reveals() -> bool {
    REVEAL_SECRETS.get()
}

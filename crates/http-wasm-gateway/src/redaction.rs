//! Whether settings that may be secret are shown.

use std::cell::Cell;

thread_local! {
    static REVEALS: Cell<bool> = const { Cell::new(false) };
}

/// Runs `task`, during which settings are serialized with their values instead of references. This is for digests,
/// which must change when a value does.
pub(crate) fn revealed<T>(task: impl FnOnce() -> T) -> T {
    struct Back(bool);
    impl Drop for Back {
        fn drop(&mut self) {
            REVEALS.set(self.0);
        }
    }
    let _back = Back(REVEALS.replace(true));
    task()
}

/// Whether settings are serialized with their values.
pub(crate) fn reveals() -> bool {
    REVEALS.get()
}

//! A stream's account in the memory for bodies.

use std::cell::OnceCell;

use http_wasm_host::BodyAccount;

/// A stream's account in the memory for bodies, which the stream shares with its guests.
#[derive(Default)]
pub(crate) struct StreamMemory(OnceCell<BodyAccount>);

impl StreamMemory {
    /// The account. `open` opens one if the memory is limited.
    pub(crate) fn account(&self, open: impl FnOnce() -> Option<BodyAccount>) -> Option<&BodyAccount> {
        if self.0.get().is_none() {
            let _first = self.0.set(open()?);
        }
        self.0.get()
    }
}

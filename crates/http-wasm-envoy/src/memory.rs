//! What a stream's own buffers use of the memory for bodies.

use http_wasm_host::{BodyReservation, NoBodyMemory};

use crate::filter::Filter;
use crate::process::process;
use crate::wake::StreamWaker;

/// What one of a stream's buffers uses of the memory for bodies.
#[derive(Debug, Default)]
pub(crate) struct Charge(Option<BodyReservation>);

/// Whether anything needs to be charged.
pub(crate) fn is_limited() -> bool {
    process().limits_bodies
}

impl Charge {
    /// Charges for this many bytes instead of the earlier ones.
    ///
    /// # Errors
    /// If there is no room for them, or the stream has been evicted in favour of others.
    pub(crate) fn set(&mut self, filter: &Filter, bytes: usize) -> Result<(), NoBodyMemory> {
        if bytes == 0 {
            self.0 = None;
            return Ok(());
        }
        let Some(account) = filter.memory.account(|| process().open_account()) else { return Ok(()) };
        let before = self.0.as_ref().map_or(0, BodyReservation::bytes);
        account.moved(bytes.abs_diff(before));
        match &mut self.0 {
            Some(reserved) => reserved.resize(bytes),
            none => {
                *none = Some(account.hold(bytes)?);
                Ok(())
            }
        }
    }

    /// Lets the stream's events handle an eviction of what is charged.
    pub(crate) fn watch(&self, filter: &Filter, waker: &StreamWaker) {
        if self.0.is_some()
            && let Some(account) = filter.memory.account(|| None)
        {
            waker.arm(|| filter.scheduler());
            account.wake_on_eviction(&waker.waker());
        }
    }
}

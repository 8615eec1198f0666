//! What one store holds beside its guest's memory.

use std::sync::Arc;

use wasmtime::Memory;

use crate::abi::{Features, Phase};
use crate::engine::Quota;
use crate::error::{Error, ErrorKind, Reason};
use crate::exchange::Exchange;
use crate::host::Host;
use crate::log::Log;
use crate::run::memory::HasMemory;
use crate::run::shared::Shared;
use crate::run::suspend::{Suspend, Suspension};
use crate::run::wasi::{HasWasi, WasiState};

/// A store's data.
pub(crate) struct State<H: Host> {
    pub(crate) guest: Arc<Shared>,
    /// Enabled while the instance was made: the default of every request.
    pub(crate) features: Features,
    pub(crate) exchange: Option<Exchange<H>>,
    pub(crate) suspension: Suspension,
    pub(crate) wasi: WasiState,
    pub(crate) memory: Option<Memory>,
    pub(crate) quota: Quota,
}

impl<H: Host> State<H> {
    #[inline]
    pub(crate) fn exchange(&mut self) -> Result<&mut Exchange<H>, Reason> {
        self.exchange.as_mut().ok_or(Reason::NoRequest)
    }

    /// What a failed call into the guest comes to.
    pub(crate) fn failed(&self, phase: Option<Phase>, error: &wasmtime::Error) -> Error {
        let failed = Error::from_wasmtime(self.guest.name.clone(), phase, error);
        match self.quota.starved() {
            // It could not cope with what it was refused, but that is not its fault.
            Some(budget)
                if matches!(failed.kind(), ErrorKind::Trap | ErrorKind::Exit | ErrorKind::Unavailable) =>
            {
                failed.starved(budget.limit())
            }
            _ => failed,
        }
    }

    /// Logs what the guest has written to its output without ending the line.
    #[inline]
    pub(crate) fn flush_output(&mut self) {
        self.wasi.flush(&self.guest.log);
    }

    #[inline]
    pub(crate) fn exchange_and_suspension(&mut self) -> Result<(&mut Exchange<H>, &Suspension), Reason> {
        Ok((self.exchange.as_mut().ok_or(Reason::NoRequest)?, &self.suspension))
    }
}

impl<H: Host> HasMemory for State<H> {
    fn memory(&self) -> Option<Memory> {
        self.memory
    }
}

impl<H: Host> Suspend for State<H> {
    fn suspension(&mut self) -> &mut Suspension {
        &mut self.suspension
    }
}

impl<H: Host> HasWasi for State<H> {
    fn wasi(&mut self) -> (&mut WasiState, &Arc<Log>, &Suspension) {
        (&mut self.wasi, &self.guest.log, &self.suspension)
    }
}

//! The data of a store.

use std::sync::Arc;

use wasmtime::{Memory, ResourceLimiter, StoreContextMut, WasmBacktrace};

use crate::abi::{Features, Phase};
use crate::engine::{Growth, Quota};
use crate::error::{Error, ErrorKind, Reason};
use crate::exchange::Exchange;
use crate::host::Host;
use crate::log::Log;
use crate::run::hook::TracedInstance;
use crate::run::memory::HasMemory;
use crate::run::shared::Shared;
use crate::run::suspend::{Suspend, Suspension};
use crate::run::wasi::{HasWasi, WasiState};
use crate::text::size;
use crate::trace::{TraceEvent, TracedGrowth};

/// A store's data.
pub(crate) struct State<H: Host> {
    pub(crate) guest: Arc<Shared>,
    /// For a tracer.
    pub(crate) traced: Option<TracedInstance>,
    /// The features enabled during start-up: the default for every request.
    pub(crate) features: Features,
    pub(crate) exchange: Exchange<H>,
    pub(crate) suspension: Suspension,
    pub(crate) wasi: WasiState,
    pub(crate) memory: Option<Memory>,
    pub(crate) quota: Quota,
}

impl<H: Host> State<H> {
    #[inline]
    pub(crate) fn exchange(&mut self) -> Result<&mut Exchange<H>, Reason> {
        self.exchange.ongoing_mut().ok_or_else(|| Reason::NoRequest)
    }

    /// Converts the error of a failed call into the guest.
    pub(crate) fn failed(&self, phase: Option<Phase>, error: &wasmtime::Error) -> Error {
        let Shared { name, symbols, .. } = &*self.guest;
        let mut failed = Error::from_wasmtime(name.clone(), symbols, phase, error);
        let is_own = matches!(failed.kind(), ErrorKind::Trap | ErrorKind::Exit);
        match self.quota.refused() {
            Some(growth) if is_own => failed = failed.with_hint(refused_growth(growth)),
            // A module's memories are created before any of its code runs.
            Some(growth) if failed.kind() == ErrorKind::Unavailable && !growth.is_modules => {
                failed = Error::new(ErrorKind::Limit, self.guest.name.clone(), phase, too_large(growth));
            }
            _ => {}
        }
        if let Some(hint) = self.guest.trap_hint
            && failed.kind() == ErrorKind::Trap
        {
            failed = failed.with_hint(hint);
        }
        if let Some(excerpt) = self.wasi.excerpt().filter(|_| is_own) {
            failed = failed.with_stderr(excerpt);
        }
        match self.quota.starved() {
            // The guest couldn't handle the refused allocation, but that isn't its fault.
            Some((budget, scarce))
                if matches!(failed.kind(), ErrorKind::Trap | ErrorKind::Exit | ErrorKind::Unavailable) =>
            {
                budget.fails(scarce);
                failed.starved(&budget.shortage(scarce))
            }
            _ => failed,
        }
    }

    /// Passes an event to the tracer, if there is one.
    #[inline]
    pub(crate) fn trace<'e>(&self, event: impl FnOnce() -> TraceEvent<'e>) {
        if let Some(traced) = &self.traced {
            traced.event(&event());
        }
    }

    /// Logs output of the guest that doesn't end with a line break.
    #[inline]
    pub(crate) fn flush_output(&mut self) {
        self.wasi.flush(&self.guest.log);
    }

    #[inline]
    pub(crate) fn exchange_and_suspension(&mut self) -> Result<(&mut Exchange<H>, &Suspension), Reason> {
        Ok((self.exchange.ongoing_mut().ok_or_else(|| Reason::NoRequest)?, &self.suspension))
    }
}

fn refused_growth(growth: Growth) -> String {
    let limit = size(growth.limit);
    if growth.is_modules {
        format!("after a memory.grow past the module's own maximum of {limit} was refused")
    } else {
        format!("after a memory.grow past the limit of {limit} (`memory_bytes`) was refused")
    }
}

fn too_large(growth: Growth) -> String {
    let (to, limit) = (size(growth.to), size(growth.limit));
    format!(
        "its memory starts at {to}, but the limit is {limit}: raise `memory_bytes`, or link the guest with \
         less memory"
    )
}

/// Limits what the guest may use, and reports growth to the tracer.
impl<H: Host> ResourceLimiter for State<H> {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let granted = self.quota.memory_growing(current, desired, maximum)?;
        self.trace(|| growth(false, current, desired, granted));
        Ok(granted)
    }

    fn memory_grow_failed(&mut self, _: wasmtime::Error) -> wasmtime::Result<()> {
        self.trace(|| TraceEvent::GrowthFailed);
        Ok(())
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let granted = self.quota.table_growing(current, desired, maximum)?;
        self.trace(|| growth(true, current, desired, granted));
        Ok(granted)
    }

    fn table_grow_failed(&mut self, _: wasmtime::Error) -> wasmtime::Result<()> {
        self.trace(|| TraceEvent::GrowthFailed);
        Ok(())
    }

    fn instances(&self) -> usize {
        self.quota.instances()
    }
}

fn growth<'e>(is_table: bool, from: usize, to: usize, granted: bool) -> TraceEvent<'e> {
    TraceEvent::Growth(TracedGrowth { is_table, from: from as u64, to: to as u64, granted })
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

    fn detach(&mut self) {
        if let Some(exchange) = self.exchange.ongoing_mut() {
            exchange.host.detach();
        }
    }

    #[inline]
    fn ticked(store: &StoreContextMut<'_, Self>) {
        let State { guest, traced, .. } = store.data();
        if let Some(traced) = traced.as_ref().filter(|traced| traced.wants_ticks()) {
            let stack = guest.symbols.stack(&WasmBacktrace::force_capture(store));
            traced.event(&TraceEvent::Ticked { stack });
        }
    }
}

impl<H: Host> HasWasi for State<H> {
    fn wasi(&mut self) -> (&mut WasiState, &Arc<Log>, &Suspension) {
        (&mut self.wasi, &self.guest.log, &self.suspension)
    }

    #[inline]
    fn traced(&self) -> Option<&TracedInstance> {
        self.traced.as_ref()
    }
}

//! Creates instances.

use std::sync::{Arc, OnceLock};

use wasmtime::{PoolConcurrencyLimitError, Store};

use super::startup::Startup;
use crate::engine::SharedCode;
use crate::error::{Error, Stop};
use crate::host::Host;
use crate::run::instance::Instance;
use crate::run::link::Linked;
use crate::run::state::State;
use crate::run::suspend::Mode;
use crate::stats::{Counters, Live};
use crate::trace::TraceEvent;

/// Creates a guest's instances.
pub(crate) struct Blueprint<H: Host> {
    pub(crate) startup: Startup,
    code: SharedCode,
    linked: Linked<H>,
    /// For instances that find no free slot. Linked when the first one is created.
    overflow: OnceLock<Result<Linked<H>, String>>,
}

/// An instance after its start-up, which may have failed.
struct Started<'a, H: Host> {
    linked: &'a Linked<H>,
    store: Store<State<H>>,
    started: wasmtime::Result<wasmtime::Instance>,
}

impl<H: Host> Blueprint<H> {
    pub(crate) fn new(startup: Startup, code: SharedCode, linked: Linked<H>) -> Self {
        Self { startup, code, linked, overflow: OnceLock::new() }
    }

    /// Size of the compiled code, in bytes.
    pub(crate) fn code_bytes(&self) -> usize {
        self.code.bytes()
    }

    /// Creates an instance for a request, which may be sheddable: in a slot if one is free, otherwise on demand.
    ///
    /// # Errors
    /// If the guest fails, or there is no room for it.
    pub(crate) async fn make(&self, live: Live, sheddable: bool) -> Result<Instance<H>, Error> {
        let Startup { shared, functions, .. } = &self.startup;
        let mode = match functions.any() && !functions.fiber_policy.needs_fiber() {
            true => Mode::Direct,
            false => Mode::Fiber,
        };
        let mut attempt = self.begin(&shared.counters, mode, sheddable).await?;
        if mode == Mode::Direct && attempt.started.as_ref().is_err_and(|error| error.is::<Stop>()) {
            // The start-up was only stopped because it ran without a fiber.
            functions.fiber_policy.was_slow();
            drop(attempt);
            attempt = self.begin(&shared.counters, Mode::Fiber, sheddable).await?;
        }
        let Started { linked, mut store, started } = attempt;
        let exports = started.and_then(|instance| linked.exports(&mut store, &instance));
        let exports = exports.map_err(|error| {
            store.data_mut().flush_output();
            let error = store.data().failed(None, &error);
            store.data().trace(|| TraceEvent::Started { error: Some(&error) });
            error
        })?;
        store.data_mut().flush_output();
        store.data().trace(|| TraceEvent::Started { error: None });
        Ok(Instance::new(store, exports, live))
    }

    /// Starts an instance in a slot if one is free, otherwise on demand.
    async fn begin(
        &self,
        counters: &Arc<Counters>,
        mode: Mode,
        sheddable: bool,
    ) -> Result<Started<'_, H>, Error> {
        let attempt = self.begin_in(&self.linked, counters, mode, sheddable).await?;
        let has_no_slot =
            attempt.started.as_ref().is_err_and(|error| error.is::<PoolConcurrencyLimitError>());
        match if has_no_slot { self.overflow() } else { None } {
            Some(overflow) => self.begin_in(overflow?, counters, mode, sheddable).await,
            None => Ok(attempt),
        }
    }

    async fn begin_in<'a>(
        &'a self,
        linked: &'a Linked<H>,
        counters: &Arc<Counters>,
        mode: Mode,
        sheddable: bool,
    ) -> Result<Started<'a, H>, Error> {
        let engine = linked.pre.module().engine();
        let store = self.startup.store(engine, counters, sheddable).await;
        let mut store = store.map_err(|error| self.startup.failed(&error))?;
        let started = self.startup.start(&mut store, &linked.pre, mode).await;
        Ok(Started { linked, store, started })
    }

    /// How to create instances that find no free slot. `None` if no instances use slots.
    fn overflow(&self) -> Option<Result<&Linked<H>, Error>> {
        let Startup { shared, wasi, .. } = &self.startup;
        let module = self.code.overflow()?;
        let linked =
            self.overflow.get_or_init(|| Linked::new(module?, wasi, shared).map_err(|e| format!("{e:#}")));
        Some(linked.as_ref().map_err(|reason| self.startup.failed(&wasmtime::Error::msg(reason.clone()))))
    }
}

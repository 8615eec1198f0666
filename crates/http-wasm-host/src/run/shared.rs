//! What all instances of a guest share.

use std::sync::Arc;

use crate::engine::{Engine, TickLimit};
use crate::exchange::Waits;
use crate::failure::OnFailure;
use crate::limits::Limits;
use crate::log::Log;
use crate::observer::Observer;
use crate::rule::Broken;
use crate::run::hook::Hook;
use crate::run::suspend::FiberPolicy;
use crate::stats::{Counters, DropReason};
use crate::symbols::Symbols;

/// What all instances of a guest share: its settings, how it is called, and who observes it.
pub(crate) struct Shared {
    pub(crate) engine: Engine,
    pub(crate) name: Arc<str>,
    pub(crate) config: Vec<u8>,
    pub(crate) limits: Limits,
    pub(crate) calls: Calls,
    /// It may read the request again in `handle_response`.
    pub(crate) reads_request: bool,
    /// Follows what the instances do.
    pub(crate) hook: Option<Hook>,
    pub(crate) log: Arc<Log>,
    /// What its backtraces are made with.
    pub(crate) symbols: Arc<Symbols>,
    pub(crate) on_failure: OnFailure,
    /// What a trap of this guest may come from.
    pub(crate) trap_hint: Option<&'static str>,
    pub(crate) observer: Option<Arc<dyn Observer>>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) broken: Broken,
    #[cfg(feature = "mutations")]
    pub(crate) intercept: Option<crate::run::intercept::Intercept>,
}

/// How the two functions of a guest are called.
#[derive(Debug)]
pub(crate) struct Calls {
    /// Some import is asynchronous: those that have to do with files.
    pub(crate) always_on_fiber: bool,
    /// What `handle_request` may wait for, and what `handle_response`.
    pub(crate) request: Waits,
    pub(crate) response: Waits,
    /// `handle_response` does nothing, so that it need not be called.
    pub(crate) ignores_responses: bool,
    pub(crate) fiber_policy: Arc<FiberPolicy>,
    pub(crate) deadline: TickLimit,
}

impl Shared {
    /// Counts an instance that is dropped.
    pub(crate) fn dropped(&self, reason: DropReason) {
        self.counters.dropped(reason);
        if let Some(observer) = &self.observer {
            observer.dropped(&self.name, reason);
        }
    }

    /// Tells the observer that a request takes an instance out of the pool, or finds none.
    #[inline]
    pub(crate) fn checked_out(&self, hit: bool) {
        if let Some(observer) = &self.observer {
            observer.checked_out(&self.name, hit);
        }
    }
}

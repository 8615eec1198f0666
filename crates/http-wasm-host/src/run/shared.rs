//! The state that all instances of a guest share.

use std::sync::Arc;

use crate::abi::{BodyKind, Phase};
use crate::bodies::Stream;
use crate::engine::{Engine, TickLimit};
use crate::exchange::{DecodedBodies, Waits};
use crate::failure::OnFailure;
use crate::limits::Limits;
use crate::log::Log;
use crate::observer::Observer;
use crate::rule::Broken;
use crate::run::compute::{Compute, ComputePermit, QueueKind};
use crate::run::hook::Hook;
use crate::run::suspend::{FiberPolicy, Suspension};
use crate::stats::{Counters, DropReason};
use crate::symbols::Symbols;

/// The state that all instances of a guest share: its settings, how it is called, and its observer.
pub(crate) struct Shared {
    pub(crate) engine: Engine,
    pub(crate) name: Arc<str>,
    pub(crate) config: Vec<u8>,
    pub(crate) limits: Limits,
    pub(crate) calls: Calls,
    /// Whether the guest may read the request again in `handle_response`.
    pub(crate) reads_request: bool,
    /// Traces what the instances do.
    pub(crate) hook: Option<Hook>,
    pub(crate) log: Arc<Log>,
    /// Used to symbolise backtraces.
    pub(crate) symbols: Arc<Symbols>,
    pub(crate) on_failure: OnFailure,
    /// Set if the guest gets decoded bodies.
    pub(crate) decoded_bodies: Option<Arc<DecodedBodies>>,
    /// The messages that it may write while they are sent.
    pub(crate) stream: Stream,
    /// Its module is compiled so that it can wait in `write_body`, which then returns whether it must.
    pub(crate) pauses_writes: bool,
    /// A likely cause of traps in this guest.
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
    /// When `handle_request` and `handle_response` are called on fibers.
    pub(crate) request_fibers: NeedsFibers,
    pub(crate) response_fibers: NeedsFibers,
    /// What `handle_request` and `handle_response` may wait for.
    pub(crate) request: Waits,
    pub(crate) response: Waits,
    /// Whether `handle_response` does nothing, so that it need not be called.
    pub(crate) ignores_responses: bool,
    pub(crate) fiber_policy: Arc<FiberPolicy>,
    pub(crate) compute: Arc<Compute>,
    pub(crate) deadline: TickLimit,
}

/// When a function of a guest is called on a fiber.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NeedsFibers {
    /// In each call: an import is asynchronous, as those for files are, or the engine's calls must be able to yield.
    Always,
    /// Unless its calls have proved to be quick, and it doesn't have to wait.
    UnlessQuick,
    /// If it may have to wait. Otherwise, its calls end after few instructions.
    ToWait,
}

impl Shared {
    /// The state that a store needs for suspending and stopping the guest.
    pub(crate) fn suspension(&self) -> Suspension {
        Suspension::new(self.engine.clone(), self.calls.fiber_policy.clone(), self.calls.compute.clone())
    }

    /// Whether the guest may write the phase's message while that is sent.
    #[inline]
    pub(crate) fn streams(&self, phase: Phase) -> bool {
        self.stream != Stream::Off
            && match phase.message() {
                BodyKind::Request => self.stream.requests(),
                BodyKind::Response => self.stream.responses(),
            }
    }

    /// Whether calls of this phase need a permit to compute.
    #[inline]
    pub(crate) fn needs_permit(&self, phase: Phase) -> bool {
        // Heavy guests are always called on fibers, so for others the first check is enough.
        self.calls.fiber_policy.needs_fiber() && self.calls.compute.weight(phase).is_heavy()
    }

    /// Waits in a queue for a call's compute permit, if the call needs one.
    pub(crate) async fn permit(&self, phase: Phase, kind: QueueKind) -> Option<ComputePermit> {
        if !self.needs_permit(phase) {
            return None;
        }
        let background = self.engine.background().clone();
        Some(self.calls.compute.queue.clone().acquire(background, kind).await)
    }

    /// Counts an instance that is dropped.
    pub(crate) fn dropped(&self, reason: DropReason) {
        self.counters.dropped(reason);
        if let Some(observer) = &self.observer {
            observer.dropped(&self.name, reason);
        }
    }

    /// Notifies the observer that a request has taken an instance out of the pool, or found none.
    #[inline]
    pub(crate) fn checked_out(&self, hit: bool) {
        if let Some(observer) = &self.observer {
            observer.checked_out(&self.name, hit);
        }
    }
}

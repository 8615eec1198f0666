//! The tracer that follows a guest's instances.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::trace::{InstanceTracer, TraceEvent, Tracer};

/// The embedding program's tracer.
#[derive(Clone)]
pub(crate) struct Hook(Arc<Traced>);

struct Traced {
    tracer: Box<dyn Tracer>,
    wants_ticks: bool,
    instances: AtomicU64,
}

impl Hook {
    pub(crate) fn new(tracer: impl Tracer) -> Self {
        let wants_ticks = tracer.wants_ticks();
        Self(Arc::new(Traced { tracer: Box::new(tracer), wants_ticks, instances: AtomicU64::new(0) }))
    }

    /// Returns the number of a new instance.
    fn number(&self) -> u64 {
        self.0.instances.fetch_add(1, Ordering::Relaxed)
    }
}

/// An instance that is followed. When this is dropped, so is the instance.
pub(crate) struct TracedInstance {
    hook: Hook,
    number: u64,
    /// What follows only this instance, in place of the tracer.
    own: Option<Box<dyn InstanceTracer>>,
}

impl TracedInstance {
    /// A new instance.
    pub(crate) fn new(hook: &Hook) -> Self {
        let number = hook.number();
        let traced = Self { hook: hook.clone(), number, own: hook.0.tracer.follow(number) };
        traced.event(&TraceEvent::Created);
        traced
    }

    pub(crate) fn event(&self, event: &TraceEvent<'_>) {
        match &self.own {
            Some(own) => own.event(event),
            None => self.hook.0.tracer.event(self.number, event),
        }
    }

    /// Whether the tracer wants to know what the guest does at each tick.
    pub(crate) fn wants_ticks(&self) -> bool {
        self.hook.0.wants_ticks
    }

    /// Whether the tracer wants it to be replaced.
    pub(crate) fn is_done(&self) -> bool {
        self.own.as_ref().is_some_and(|own| own.is_done())
    }
}

impl Drop for TracedInstance {
    fn drop(&mut self) {
        self.event(&TraceEvent::Dropped);
    }
}

impl fmt::Debug for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hook")
    }
}

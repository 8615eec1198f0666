//! The tracer that follows a guest's instances.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::trace::{TraceEvent, Tracer};

/// The embedding program's tracer.
#[derive(Clone)]
pub(crate) struct Hook(Arc<Traced>);

struct Traced {
    tracer: Box<dyn Tracer>,
    instances: AtomicU64,
}

impl Hook {
    pub(crate) fn new(tracer: impl Tracer) -> Self {
        Self(Arc::new(Traced { tracer: Box::new(tracer), instances: AtomicU64::new(0) }))
    }

    /// Returns the number of a new instance.
    pub(crate) fn number(&self) -> u64 {
        self.0.instances.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn event(&self, instance: u64, event: &TraceEvent<'_>) {
        self.0.tracer.event(instance, event);
    }
}

impl fmt::Debug for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hook")
    }
}

//! Creates instances for the pool, with a back-off for a guest that fails to start.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::backoff::Backoff;
use crate::error::{Error, ErrorKind};
use crate::host::Host;
use crate::load::blueprint::Blueprint;
use crate::load::startup::Startup;
use crate::run::instance::Instance;
use crate::run::shared::Shared;
use crate::stats::{DropReason, Live};

/// Creates a guest's instances.
pub(crate) struct Factory<H: Host> {
    blueprint: Blueprint<H>,
    backoff: Backoff,
}

impl<H: Host> Factory<H> {
    pub(crate) fn new(blueprint: Blueprint<H>) -> Self {
        Self { blueprint, backoff: Backoff::default() }
    }

    /// What the instances share.
    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.blueprint.startup.shared
    }

    pub(crate) fn startup(&self) -> &Startup {
        &self.blueprint.startup
    }

    /// Whether instances take so long to start that a lost one is worth replacing before a request needs it.
    pub(crate) fn is_slow(&self) -> bool {
        let functions = &self.startup().functions;
        functions.any() && functions.compute_long.load(Ordering::Relaxed)
    }

    /// Creates an instance for a request, which may be sheddable, unless the guest has repeatedly failed to start.
    pub(crate) async fn create(&self, sheddable: bool) -> Result<Instance<H>, Error> {
        let attempt = self.backoff.attempt().map_err(|wait| {
            let reason = "it has repeatedly failed to start and will be retried later";
            Error::unavailable(self.shared().name.clone(), reason.into(), wait)
        })?;
        let made = self.make(sheddable).await;
        match &made {
            Ok(_) => attempt.succeeded(),
            // This isn't the guest's fault, and the missing resource may be available again soon.
            Err(error) if error.kind() == ErrorKind::Unavailable => drop(attempt),
            Err(_) => attempt.failed(),
        }
        made
    }

    /// Creates an instance, and counts it.
    pub(crate) async fn make(&self, sheddable: bool) -> Result<Instance<H>, Error> {
        let shared = self.shared();
        let started = shared.observer.as_ref().map(|_| Instant::now());
        let making = Unfinished(Some(shared));
        let made = self.blueprint.make(Live::new(&shared.counters), sheddable).await;
        making.finish();
        if let (Some(observer), Some(started)) = (&shared.observer, started) {
            observer.created(&shared.name, started.elapsed(), made.as_ref().err());
        }
        match &made {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::Unavailable => shared.counters.refused(),
            Err(_) => shared.dropped(DropReason::Failed),
        }
        made
    }
}

/// Counts an instance that is never finished because its request is cancelled.
struct Unfinished<'a>(Option<&'a Shared>);

impl Unfinished<'_> {
    fn finish(mut self) {
        self.0 = None;
    }
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        if let Some(shared) = self.0 {
            shared.dropped(DropReason::Cancelled);
        }
    }
}

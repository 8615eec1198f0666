//! A guest: a compiled, validated and linked module, and the pool of its instances.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::abi::{BodyKind, Features};
use crate::engine::{Engine, block_on};
use crate::error::{Error, ErrorKind, LoadError};
use crate::failure::OnFailure;
use crate::host::Host;
use crate::load::builder::GuestBuilder;
use crate::load::inspect::Inspection;
use crate::load::snapshot::SnapshotFacts;
use crate::observer::Observer;
use crate::pool::pinned::{Outcome, Pinned};
use crate::pool::progress::Progress;
use crate::pool::{Pool, PoolSettings, PooledInstance};
use crate::run::instance::{Blueprint, Calls, Instance};
use crate::stats::{Counters, DropReason, Live, PoolStats};

use crate::pool::backoff::Backoff;
use crate::pool::sweep::Sweep;
use crate::pool::turns::Got;

/// A loaded guest. Cheap to clone; all clones share one pool.
///
/// ```
/// use http_wasm_host::{Engine, Guest, InMemoryHost, Outcome};
///
/// let guest = Guest::<InMemoryHost>::load(&Engine::new()?, br#"(module
///   (memory (export "memory") 1)
///   (func (export "handle_request") (result i64) i64.const 0)
///   (func (export "handle_response") (param i32 i32)))"#)?;
///
/// // Any executor will do.
/// let outcome = futures_executor::block_on(guest.handle_request(InMemoryHost::new("GET", "/")));
/// assert!(matches!(outcome, Ok(Outcome::Respond(host)) if host.status == 200));
/// # Ok::<(), http_wasm_host::LoadError>(())
/// ```
pub struct Guest<H: Host>(Arc<Handle<H>>);

/// What all clones of a guest share. With the last of them, the pool is closed; instances that are out finish first.
struct Handle<H: Host> {
    inner: Arc<Inner<H>>,
    pool: Arc<Pool<H>>,
    facts: GuestFacts,
    sweep: Arc<Sweep<H>>,
}

/// What a guest's instances share.
pub(crate) struct Inner<H: Host> {
    pub(crate) blueprint: Blueprint<H>,
    pub(crate) observer: Option<Arc<dyn Observer>>,
    pub(crate) reads_request: bool,
    pub(crate) counters: Arc<Counters>,
    backoff: Backoff,
}

/// What a guest is made of, beside its code.
pub(crate) struct Parts {
    pub(crate) pool: PoolSettings,
    pub(crate) observer: Option<Arc<dyn Observer>>,
    pub(crate) reads_request: bool,
    pub(crate) inspection: Inspection,
    pub(crate) compile_time: Duration,
}

/// What is known of a guest once it is loaded.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct GuestFacts {
    /// What the module says of itself.
    pub inspection: Inspection,
    /// Features that it enabled while its first instance was made.
    pub features: Features,
    /// Memory of the first instance after its start-up, in bytes.
    pub memory_bytes: usize,
    /// How long compiling took, and making the snapshot, unless another guest had it already.
    pub compile_time: Duration,
    /// How long making the first instance took.
    pub start_time: Duration,
    /// The snapshot that instances begin with. None if none was asked for, or no code runs at start-up.
    pub snapshot: Option<SnapshotFacts>,
}

impl<H: Host> Guest<H> {
    /// Loads a guest with default settings from `.wasm` or `.wat` bytes.
    ///
    /// Compiling takes up to seconds of computing, and one instance is made: call it from where blocking is allowed.
    ///
    /// # Errors
    /// When the bytes are no guest of this ABI, or its first instance can't be made.
    pub fn load(engine: &Engine, bytes: &[u8]) -> Result<Self, LoadError> {
        Self::builder(engine).load(bytes)
    }

    /// Settings for a guest.
    pub fn builder(engine: &Engine) -> GuestBuilder {
        GuestBuilder::new(engine.clone())
    }

    pub(crate) fn new(blueprint: Blueprint<H>, parts: Parts) -> Result<Self, LoadError> {
        let inner = Arc::new(Inner {
            blueprint,
            observer: parts.observer,
            reads_request: parts.reads_request,
            counters: Arc::default(),
            backoff: Backoff::default(),
        });
        let started = Instant::now();
        let first = block_on(inner.make()).map_err(LoadError::Start)?;
        let facts = GuestFacts {
            inspection: parts.inspection,
            features: first.features(),
            memory_bytes: first.memory_size(),
            compile_time: parts.compile_time,
            start_time: started.elapsed(),
            snapshot: inner.blueprint.startup.image.as_ref().map(|image| image.facts),
        };
        let pool = Arc::new(Pool::new(parts.pool, inner.clone()));
        let sweep = Sweep::start(&pool);
        pool.guard(first).recycle();
        let guest = Self(Arc::new(Handle { inner, pool, facts, sweep }));
        guest.warm_up(parts.pool.min_warm.saturating_sub(1)).map_err(LoadError::Start)?;
        Ok(guest)
    }

    /// Makes `count` more instances, on as many threads as the machine runs at once.
    fn warm_up(&self, count: usize) -> Result<(), Error> {
        let threads = std::thread::available_parallelism().map_or(1, usize::from).min(count);
        std::thread::scope(|scope| {
            let shares = (0..threads).map(|i| count / threads + usize::from(i < count % threads));
            let workers: Vec<_> = shares
                .map(|share| {
                    scope.spawn(move || {
                        (0..share).try_for_each(|_| {
                            let made = block_on(self.0.inner.make())?;
                            self.0.pool.guard(made).recycle();
                            Ok(())
                        })
                    })
                })
                .collect();
            workers.into_iter().try_for_each(|worker| match worker.join() {
                Ok(made) => made,
                Err(panic) => std::panic::resume_unwind(panic),
            })
        })
    }

    /// The guest's name, as it stands in errors and logs.
    pub fn name(&self) -> &str {
        self.0.inner.name()
    }

    /// What is known of the guest.
    pub fn facts(&self) -> &GuestFacts {
        &self.0.facts
    }

    /// Counts of its instances.
    pub fn stats(&self) -> PoolStats {
        self.0.inner.counters.read(self.0.pool.idle())
    }

    /// Runs `handle_request` on an idle instance, or a new one: within this call, if the guest has nothing to wait for, and in the
    /// future otherwise.
    ///
    /// Dropping the future while the guest runs drops the instance. A guest that need not wait runs on the stack
    /// of the calling thread, of which it may use
    /// [`guest_stack_bytes`](crate::EngineBuilder::guest_stack_bytes): leave it that much.
    ///
    /// # Errors
    /// When no instance can be made or the guest fails, unless it [fails open](crate::OnFailure::Open). Other requests are not
    /// affected.
    #[inline]
    pub fn handle_request(&self, host: H) -> Progress<Result<Outcome<H>, Error>> {
        let Handle { inner, pool, .. } = &*self.0;
        let Some(mut instance) = pool.take() else {
            return Progress::waiting(self.clone().on_new_instance(host));
        };
        inner.checked_out(true);
        instance.begin(host);
        match instance.handle_request() {
            Some(called) => Progress::of(decided(instance, called)),
            None => Progress::waiting(on_fiber(NotBegun(Some(instance)))),
        }
    }

    async fn on_new_instance(self, host: H) -> Result<Outcome<H>, Error> {
        let mut instance = match self.0.obtain().await {
            Ok(instance) => instance,
            Err(error) => match self.0.inner.blueprint.startup.shared.on_failure {
                OnFailure::Open => return Ok(Outcome::Bypassed { host, error }),
                OnFailure::Closed => return Err(error),
            },
        };
        instance.begin(host);
        match instance.handle_request() {
            Some(called) => decided(instance, called),
            None => on_fiber(NotBegun(Some(instance))).await,
        }
    }
}

impl<H: Host> Handle<H> {
    /// An instance for a request that has found none: a new one, or one that comes back before its turn to make one has come.
    async fn obtain(&self) -> Result<PooledInstance<H>, Error> {
        let Self { inner, pool, .. } = self;
        let made = if inner.calls().run_at_start() {
            match pool.turns().wait(inner.engine(), || pool.take()).await {
                Got::Given(instance) => {
                    inner.checked_out(true);
                    return Ok(instance);
                }
                Got::Turn(turn) => {
                    inner.checked_out(false);
                    turn.run(inner.make_unless_hopeless()).await
                }
            }
        } else {
            inner.checked_out(false);
            inner.make_unless_hopeless().await
        };
        made.map(|instance| pool.guard(instance))
    }
}

/// An instance whose guest has seen nothing of the request yet: if nobody polls, it goes back as it came.
struct NotBegun<H: Host>(Option<PooledInstance<H>>);

impl<H: Host> Drop for NotBegun<H> {
    fn drop(&mut self) {
        if let Some(mut instance) = self.0.take() {
            let _host = instance.end();
            instance.recycle();
        }
    }
}

async fn on_fiber<H: Host>(mut ready: NotBegun<H>) -> Result<Outcome<H>, Error> {
    let mut instance = ready.0.take().expect("taken only here");
    let called = instance.handle_request_on_fiber().await;
    decided(instance, called)
}

/// What becomes of a request and its instance once the guest's first function has returned or failed.
#[inline]
fn decided<H: Host>(
    mut instance: PooledInstance<H>,
    called: Result<bool, Error>,
) -> Result<Outcome<H>, Error> {
    match called {
        Ok(true) => Ok(Outcome::Next(Pinned::new(instance))),
        Ok(false) => {
            let host = instance.end()?;
            instance.recycle();
            Ok(Outcome::Respond(host))
        }
        Err(error) => {
            instance.doubt(DropReason::of(&error));
            match instance.undo(BodyKind::Request, &error) {
                Some(host) => Ok(Outcome::Bypassed { host, error }),
                None => Err(error),
            }
        }
    }
}

impl<H: Host> Inner<H> {
    async fn make_unless_hopeless(self: &Arc<Self>) -> Result<Box<Instance<H>>, Error> {
        let attempt = self.backoff.attempt().map_err(|wait| {
            let reason = "it has repeatedly failed to start and is tried again later";
            Error::unavailable(self.blueprint.startup.shared.name.clone(), reason.into(), wait)
        })?;
        let made = self.make().await;
        match &made {
            Ok(_) => attempt.succeeded(),
            // No fault of the guest: what there is too little of now may be there again at once.
            Err(error) if error.kind() == ErrorKind::Unavailable => drop(attempt),
            Err(_) => attempt.failed(),
        }
        made
    }

    async fn make(self: &Arc<Self>) -> Result<Box<Instance<H>>, Error> {
        let started = self.observer.as_ref().map(|_| Instant::now());
        let making = Making(Some(&**self));
        let made = Instance::make(self, Live::new(&self.counters)).await;
        making.finish();
        if let (Some(observer), Some(started)) = (&self.observer, started) {
            observer.created(started.elapsed(), made.as_ref().err());
        }
        match &made {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::Unavailable => self.counters.refused(),
            Err(_) => self.dropped(DropReason::Failed),
        }
        made
    }

    #[inline]
    fn checked_out(&self, hit: bool) {
        if let Some(observer) = &self.observer {
            observer.checked_out(hit);
        }
    }

    pub(crate) fn calls(&self) -> &Calls {
        &self.blueprint.startup.calls
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.blueprint.startup.engine
    }

    pub(crate) fn name(&self) -> &str {
        &self.blueprint.startup.shared.name
    }

    /// Counts an instance that is dropped.
    pub(crate) fn dropped(&self, reason: DropReason) {
        self.counters.dropped(reason);
        if let Some(observer) = &self.observer {
            observer.dropped(reason);
        }
    }
}

impl<H: Host> Drop for Handle<H> {
    fn drop(&mut self) {
        self.sweep.stop();
        self.pool.close();
    }
}

/// Counts an instance that never gets finished because its request is cancelled.
struct Making<'a, H: Host>(Option<&'a Inner<H>>);

impl<H: Host> Making<'_, H> {
    fn finish(mut self) {
        self.0 = None;
    }
}

impl<H: Host> Drop for Making<'_, H> {
    fn drop(&mut self) {
        if let Some(inner) = self.0 {
            inner.dropped(DropReason::Cancelled);
        }
    }
}

impl<H: Host> Clone for Guest<H> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<H: Host> fmt::Debug for Guest<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guest")
            .field("name", &self.name())
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}

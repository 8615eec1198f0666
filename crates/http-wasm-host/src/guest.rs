//! A guest: a compiled, validated and linked module, and the pool of its instances.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::abi::{BodyKind, Features};
use crate::builder::GuestBuilder;
use crate::engine::Engine;
use crate::error::{Error, LoadError};
use crate::failure::OnFailure;
use crate::host::Host;
use crate::inspect::Inspection;
use crate::instance::{Blueprint, Instance};
use crate::pinned::{Outcome, Pinned};
use crate::pool::{Pool, PooledInstance};
use crate::stats::{Counters, DropReason, Live, PoolStats};

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
/// # let poll = |f: std::pin::Pin<&mut dyn Future<Output = _>>| f.poll(&mut std::task::Context::from_waker(std::task::Waker::noop()));
/// # let outcome = std::pin::pin!(guest.handle_request(InMemoryHost::new("GET", "/")));
/// # let std::task::Poll::Ready(outcome) = poll(outcome) else { panic!() };
/// // let outcome = guest.handle_request(InMemoryHost::new("GET", "/")).await;
/// assert!(matches!(outcome, Ok(Outcome::Respond(host)) if host.status == 200));
/// # Ok::<(), http_wasm_host::LoadError>(())
/// ```
pub struct Guest<H: Host>(Arc<Inner<H>>);

pub(crate) struct Inner<H: Host> {
    blueprint: Blueprint<H>,
    pub(crate) pool: Pool<H>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) reads_request: bool,
    facts: GuestFacts,
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
    /// How long compiling took.
    pub compile_time: Duration,
    /// How long making the first instance took.
    pub start_time: Duration,
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

    pub(crate) fn new(
        blueprint: Blueprint<H>,
        reads_request: bool,
        inspection: Inspection,
        compile_time: Duration,
    ) -> Result<Self, LoadError> {
        let counters = Arc::new(Counters::default());
        let started = std::time::Instant::now();
        let first =
            crate::block_on::block_on(blueprint.build(Live::new(&counters))).map_err(LoadError::Start)?;
        let facts = GuestFacts {
            inspection,
            features: first.features(),
            memory_bytes: first.memory_size(),
            compile_time,
            start_time: started.elapsed(),
        };
        let pool = Pool::new();
        pool.put(Box::new(first));
        Ok(Self(Arc::new(Inner { blueprint, pool, counters, reads_request, facts })))
    }

    /// The guest's name, as it stands in errors and logs.
    pub fn name(&self) -> &str {
        self.0.name()
    }

    /// What is known of the guest.
    pub fn facts(&self) -> &GuestFacts {
        &self.0.facts
    }

    /// Counts of its instances.
    pub fn stats(&self) -> PoolStats {
        self.0.counters.read(self.0.pool.idle())
    }

    /// Runs `handle_request` on an idle instance, or a new one.
    ///
    /// Dropping the future while the guest runs drops the instance. A guest that need not wait runs on the stack
    /// of the thread that polls, of which it may use
    /// [`guest_stack_bytes`](crate::EngineBuilder::guest_stack_bytes): leave it that much.
    ///
    /// # Errors
    /// When no instance can be made or the guest fails, unless it [fails open](crate::OnFailure::Open). Other requests are not
    /// affected.
    pub async fn handle_request(&self, host: H) -> Result<Outcome<H>, Error> {
        let mut instance = match self.checkout().await {
            Ok(instance) => instance,
            Err(error) => match self.0.on_failure() {
                OnFailure::Open => return Ok(Outcome::Bypassed { host, error }),
                OnFailure::Closed => return Err(error),
            },
        };
        instance.begin(host);
        match instance.handle_request().await {
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

    async fn checkout(&self) -> Result<PooledInstance<H>, Error> {
        let instance = match self.0.pool.take() {
            Some(instance) => instance,
            // Boxed, so that the usual call's future stays small.
            None => Box::new(Box::pin(self.0.make()).await?),
        };
        Ok(PooledInstance::new(self.0.clone(), instance))
    }
}

impl<H: Host> Inner<H> {
    async fn make(&self) -> Result<Instance<H>, Error> {
        let making = Making(Some(&self.counters));
        let made = self.blueprint.build(Live::new(&self.counters)).await;
        making.finish(made.as_ref().err().map(|_| DropReason::Failed));
        made
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.blueprint.engine
    }

    pub(crate) fn on_failure(&self) -> OnFailure {
        self.blueprint.shared.on_failure
    }

    pub(crate) fn name(&self) -> &str {
        &self.blueprint.shared.name
    }
}

/// Counts an instance that never gets finished, be it that its request is cancelled.
struct Making<'a>(Option<&'a Counters>);

impl Making<'_> {
    fn finish(mut self, dropped: Option<DropReason>) {
        if let (Some(counters), Some(reason)) = (self.0.take(), dropped) {
            counters.dropped(reason);
        }
    }
}

impl Drop for Making<'_> {
    fn drop(&mut self) {
        if let Some(counters) = self.0 {
            counters.dropped(DropReason::Cancelled);
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

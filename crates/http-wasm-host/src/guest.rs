//! A guest: a compiled, validated and linked module, and the pool of its instances.

mod probe;
mod request;

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::abi::Features;
use crate::engine::{Engine, SnapshotFacts, block_on};
use crate::error::{Error, LoadError};
use crate::host::Host;
use crate::load::builder::GuestBuilder;
use crate::load::inspect::Inspection;
use crate::load::inspect::lint::Probed;
use crate::load::prepare::Prepared;
use crate::pool::Pool;
use crate::pool::factory::Factory;
use crate::pool::sweep::Sweep;
use crate::stats::PoolStats;
use crate::warning::Warning;

/// A loaded guest: a compiled module, and a pool of its instances. Cheap to clone; all clones share the pool.
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

/// What all clones of a guest share. The pool is closed with the last of them; instances in use finish first.
struct Handle<H: Host> {
    factory: Arc<Factory<H>>,
    pool: Arc<Pool<H>>,
    facts: GuestFacts,
    sweep: Arc<Sweep<H>>,
}

/// Facts about a loaded guest.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct GuestFacts {
    /// What is known about the module.
    pub inspection: Inspection,
    /// The features that the guest enabled while its first instance was created.
    pub features: Features,
    /// The memory of the first instance after its start-up, in bytes.
    pub memory_bytes: usize,
    /// The size of the machine code and its metadata, in bytes. Guests with the same module share it.
    pub code_bytes: usize,
    /// The size of the debug information that is kept for [backtraces](GuestBuilder::backtraces), in bytes. Guests with
    /// the same module share it.
    pub debug_info_bytes: usize,
    /// The file that contains debug information of the guest in place of the module, if there is one. Such files aren't
    /// read, so backtraces lack what they contain.
    pub separate_debug_info: Option<String>,
    /// How long it took to compile the guest and to make its snapshot, unless another guest already had them.
    pub compile_time: Duration,
    /// How long it took to create the first instance.
    pub start_time: Duration,
    /// What is probably wrong with how the guest was built, except what was [allowed](GuestBuilder::allow).
    pub warnings: Vec<Warning>,
    /// The snapshot that instances start from. `None` if there is no snapshot, or no code runs at start-up.
    pub snapshot: Option<SnapshotFacts>,
}

impl<H: Host> Guest<H> {
    /// Loads a guest with default settings from `.wasm` or `.wat` bytes.
    ///
    /// Compiling can take seconds, and one instance is created: call it where blocking is allowed.
    ///
    /// # Errors
    /// If the bytes aren't a guest for this ABI, or the first instance can't be created.
    pub fn load(engine: &Engine, bytes: &[u8]) -> Result<Self, LoadError> {
        Self::builder(engine).load(bytes)
    }

    /// Returns a builder with default settings.
    pub fn builder(engine: &Engine) -> GuestBuilder {
        GuestBuilder::new(engine.clone())
    }

    fn new(prepared: Prepared<H>) -> Result<Self, LoadError> {
        let Prepared { blueprint, inspection, pool: settings, compile_time, review, prober } = prepared;
        let code_bytes = blueprint.code_bytes();
        let factory = Arc::new(Factory::new(blueprint));
        let started = Instant::now();
        let first = block_on(factory.make(false)).map_err(LoadError::start)?;
        let start_time = started.elapsed();
        let warnings = match review {
            Some(review) => {
                let probed = prober.map_or(Probed::Unknown, |(builder, wasm)| probe::run(builder, &wasm));
                let name = &factory.shared().name;
                review.conclude(name, inspection.lint_facts(), first.features(), probed)?
            }
            None => Vec::new(),
        };
        let facts = GuestFacts {
            warnings,
            inspection,
            features: first.features(),
            memory_bytes: first.memory_size(),
            code_bytes,
            debug_info_bytes: factory.shared().symbols.debug_info_bytes(),
            separate_debug_info: factory.shared().symbols.separate_debug_info().map(str::to_owned),
            compile_time,
            start_time,
            snapshot: factory.startup().image.as_ref().map(|image| image.facts),
        };
        let pool = Arc::new(Pool::new(settings, factory.shared().clone()));
        let sweep = Sweep::start(&pool, factory.clone());
        pool.add(first).recycle();
        let guest = Self(Arc::new(Handle { factory, pool, facts, sweep }));
        guest.warm_up(settings.min_warm.saturating_sub(1)).map_err(LoadError::start)?;
        guest.0.sweep.warmed_up();
        Ok(guest)
    }

    /// Creates `count` more instances, on as many threads as the machine can run at once.
    fn warm_up(&self, count: usize) -> Result<(), Error> {
        let threads = std::thread::available_parallelism().map_or(1, usize::from).min(count);
        std::thread::scope(|scope| {
            let shares = (0..threads).map(|i| count / threads + usize::from(i < count % threads));
            let workers: Vec<_> = shares
                .map(|share| {
                    scope.spawn(move || {
                        (0..share).try_for_each(|_| {
                            let made = block_on(self.0.factory.make(false))?;
                            self.0.pool.add(made).recycle();
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

    /// Returns the guest's name, as it appears in errors and logs.
    pub fn name(&self) -> &str {
        &self.0.factory.shared().name
    }

    /// Returns facts about the guest.
    pub fn facts(&self) -> &GuestFacts {
        &self.0.facts
    }

    /// Returns how many instances of the guest there are, and what happened to others.
    pub fn stats(&self) -> PoolStats {
        self.0.factory.shared().counters.read(self.0.pool.idle())
    }
}

/// The last step of a builder.
impl GuestBuilder {
    /// Loads the guest from a `.wasm` or `.wat` file.
    ///
    /// # Errors
    /// If the file can't be read, and as for [`load`](Self::load).
    pub fn load_file<H: Host>(mut self, path: impl AsRef<Path>) -> Result<Guest<H>, LoadError> {
        let path = path.as_ref();
        let bytes = std::fs::read(path).map_err(|source| LoadError::Read { path: path.into(), source })?;
        self.name_after(path);
        self.load(&bytes)
    }

    /// Loads the guest from `.wasm` or `.wat` bytes.
    ///
    /// Compiling can take seconds, and one instance is created: call it where blocking is allowed.
    ///
    /// # Errors
    /// If the bytes aren't a guest for this ABI, the configuration is too long, a grant can't be satisfied, the first
    /// instance can't be created, or the guest was built in such a way that it does nothing (see
    /// [`Lint`](crate::Lint)).
    pub fn load<H: Host>(self, bytes: &[u8]) -> Result<Guest<H>, LoadError> {
        let slow = self.slow_load();
        let guest = Guest::new(self.prepare(bytes)?)?;
        if let Some(slow) = slow {
            let GuestFacts { code_bytes, memory_bytes, debug_info_bytes, .. } = *guest.facts();
            slow.loaded(code_bytes, memory_bytes, debug_info_bytes);
        }
        Ok(guest)
    }

    /// [Loads](Self::load) the guest on a separate thread, so that no thread of an async runtime is blocked. This works
    /// with any runtime.
    ///
    /// Dropping the future doesn't stop the thread: it loads the guest and then drops it.
    ///
    /// ```
    /// use http_wasm_host::{Engine, Guest, InMemoryHost};
    ///
    /// # futures_executor::block_on(async {
    /// let module = br#"(module
    ///     (memory (export "memory") 1)
    ///     (func (export "handle_request") (result i64) (i64.const 1))
    ///     (func (export "handle_response") (param i32 i32)))"#;
    /// let guest: Guest<InMemoryHost> = Guest::<InMemoryHost>::builder(&Engine::new()?).load_async(module).await?;
    /// # Ok::<(), http_wasm_host::LoadError>(())
    /// # }).unwrap()
    /// ```
    ///
    /// # Errors
    /// As for [`load`](Self::load), and if no thread can be started.
    pub async fn load_async<H: Host>(self, bytes: impl Into<Vec<u8>>) -> Result<Guest<H>, LoadError> {
        let bytes = bytes.into();
        on_thread(move || self.load(&bytes)).await
    }

    /// [Loads](Self::load_file) the guest from a file on a separate thread, like [`load_async`](Self::load_async).
    ///
    /// # Errors
    /// As for [`load_file`](Self::load_file), and if no thread can be started.
    pub async fn load_file_async<H: Host>(self, path: impl AsRef<Path>) -> Result<Guest<H>, LoadError> {
        let path = path.as_ref().to_owned();
        on_thread(move || self.load_file(path)).await
    }
}

/// Runs `load` on a separate thread, and returns its result.
async fn on_thread<T: Send + 'static>(
    load: impl FnOnce() -> Result<T, LoadError> + Send + 'static,
) -> Result<T, LoadError> {
    let (sender, receiver) = tokio::sync::oneshot::channel();
    let subscriber = tracing::dispatcher::get_default(Clone::clone);
    let thread = std::thread::Builder::new().name("http-wasm-load".into());
    let loading = thread.spawn(move || {
        // The caller may have stopped waiting.
        let _ = sender.send(tracing::dispatcher::with_default(&subscriber, load));
    });
    let loading = loading.map_err(|error| {
        LoadError::Engine(format!(
            "cannot start a thread to load the guest: \
             {error}"
        ))
    })?;
    match receiver.await {
        Ok(loaded) => loaded,
        Err(_) => match loading.join() {
            Err(panic) => std::panic::resume_unwind(panic),
            Ok(()) => unreachable!("a thread that ends has sent its result"),
        },
    }
}

impl<H: Host> Drop for Handle<H> {
    fn drop(&mut self) {
        self.sweep.stop();
        self.pool.close();
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

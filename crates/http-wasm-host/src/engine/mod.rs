//! The engine: one compiler and one clock for many guests.

mod block_on;
mod cache;
mod code;
mod directory;
mod images;
mod mappings;
mod memory;
mod precompiled;
mod single_flight;
mod threads;
mod ticker;
mod wasm;

use std::convert::Infallible;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use wasmtime::StackCreator;

use self::cache::CodeCache;
use self::code::CompiledModules;
use self::images::Images;
use self::single_flight::SingleFlight;
use self::threads::FileThreadsByGuest;
use self::ticker::{TICK, Ticker};
use self::wasm::{Engines, Settings, TABLE_ELEMENTS};
use crate::error::LoadError;
use crate::limits::Limits;
use crate::message::body_budget::BodyBudget;
use crate::runtime::{Background, Runtime, TokioRuntime};
use crate::stats::Counters;
use crate::symbols::{Backtraces, Shift, Symbols};

pub(crate) use self::block_on::block_on;
pub(crate) use self::code::{SharedCode, Source};
pub use self::images::SnapshotFacts;
pub(crate) use self::images::{Image, ImageKey};
pub(crate) use self::memory::{Growth, MemoryBudget, Quota, Scarce};
pub(crate) use self::precompiled::{Precompiled, is_precompiled};
pub(crate) use self::threads::FileThreads;
pub(crate) use self::ticker::Ticks;

const GUEST_STACK_BYTES: usize = 512 * 1024;

/// The compiler, the compiled code and the memory budgets that guests share. Cheap to clone; a process needs one.
///
/// ```
/// use http_wasm_host::{Engine, Guest, InMemoryHost};
///
/// let engine = Engine::builder()
///     // All instances together, in bytes: beyond that, requests get 503.
///     .memory_budget(512 << 20)
///     // The bodies that are held for guests, in bytes.
///     .body_memory_budget(128 << 20)
///     .build()?;
/// let guest = Guest::<InMemoryHost>::load(&engine, br#"(module
///   (memory (export "memory") 1)
///   (func (export "handle_request") (result i64) i64.const 0)
///   (func (export "handle_response") (param i32 i32)))"#)?;
/// assert!(engine.memory_in_use() >= guest.facts().memory_bytes);
/// # Ok::<(), http_wasm_host::LoadError>(())
/// ```
#[derive(Clone)]
pub struct Engine(Arc<Inner>);

struct Inner {
    ticker: Ticker,
    engines: Engines,
    modules: CompiledModules,
    images: Images,
    symbols: SingleFlight<SymbolsKey, Symbols>,
    file_threads: FileThreadsByGuest,
    memory: Arc<MemoryBudget>,
    bodies: BodyBudget,
    background: Background,
    yields_always: bool,
}

/// The digest of the author's module, and what backtraces contain.
type SymbolsKey = ([u8; 32], Backtraces);

/// Settings for an [`Engine`].
pub struct EngineBuilder {
    runtime: Box<dyn Runtime>,
    yields_always: bool,
    stacks: Option<Arc<dyn StackCreator>>,
    guest_stack_bytes: usize,
    slots: u32,
    memory_budget: usize,
    mapping_budget: Option<usize>,
    body_memory_budget: usize,
    code_cache: Option<CodeCacheSetting>,
}

/// The directory of the code cache.
enum CodeCacheSetting {
    /// A directory that the operator has chosen.
    Trusted(PathBuf),
    /// A directory that is used only if no other user can write to it.
    Private(PathBuf),
}

/// The default number of slots for instances, enough for a burst of a thousand requests. Setting them up takes 3 ms,
/// and a process can have about thirty such engines, as tests do.
const SLOTS: u32 = 1_000;

impl Engine {
    /// Creates an engine with default settings. In a tokio runtime, it uses tokio's tasks and timers; otherwise it uses
    /// its own thread. See [`Runtime`].
    ///
    /// # Errors
    /// If this machine can't run WebAssembly, or no thread can be started.
    pub fn new() -> Result<Self, LoadError> {
        Self::builder().build()
    }

    /// Returns a builder with default settings.
    pub fn builder() -> EngineBuilder {
        EngineBuilder {
            runtime: Box::new(TokioRuntime),
            yields_always: false,
            stacks: None,
            guest_stack_bytes: GUEST_STACK_BYTES,
            slots: SLOTS,
            memory_budget: usize::MAX,
            mapping_budget: None,
            body_memory_budget: usize::MAX,
            code_cache: None,
        }
    }

    /// Returns how much memory the instances of all guests use now, in bytes.
    pub fn memory_in_use(&self) -> usize {
        self.0.memory.used()
    }

    /// Returns the budget for the bodies that are held for all exchanges.
    #[inline]
    pub fn body_budget(&self) -> &BodyBudget {
        &self.0.bodies
    }

    /// Returns how many entries of the [code cache](EngineBuilder::code_cache) were discarded, and their modules
    /// compiled again, because they were damaged or could have been written by others.
    pub fn code_cache_discarded(&self) -> u64 {
        self.0.modules.discarded()
    }

    /// Returns the code for `wasm`. It is compiled unless another guest already uses it.
    pub(crate) fn code(
        &self,
        wasm: &[u8],
        source: Source<'_>,
        limits: &Limits,
    ) -> Result<SharedCode, String> {
        // A table in a slot can't grow beyond this.
        let slots = limits.table_elements <= TABLE_ELEMENTS;
        self.0.modules.get(&self.0.engines, wasm, source, slots)
    }

    /// Returns the code for `wasm`, which runs only once and so needs no slot.
    pub(crate) fn code_without_slots(&self, wasm: &[u8]) -> Result<SharedCode, String> {
        self.0.modules.get(&self.0.engines, wasm, Source::Compiler, false)
    }

    /// Compiles code for any engine of this version, on any machine with the same features.
    pub(crate) fn precompile(&self, wasm: &[u8]) -> wasmtime::Result<Vec<u8>> {
        self.0.engines.on_demand.precompile_module(wasm)
    }

    /// The quota of an instance that is created for a request, which may be sheddable.
    pub(crate) fn quota(&self, counters: &Arc<Counters>, limits: &Limits, sheddable: bool) -> Quota {
        Quota::new(self.0.memory.clone(), counters.clone(), limits, sheddable)
    }

    /// The memory budget of all guests' instances.
    pub(crate) fn memory(&self) -> &MemoryBudget {
        &self.0.memory
    }

    /// Returns the snapshot with that key, created by `make` unless another guest already has it.
    ///
    /// # Errors
    /// Those of `make`.
    pub(crate) fn image<E>(
        &self,
        key: ImageKey,
        make: impl FnOnce() -> Result<Image, E>,
    ) -> Result<Arc<Image>, E> {
        self.0.images.get_or_make(key, make)
    }

    /// The symbols of the author's module. They are read unless another guest already uses them.
    pub(crate) fn symbols(&self, wasm: &[u8], moved: Vec<Shift>, backtraces: Backtraces) -> Arc<Symbols> {
        let key = (Sha256::digest(wasm).into(), backtraces);
        let read = || Ok::<_, Infallible>(Symbols::read(wasm, moved, backtraces));
        let Ok(symbols) = self.0.symbols.get_or_make(key, read);
        symbols
    }

    /// The threads for file operations of the guest with this name.
    pub(crate) fn file_threads(&self, guest: &Arc<str>) -> Result<Arc<FileThreads>, String> {
        self.0.file_threads.of(guest)
    }

    /// The engine without slots, for modules that are used once.
    pub(crate) fn wasm(&self) -> &wasmtime::Engine {
        &self.0.engines.on_demand
    }

    /// Whether every call must be able to yield.
    pub(crate) fn yields_always(&self) -> bool {
        self.0.yields_always
    }

    /// Runs background work and timers.
    pub(crate) fn background(&self) -> &Background {
        &self.0.background
    }

    /// The clock of its guests.
    pub(crate) fn ticks(&self) -> &Arc<Ticks> {
        self.0.ticker.ticks()
    }

    /// `duration` in this engine's ticks, rounded up.
    pub(crate) fn in_ticks(&self, duration: Duration) -> TickLimit {
        let ticks = duration.as_nanos().div_ceil(TICK.as_nanos());
        // Kept well below the point where adding it to the current epoch would overflow.
        TickLimit { duration, ticks: u64::try_from(ticks).unwrap_or(u64::MAX).clamp(1, u64::MAX / 4) }
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").finish_non_exhaustive()
    }
}

impl EngineBuilder {
    /// Sets the async runtime whose tasks, timers and yielding the engine uses. Defaults to [`TokioRuntime`].
    pub fn runtime(mut self, runtime: impl Runtime) -> Self {
        self.runtime = Box::new(runtime);
        self
    }

    /// Sets whether every call that may compute for a long time can yield. By default, once a guest has proved to be
    /// quick, it runs on its caller's stack, which is cheaper. If it then computes for a long time, it blocks that
    /// thread until its deadline, but only once. Set this for a server whose event loop runs on that thread.
    ///
    /// A function of a guest whose code has no loops, recursion or indirect calls ends after few instructions. It runs
    /// on its caller's stack either way, unless it has to wait.
    pub fn yields_always(mut self, yields_always: bool) -> Self {
        self.yields_always = yields_always;
        self
    }

    /// Sets where the stacks of calls that may have to wait come from, for servers that need to know what surrounds a
    /// stack. Guests then get no slots, since slots have their own stacks.
    #[doc(hidden)]
    pub fn stacks(mut self, stacks: Arc<dyn StackCreator>) -> Self {
        self.stacks = Some(stacks);
        self
    }

    /// Sets how much stack a call into a guest may use, in bytes; exceeding it is a trap. Defaults to 512 KiB, a
    /// quarter of what threads usually have. A call that doesn't have to wait runs on the stack of the calling thread,
    /// which must have that much left, or the process aborts.
    pub fn guest_stack_bytes(mut self, bytes: usize) -> Self {
        self.guest_stack_bytes = bytes;
        self
    }

    /// Sets the number of slots for instances. Creating an instance in a slot takes microseconds; beyond that,
    /// instances are created on demand, at several times the cost. A slot costs about 200 bytes while it is unused, 3
    /// µs when the engine is built, and 4 GiB of address space, of which a process has about 128 TiB; if there is less,
    /// there are fewer slots. Defaults to 1,000, enough for a burst of that many requests; 0 for none. Far more than
    /// 10,000 exceed the system's limit on mappings.
    pub fn slots(mut self, slots: u32) -> Self {
        self.slots = slots;
        self
    }

    /// Sets the maximum memory of the instances of all guests together, in bytes. When it is used up, requests that
    /// need a new instance fail as [`Unavailable`](crate::ErrorKind::Unavailable), and guests can't grow their memory.
    /// The last quarter is reserved for requests that aren't [sheddable](crate::LocalHost::is_sheddable). No limit by
    /// default: a library can't know what else its process holds.
    pub fn memory_budget(mut self, bytes: usize) -> Self {
        self.memory_budget = bytes;
        self
    }

    /// Sets the maximum number of memory mappings of the instances of all guests together. An instance has three per
    /// memory, whatever its size, and two for a stack. Linux limits how many a process may have (`vm.max_map_count`,
    /// usually 65,530), and a process at the limit can't allocate any memory. When the budget is used up, requests that
    /// need a new instance fail as [`Unavailable`](crate::ErrorKind::Unavailable), as for the [memory
    /// budget](Self::memory_budget).
    ///
    /// Defaults to the system's limit, less two for each slot and 4,096 for the rest of the process. Set it if a
    /// process has several engines, or many mappings of its own.
    pub fn mapping_budget(mut self, mappings: usize) -> Self {
        self.mapping_budget = Some(mappings);
        self
    }

    /// Sets the maximum size of the bodies that are held for all exchanges together, in bytes. Bytes are held until
    /// they are delivered if guests have read them and the next handler gets them again, if guests have written them,
    /// or if trailers must arrive first. At the limit, requests fail as [`BodyMemory`](crate::ErrorKind::BodyMemory):
    /// those that make no progress first, then the youngest; see [`BodyBudget`]. No limit by default.
    ///
    /// A single request may hold up to its guest's [`replay_bytes`](crate::Limits::replay_bytes) and
    /// [`written_bytes`](crate::Limits::written_bytes), so leave room for several of those. Usage may briefly exceed
    /// the limit by a quarter, and the oldest request is never refused.
    pub fn body_memory_budget(mut self, bytes: usize) -> Self {
        self.body_memory_budget = bytes;
        self
    }

    /// Keeps compiled code in this directory from one process to the next, up to 1 GiB. By default, code isn't kept.
    ///
    /// Damaged entries are discarded and counted ([`Engine::code_cache_discarded`]). Anyone who can write to the
    /// directory can run code in this process; a warning is logged if users other than this one and root can.
    pub fn code_cache(mut self, directory: impl Into<PathBuf>) -> Self {
        self.code_cache = Some(CodeCacheSetting::Trusted(directory.into()));
        self
    }

    /// Like [`code_cache`](Self::code_cache), for a directory that the operator hasn't chosen, such as one below the
    /// user's cache directory. It is used only if it belongs to the process's user, no other user can write to it, and
    /// it isn't a symbolic link. Otherwise there is no cache, which is logged once.
    pub fn private_code_cache(mut self, directory: impl Into<PathBuf>) -> Self {
        self.code_cache = Some(CodeCacheSetting::Private(directory.into()));
        self
    }

    /// Creates the engine.
    ///
    /// # Errors
    /// If the size of the guests' stack is invalid, this machine can't run WebAssembly, no thread can be started, or
    /// the code cache's directory can't be used.
    pub fn build(self) -> Result<Engine, LoadError> {
        let failed = |error: wasmtime::Error| LoadError::Engine(format!("{error:#}"));
        let cache = self.code_cache.map(CodeCacheSetting::open).transpose()?.flatten();
        let engines = Engines::new(&Settings {
            slots: if self.stacks.is_none() { self.slots } else { 0 },
            guest_stack_bytes: self.guest_stack_bytes,
            stacks: self.stacks,
        })
        .map_err(failed)?;
        let mappings = self.mapping_budget.or_else(|| mappings::for_instances(engines.number_of_slots));
        let ticker = start_ticker(&engines)
            .map_err(|e| LoadError::Engine(format!("cannot start the timer thread: {e}")))?;
        Ok(Engine(Arc::new(Inner {
            ticker,
            engines,
            modules: CompiledModules::new(cache),
            images: Images::default(),
            symbols: SingleFlight::default(),
            file_threads: FileThreadsByGuest::default(),
            memory: Arc::new(MemoryBudget::new(self.memory_budget, mappings)),
            bodies: BodyBudget::new(self.body_memory_budget),
            background: Background::new(self.runtime),
            yields_always: self.yields_always,
        })))
    }
}

impl CodeCacheSetting {
    fn open(self) -> Result<Option<CodeCache>, LoadError> {
        match self {
            Self::Trusted(directory) => CodeCache::open(directory.clone()).map(Some).map_err(|e| {
                LoadError::Engine(format!("cannot open the code cache {}: {e}", directory.display()))
            }),
            Self::Private(directory) => Ok(CodeCache::open_private(directory.clone())
                .inspect_err(|reason| {
                    let directory = directory.display();
                    tracing::info!("compiled guests aren't cached in {directory}: {reason}");
                })
                .ok()),
        }
    }
}

impl fmt::Debug for EngineBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EngineBuilder").finish_non_exhaustive()
    }
}

/// A duration, and the same in ticks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TickLimit {
    pub(crate) duration: Duration,
    pub(crate) ticks: u64,
}

/// Starts the thread that advances the engine's epochs.
fn start_ticker(engines: &Engines) -> std::io::Result<Ticker> {
    let mut engines: Vec<_> = engines.slots.iter().chain([&engines.on_demand]).map(|e| e.weak()).collect();
    Ticker::start(move || {
        engines.retain(|engine| match engine.upgrade() {
            Some(engine) => {
                engine.increment_epoch();
                true
            }
            None => false,
        });
        !engines.is_empty()
    })
}

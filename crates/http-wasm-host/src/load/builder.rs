//! The settings of a guest, and loading it.

use std::ffi::OsStr;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use super::blueprint::Blueprint;
use super::inspect::shim::Shimmed;
use super::inspect::{self, Inspection};
use super::review::Review;
use super::slow::SlowLoad;
use super::snapshot::{self, Snapshot};
use super::startup::{StartFunctions, Startup};
use super::waits;
use crate::abi::Phase;
use crate::bodies::{Bodies, Decoding, Stream};
use crate::engine::{Engine, Precompiled, SharedCode, Source, is_precompiled};
use crate::error::LoadError;
use crate::exchange::DecodedBodies;
use crate::failure::OnFailure;
use crate::host::Host;
use crate::limits::{Limits, PoolSettings};
use crate::log::Log;
use crate::observer::Observer;
use crate::rule::Broken;
use crate::run::compute::Compute;
use crate::run::hook::Hook;
use crate::run::link::Linked;
use crate::run::shared::{Calls, Shared};
use crate::run::suspend::StartFiberPolicy;
use crate::run::wasi::{self, Mount, WasiConfig};
use crate::symbols::Backtraces;
use crate::trace::{TraceEvent, Tracer};
use crate::warning::{Lint, Warning};

/// Settings for loading a guest. The guest only has access to what is granted here.
///
/// ```
/// use std::time::Duration;
///
/// use http_wasm_host::{Engine, Guest, InMemoryHost, Limits, OnFailure};
///
/// let guest: Guest<InMemoryHost> = Guest::<InMemoryHost>::builder(&Engine::new()?)
///     .name("auth")
///     .config(r#"{"realm": "staff"}"#)
///     .env("RULES", "strict")
///     .limits(Limits { deadline: Duration::from_millis(100), ..Limits::default() })
///     .on_failure(OnFailure::Closed)
///     .load(br#"(module
///         (memory (export "memory") 1)
///         (func (export "handle_request") (result i64) i64.const 1)
///         (func (export "handle_response") (param i32 i32)))"#)?;
/// assert_eq!(guest.name(), "auth");
/// # Ok::<(), http_wasm_host::LoadError>(())
/// ```
#[derive(Clone)]
#[must_use = "a builder does nothing until it loads a guest"]
pub struct GuestBuilder {
    engine: Engine,
    name: Option<String>,
    config: Vec<u8>,
    limits: Limits,
    on_failure: OnFailure,
    bodies: Bodies,
    decoding: Decoding,
    stream: Stream,
    pool: PoolSettings,
    observer: Option<Arc<dyn Observer>>,
    wasi: WasiConfig,
    snapshot: Snapshot,
    trust_precompiled: bool,
    hook: Option<Hook>,
    broken: Broken,
    allowed: Vec<Lint>,
    strict: bool,
    backtraces: Backtraces,
    is_probe: bool,
    quiet: bool,
    #[cfg(feature = "mutations")]
    intercept: Option<crate::run::intercept::Intercept>,
}

/// A guest that is ready for its first instance.
pub(crate) struct Prepared<H: Host> {
    pub(crate) blueprint: Blueprint<H>,
    pub(crate) inspection: Inspection,
    pub(crate) pool: PoolSettings,
    /// How long it took to compile the guest and create the snapshot.
    pub(crate) compile_time: Duration,
    /// How the guest is reviewed. `None` in a trial.
    pub(crate) review: Option<Review>,
    /// The guest's settings and module, if it should be tried with a request.
    pub(crate) prober: Option<(GuestBuilder, Vec<u8>)>,
}

impl GuestBuilder {
    pub(crate) fn new(engine: Engine) -> Self {
        Self {
            engine,
            name: None,
            config: Vec::new(),
            limits: Limits::default(),
            on_failure: OnFailure::default(),
            bodies: Bodies::default(),
            decoding: Decoding::default(),
            stream: Stream::default(),
            pool: PoolSettings::default(),
            observer: None,
            wasi: WasiConfig::default(),
            snapshot: Snapshot::Off,
            trust_precompiled: false,
            hook: None,
            broken: Broken::default(),
            allowed: Vec::new(),
            strict: false,
            backtraces: Backtraces::default(),
            is_probe: false,
            quiet: false,
            #[cfg(feature = "mutations")]
            intercept: None,
        }
    }

    /// Sets the guest's name in errors and logs. Defaults to the name of its file without the extension, or to "guest".
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Sets the bytes that the guest gets from `get_config`. Empty by default.
    pub fn config(mut self, config: impl Into<Vec<u8>>) -> Self {
        self.config = config.into();
        self
    }

    /// Sets limits on what the guest may use.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Sets what happens to a request when the guest fails. Defaults to [`OnFailure::Closed`].
    pub fn on_failure(mut self, on_failure: OnFailure) -> Self {
        self.on_failure = on_failure;
        self
    }

    /// Sets how the guest gets bodies with a content coding, such as gzip. [`Bodies::AsReceived`] by default.
    pub fn bodies(mut self, bodies: Bodies) -> Self {
        self.bodies = bodies;
        self
    }

    /// Sets what decoding does at its limits, for [`Bodies::Decoded`].
    pub fn decoding(mut self, decoding: Decoding) -> Self {
        self.decoding = decoding;
        self
    }

    /// Sets which bodies the guest may rewrite while they stream. [`Stream::Off`] by default.
    pub fn stream(mut self, stream: Stream) -> Self {
        self.stream = stream;
        self
    }

    /// Sets how many idle instances are kept.
    pub fn pool(mut self, pool: PoolSettings) -> Self {
        self.pool = pool;
        self
    }

    /// Sets an observer of what the guest does. By default there is none.
    pub fn observer(mut self, observer: Arc<dyn Observer>) -> Self {
        self.observer = Some(observer);
        self
    }

    /// Grants a command-line argument, after those granted before. The first argument is always the guest's name.
    pub fn arg(mut self, arg: impl Into<String>) -> Self {
        self.wasi.args.push(arg.into());
        self
    }

    /// Grants an environment variable.
    pub fn env(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.wasi.env.push((key.into(), value.into()));
        self
    }

    /// Grants access to a directory.
    pub fn mount(mut self, mount: Mount) -> Self {
        self.wasi.mounts.push(mount);
        self
    }

    /// Sets whether instances start from a snapshot of the initialised guest, instead of each being initialised. Off by
    /// default.
    pub fn snapshot(mut self, snapshot: Snapshot) -> Self {
        self.snapshot = snapshot;
        self
    }

    /// Traces the guest's instances: each call of the ABI's 19 functions with its arguments and result, and the calls
    /// of the guest's own functions around them, including its start-up. See [`Tracer`].
    ///
    /// This is for tools that show or record what a guest does. Without a tracer, calls have no overhead.
    pub fn trace(mut self, tracer: impl Tracer) -> Self {
        self.hook = Some(Hook::new(tracer));
        self
    }

    /// Loads the guest even if this [`Lint`] has findings, without a warning about them.
    pub fn allow(mut self, lint: Lint) -> Self {
        self.allowed.push(lint);
        self
    }

    /// Sets whether the guest is rejected if there are [warnings](crate::Warning) about it. Off by default.
    pub fn strict(mut self, strict: bool) -> Self {
        self.strict = strict;
        self
    }

    /// Loads the guest without warnings about it, and without a [test request](crate::GuestFacts::warnings) to find
    /// some: for the second of two guests that are the same.
    pub fn quiet(mut self) -> Self {
        self.quiet = true;
        self
    }

    /// Sets what the backtraces of the guest's failures contain. Defaults to [`Backtraces::Lines`].
    pub fn backtraces(mut self, backtraces: Backtraces) -> Self {
        self.backtraces = backtraces;
        self
    }

    /// The same settings for a trial: nothing is logged or observed, except that `seen` is called after each host call.
    pub(crate) fn for_probe(mut self, seen: impl Fn() + Send + Sync + 'static) -> Self {
        self.pool = PoolSettings::default();
        self.observer = None;
        self.snapshot = Snapshot::Off;
        self.is_probe = true;
        self.trace(move |_: u64, event: &TraceEvent<'_>| {
            if let TraceEvent::HostCall(_) = event {
                seen();
            }
        })
    }

    /// Whether directories are mounted.
    pub(crate) fn has_mounts(&self) -> bool {
        !self.wasi.mounts.is_empty()
    }

    /// Breaks one rule of the ABI, to test the conformance kit.
    #[cfg(feature = "mutations")]
    #[doc(hidden)]
    pub fn break_rule(mut self, rule: crate::Rule) -> Self {
        self.broken = Broken(Some(rule));
        self
    }

    /// Replaces all functions that guests import from `http_handler`, to test the conformance kit.
    #[cfg(feature = "mutations")]
    #[doc(hidden)]
    pub fn intercept(
        mut self,
        intercept: impl Fn(&mut crate::HostCall<'_>) -> crate::Intercepted + Send + Sync + 'static,
    ) -> Self {
        self.intercept = Some(Arc::new(intercept));
        self
    }

    /// Allows [`load`](Self::load) to accept the output of [`precompile`](Self::precompile), without compiling
    /// anything.
    ///
    /// **Use it only for files that you created yourself and that nobody else could have written to since.** They
    /// contain machine code, which runs without further checks: anyone who can change such a file can do whatever this
    /// process can do.
    pub fn trust_precompiled(mut self) -> Self {
        self.trust_precompiled = true;
        self
    }

    /// Compiles the guest, for [`trust_precompiled`](Self::trust_precompiled). The result runs with this version of the
    /// crate, on processors with the features of this machine's. It contains the module too, which other versions
    /// compile again.
    ///
    /// # Errors
    /// If the bytes aren't a guest for this ABI.
    pub fn precompile(&self, bytes: &[u8]) -> Result<Vec<u8>, LoadError> {
        let name = self.guest_name();
        let mut inspection =
            inspect::inspect(bytes).map_err(|faults| LoadError::Invalid { guest: name.clone(), faults })?;
        let module = inspection.take_wasm();
        let code = waits::with_suspension_points(&module, inspection.declares_stream())
            .and_then(|shimmed| self.engine.precompile(&shimmed.wasm).map_err(|error| format!("{error:#}")));
        let code = code.map_err(|reason| LoadError::Compile { guest: name, reason })?;
        Ok(Precompiled::write(&module, &code))
    }

    /// Names the guest after its file, unless it has a name.
    pub(crate) fn name_after(&mut self, path: &Path) {
        if self.name.is_none() {
            self.name = path.file_stem().map(OsStr::to_string_lossy).map(Into::into);
        }
    }

    /// Compiles and links the guest in `bytes`.
    ///
    /// # Errors
    /// As for [`load`](Self::load), except those of the first instance.
    pub(crate) fn prepare<H: Host>(mut self, bytes: &[u8]) -> Result<Prepared<H>, LoadError> {
        let name = self.guest_name();
        let (bytes, precompiled) = self.unpack(bytes)?;
        let (size, limit) = (self.config.len(), self.limits.config_bytes);
        if size > limit {
            return Err(LoadError::ConfigTooLarge { guest: name, size, limit });
        }
        let mut inspection =
            inspect::inspect(bytes).map_err(|faults| LoadError::Invalid { guest: name.clone(), faults })?;
        if self.stream != Stream::Off {
            self.check_stream::<H>(&name, &inspection)?;
        }
        // A guest that declares it is always compiled for it, so that its precompiled code fits either way.
        let pauses_writes = inspection.declares_stream() || self.stream != Stream::Off;
        let precompiled = precompiled.filter(|_| inspection.declares_stream() || !pauses_writes);
        let suspicious = !self.is_probe && !self.quiet && inspection.lint_facts().ask_for_probe();
        let prober = suspicious.then(|| (self.clone(), bytes.to_vec()));
        self.wasi.args.insert(0, name.to_string());
        self.wasi.check().map_err(|reason| LoadError::Grant { guest: name.clone(), reason })?;
        let refused = |reason: String| LoadError::Compile { guest: name.clone(), reason };

        let started = Instant::now();
        let module = inspection.take_wasm();
        let Shimmed { wasm, moved } =
            waits::with_suspension_points(&module, pauses_writes).map_err(refused)?;
        let symbols = self.engine.symbols(&module, moved, self.backtraces);
        drop(module);
        let always_on_fiber =
            self.engine.yields_always() || inspection.needs_wasi() && self.wasi.needs_async();
        // Start-ups aren't analysed: if a guest can wait at all, its start-up may wait.
        let may_wait = wasi::SUSPENDING.iter().any(|(_, name)| inspection.imports_wasi(name));
        let calls = Calls {
            always_on_fiber,
            request: waits::of(&inspection, Phase::Request),
            response: waits::of(&inspection, Phase::Response),
            // A call that is skipped can't be traced.
            ignores_responses: inspection.ignores_responses() && self.hook.is_none(),
            fiber_policy: Arc::default(),
            compute: Arc::new(Compute::new()),
            deadline: self.engine.in_ticks(self.limits.deadline),
        };
        let functions = StartFunctions {
            has_start: inspection.has_start_function(),
            exports_initialize: inspection.exports_initialize(),
            exports_start: inspection.exports_start(),
            fiber_policy: StartFiberPolicy::new(always_on_fiber || may_wait),
            compute_long: AtomicBool::new(false),
            deadline: self.engine.in_ticks(self.limits.startup_deadline),
        };
        let shared = Arc::new(Shared {
            log: match self.is_probe {
                true => Log::silent(self.engine.background().clone(), name.clone(), &self.limits),
                false => Log::new(self.engine.background().clone(), name.clone(), &self.limits),
            },
            symbols,
            trap_hint: inspection.lint_facts().trap_hint(),
            engine: self.engine,
            name: name.clone(),
            config: self.config,
            limits: self.limits,
            calls,
            reads_request: waits::reads_request(&inspection),
            hook: self.hook,
            on_failure: self.on_failure,
            decoded_bodies: (self.bodies == Bodies::Decoded)
                .then(|| Arc::new(DecodedBodies::new(name.clone(), self.decoding))),
            streams: self.stream != Stream::Off,
            pauses_writes,
            observer: self.observer,
            counters: Arc::default(),
            broken: self.broken,
            #[cfg(feature = "mutations")]
            intercept: self.intercept,
        });
        let file_threads = self.wasi.needs_async().then(|| shared.engine.file_threads(&name)).transpose();
        let file_threads = file_threads.map_err(|reason| LoadError::Grant { guest: name.clone(), reason })?;
        let mut startup = Startup { shared, wasi: self.wasi, file_threads, functions, image: None };
        if self.snapshot != Snapshot::Off && startup.functions.any() {
            let image = snapshot::image::<H>(&wasm, self.snapshot, &startup)?;
            startup.functions = startup.functions.started();
            startup.image = Some(image);
        }
        let code = match &startup.image {
            Some(image) => image.code.clone(),
            None => compiled(&startup, &wasm, precompiled).map_err(refused)?,
        };
        let linked = Linked::new(&code.module, &startup.wasi, &startup.shared)
            .map_err(|error| refused(format!("{error:#}")))?;
        let compile_time = started.elapsed();
        let blueprint = Blueprint::new(startup, code, linked);
        let review =
            (!self.is_probe && !self.quiet).then_some(Review { allowed: self.allowed, strict: self.strict });
        Ok(Prepared { blueprint, inspection, pool: self.pool, compile_time, review, prober })
    }

    /// Whether the guest and the server can stream.
    fn check_stream<H: Host>(&self, guest: &Arc<str>, inspection: &Inspection) -> Result<(), LoadError> {
        if !H::STREAMS {
            return Err(LoadError::Stream { guest: guest.clone() });
        }
        if inspection.declares_stream() || self.allowed.contains(&Lint::UndeclaredStream) {
            return Ok(());
        }
        let warning = Warning::new(
            Lint::UndeclaredStream,
            "`stream` is set for it, but the guest doesn't declare that it can rewrite a body that is being sent",
            "add a custom section `http-wasm-stream` if it sets status and headers before its first write_body, and \
             copes with read_body returning less than it asks for",
        );
        Err(LoadError::Refused { guest: guest.clone(), warnings: vec![warning] })
    }

    /// Logs that loading takes long, if it does, until the result is dropped.
    pub(crate) fn slow_load(&self) -> Option<SlowLoad> {
        (!self.is_probe).then(|| SlowLoad::watch(&self.guest_name()))
    }

    fn guest_name(&self) -> Arc<str> {
        self.name.as_deref().unwrap_or("guest").into()
    }

    /// The module in `bytes`, and its compiled code if they contain that too.
    fn unpack<'a>(&self, bytes: &'a [u8]) -> Result<(&'a [u8], Option<&'a [u8]>), LoadError> {
        if !is_precompiled(bytes) {
            return Ok((bytes, None));
        }
        let refused = |reason| LoadError::Precompiled { guest: self.guest_name(), reason };
        if !self.trust_precompiled {
            return Err(refused(
                "it contains machine code, which runs unverified; load the .wasm file that it was compiled \
                 from, or trust the file (`trust_precompiled`)",
            ));
        }
        let file =
            Precompiled::parse(bytes).ok_or_else(|| refused("the file is truncated; compile it again"))?;
        if file.code.is_none() {
            let guest = &*self.guest_name();
            tracing::warn!(guest, "precompiled by another version; compiling it again");
        }
        Ok((file.wasm, file.code))
    }
}

/// The compiled code of a guest: the precompiled code if there is any and it suits this engine.
fn compiled(startup: &Startup, wasm: &[u8], precompiled: Option<&[u8]>) -> Result<SharedCode, String> {
    let shared = &startup.shared;
    let engine = &shared.engine;
    if let Some(code) = precompiled {
        match engine.code(wasm, Source::Trusted(code), &shared.limits) {
            Ok(code) => return Ok(code),
            Err(reason) => tracing::warn!(
                guest = &*shared.name,
                reason,
                "precompiled code doesn't fit this engine; compiling it again"
            ),
        }
    }
    engine.code(wasm, Source::Compiler, &shared.limits)
}

impl fmt::Debug for GuestBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GuestBuilder")
            .field("name", &self.name)
            .field("config_bytes", &self.config.len())
            .field("limits", &self.limits)
            .field("on_failure", &self.on_failure)
            .field("pool", &self.pool)
            .field("wasi", &self.wasi)
            .field("snapshot", &self.snapshot)
            .finish_non_exhaustive()
    }
}

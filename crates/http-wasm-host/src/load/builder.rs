//! The settings of a guest, and loading it.

use std::ffi::OsStr;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use super::inspect;
use super::slow::SlowLoad;
use super::snapshot::Snapshot;
use super::waits;
use crate::bodies::{Bodies, Decoding, Stream};
use crate::engine::{Engine, Precompiled};
use crate::error::LoadError;
use crate::failure::OnFailure;
use crate::limits::{Limits, PoolSettings};
use crate::observer::Observer;
use crate::rule::Broken;
use crate::run::hook::Hook;
use crate::run::wasi::{Mount, WasiConfig};
use crate::symbols::Backtraces;
use crate::trace::{TraceEvent, Tracer};
use crate::warning::Lint;

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
    pub(super) engine: Engine,
    pub(super) name: Option<String>,
    pub(super) config: Vec<u8>,
    pub(super) limits: Limits,
    pub(super) on_failure: OnFailure,
    pub(super) bodies: Bodies,
    pub(super) decoding: Decoding,
    pub(super) stream: Stream,
    pub(super) pool: PoolSettings,
    pub(super) observer: Option<Arc<dyn Observer>>,
    pub(super) wasi: WasiConfig,
    pub(super) snapshot: Snapshot,
    pub(super) trust_precompiled: bool,
    pub(super) hook: Option<Hook>,
    pub(super) broken: Broken,
    pub(super) allowed: Vec<Lint>,
    pub(super) strict: bool,
    pub(super) backtraces: Backtraces,
    pub(super) is_probe: bool,
    pub(super) quiet: bool,
    #[cfg(feature = "mutations")]
    pub(super) intercept: Option<crate::run::intercept::Intercept>,
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

    /// Sets limits on what the guest may use. [`Limits`] lists the defaults.
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

    /// Configures decoding, for [`Bodies::Decoded`]. [`Decoding`] lists the defaults.
    pub fn decoding(mut self, decoding: Decoding) -> Self {
        self.decoding = decoding;
        self
    }

    /// Sets which bodies the guest may rewrite while they are sent. [`Stream::Off`] by default.
    pub fn stream(mut self, stream: Stream) -> Self {
        self.stream = stream;
        self
    }

    /// Sets how many idle instances are kept. [`PoolSettings`] lists the defaults.
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

    /// Grants an environment variable. Loading fails if the name is empty or contains `=`, or either contains a NUL
    /// byte.
    pub fn env(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.wasi.env.push((key.into(), value.into()));
        self
    }

    /// Grants access to a directory. Loading fails if it doesn't exist or isn't a directory.
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
    /// some. Use it for the second of two copies of a guest.
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

    /// Logs if loading is slow, until the result is dropped.
    pub(crate) fn slow_load(&self) -> Option<SlowLoad> {
        (!self.is_probe).then(|| SlowLoad::watch(&self.guest_name()))
    }

    pub(super) fn guest_name(&self) -> Arc<str> {
        self.name.as_deref().unwrap_or("guest").into()
    }
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

//! Settings of a guest, and how it is loaded.

use std::ffi::OsStr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use wasmtime::{Linker, Module};

use crate::engine::Engine;
use crate::error::LoadError;
use crate::failure::OnFailure;
use crate::guest::Guest;
use crate::host::Host;
use crate::hostcalls;
use crate::inspect::{self, Inspection, shim};
use crate::instance::{Blueprint, Calls};
use crate::limits::Limits;
use crate::log::Log;
use crate::state::{Shared, State};
use crate::wasi::{self, Mount, WasiConfig};

/// Settings of a guest to be loaded. What isn't granted here, the guest has not.
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until it loads"]
pub struct GuestBuilder {
    engine: Engine,
    name: Option<String>,
    config: Vec<u8>,
    limits: Limits,
    on_failure: OnFailure,
    wasi: WasiConfig,
    #[cfg(feature = "mutations")]
    mutation: Option<crate::mutation::Mutation>,
}

impl GuestBuilder {
    pub(crate) fn new(engine: Engine) -> Self {
        Self {
            engine,
            name: None,
            config: Vec::new(),
            limits: Limits::default(),
            on_failure: OnFailure::default(),
            wasi: WasiConfig::default(),
            #[cfg(feature = "mutations")]
            mutation: None,
        }
    }

    /// The guest's name in errors and logs. By default its file's name without the extension, else "guest".
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// The bytes that the guest gets from `get_config`. None by default.
    pub fn config(mut self, config: impl Into<Vec<u8>>) -> Self {
        self.config = config.into();
        self
    }

    /// What the guest may use.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// What becomes of a request when the guest fails on it. [`OnFailure::Closed`] by default.
    pub fn on_failure(mut self, on_failure: OnFailure) -> Self {
        self.on_failure = on_failure;
        self
    }

    /// Grants an argument, after those granted before.
    pub fn arg(mut self, arg: impl Into<String>) -> Self {
        self.wasi.args.push(arg.into());
        self
    }

    /// Grants an environment variable.
    pub fn env(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.wasi.env.push((key.into(), value.into()));
        self
    }

    /// Grants a directory.
    pub fn mount(mut self, mount: Mount) -> Self {
        self.wasi.mounts.push(mount);
        self
    }

    /// Breaks one rule of the ABI, for tests of tests.
    #[cfg(feature = "mutations")]
    #[doc(hidden)]
    pub fn mutation(mut self, mutation: Option<crate::mutation::Mutation>) -> Self {
        self.mutation = mutation;
        self
    }

    /// Loads the guest from a `.wasm` or `.wat` file.
    ///
    /// # Errors
    /// When the file can't be read, and as [`load`](Self::load).
    pub fn load_file<H: Host>(mut self, path: impl AsRef<Path>) -> Result<Guest<H>, LoadError> {
        let path = path.as_ref();
        let bytes = std::fs::read(path).map_err(|source| LoadError::Read { path: path.into(), source })?;
        if self.name.is_none() {
            self.name = path.file_stem().map(OsStr::to_string_lossy).map(Into::into);
        }
        self.load(&bytes)
    }

    /// Loads the guest from `.wasm` or `.wat` bytes.
    ///
    /// Compiling takes up to seconds of computing, and one instance is made: call it from where blocking is allowed.
    ///
    /// # Errors
    /// When the bytes are no guest of this ABI, its configuration is too long, what was granted can't
    /// be, or the first instance can't be made.
    pub fn load<H: Host>(self, bytes: &[u8]) -> Result<Guest<H>, LoadError> {
        let name: Arc<str> = self.name.as_deref().unwrap_or("guest").into();
        let (size, limit) = (self.config.len(), self.limits.config_bytes);
        if size > limit {
            return Err(LoadError::ConfigTooLarge { guest: name, size, limit });
        }
        let mut inspection =
            inspect::inspect(bytes).map_err(|faults| LoadError::Invalid { guest: name.clone(), faults })?;
        self.wasi.check().map_err(|reason| LoadError::Grant { guest: name.clone(), reason })?;
        let refused = |reason: String| LoadError::Compile { guest: name.clone(), reason };

        let started = Instant::now();
        let points: Vec<_> = hostcalls::SUSPENDING.into_iter().chain(wasi::SUSPENDING).collect();
        let wasm = shim::add_suspension_points(&inspection.take_wasm(), &points)
            .map_err(|error| refused(error.to_string()))?;
        let module = Module::from_binary(self.engine.wasm(), &wasm).map_err(|e| refused(format!("{e:#}")))?;
        let compile_time = started.elapsed();

        let mut linker = Linker::<State<H>>::new(self.engine.wasm());
        hostcalls::add_to_linker(&mut linker)
            .and_then(|()| wasi::add_to_linker(&mut linker, &self.wasi))
            .map_err(|e| refused(format!("{e:#}")))?;
        #[cfg(feature = "mutations")]
        if let Some(mutation) = self.mutation {
            hostcalls::broken::replace_imports(&mut linker, mutation)
                .map_err(|e| refused(format!("{e:#}")))?;
        }
        let pre = linker.instantiate_pre(&module).map_err(|e| refused(format!("{e:#}")))?;

        let calls = Calls {
            always_waits: always_waits(&inspection, &self.wasi),
            waits_for_bodies: hostcalls::SUSPENDING.iter().any(|(_, name)| inspection.imports_handler(name)),
            slow: Arc::new(AtomicBool::new(false)),
            deadline: self.engine.clock(self.limits.deadline),
            startup_deadline: self.engine.clock(self.limits.startup_deadline),
            has_start: inspection.has_start_function(),
            exports_initialize: inspection.exports_initialize(),
            exports_start: inspection.exports_start(),
        };
        let shared = Shared {
            log: Log::new(self.engine.clone(), name.clone(), &self.limits),
            name,
            config: self.config,
            limits: self.limits,
            on_failure: self.on_failure,
            #[cfg(feature = "mutations")]
            mutation: self.mutation,
        };
        let blueprint = Blueprint {
            engine: self.engine,
            pre,
            shared: Arc::new(shared),
            wasi: self.wasi,
            calls: Arc::new(calls),
        };
        let reads_request = READS_REQUEST.iter().any(|name| inspection.imports_handler(name));
        Guest::new(blueprint, reads_request, inspection, compile_time)
    }
}

/// The functions through which a guest could read the request again in `handle_response`.
const READS_REQUEST: [&str; 4] = ["get_method", "get_uri", "get_header_names", "get_header_values"];

/// Whether a guest may wait, or uses functions that only work on a fiber, whatever the exchange.
fn always_waits(inspection: &Inspection, wasi: &WasiConfig) -> bool {
    let sleeps = wasi::SUSPENDING.iter().any(|(_, name)| inspection.imports_wasi(name));
    sleeps || inspection.needs_wasi() && wasi.needs_async()
}

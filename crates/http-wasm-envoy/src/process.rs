//! State that all configurations and workers of the process share.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::thread::available_parallelism;

use http_wasm_gateway::{PreparedGuest, config};
use http_wasm_host::{BodyAccount, Engine, Guest, LoadError};

use crate::compute::Threads;
use crate::ffi::{Callbacks, callbacks};
use crate::live::Host;
use crate::stacks::Stacks;

/// State that all configurations and workers of the process share.
pub(crate) struct Process {
    pub(crate) threads: Threads,
    engine: Engine,
    /// Whether the memory for bodies has a limit.
    pub(crate) limits_bodies: bool,
    /// The loaded guests by module and settings. A guest lives as long as a configuration uses it.
    guests: Mutex<HashMap<Loaded, Weak<SharedGuest>>>,
    /// The directories in which configurations may name files.
    allowed: Vec<PathBuf>,
}

type Loaded = (String, [u8; 32]);

/// A guest with its pool.
pub(crate) struct SharedGuest {
    pub(crate) name: String,
    pub(crate) guest: Guest<Host>,
    /// Whether the guest may write requests while they are sent.
    pub(crate) streams_requests: bool,
    /// Whether the guest may write responses while they are sent.
    pub(crate) streams_responses: bool,
}

/// The directories in which configurations may name files, separated by colons.
const ALLOWED_PATHS: &str = "HTTP_WASM_ALLOWED_PATHS";
/// The directory of the code cache.
const CODE_CACHE: &str = "HTTP_WASM_CODE_CACHE";
/// The most bytes that the instances of all guests may use together.
const GUEST_MEMORY: &str = "HTTP_WASM_GUEST_MEMORY";
/// The most bytes of bodies that may be held.
const BODY_MEMORY: &str = "HTTP_WASM_BODY_MEMORY";
/// The number of threads for guests that compute for long.
const THREADS: &str = "HTTP_WASM_THREADS";

static PROCESS: OnceLock<Process> = OnceLock::new();
static FAULT: OnceLock<String> = OnceLock::new();

/// Called when the module is loaded.
pub(crate) fn start() {
    crate::log::start();
    if PROCESS.get().is_some() {
        return;
    }
    match Process::new() {
        Ok(process) => {
            let _again = PROCESS.set(process);
        }
        // Every configuration will be rejected with this reason.
        Err(fault) => {
            let _again = FAULT.set(fault);
        }
    }
}

/// The state of the process. Without it, there is no configuration and so no stream.
pub(crate) fn process() -> &'static Process {
    PROCESS.get().expect("configurations are refused without it")
}

/// The state of the process, or why it is missing, for use before there is a configuration.
///
/// # Errors
/// The reason why there is none.
pub(crate) fn try_process() -> Result<&'static Process, String> {
    PROCESS.get().ok_or_else(|| FAULT.get().cloned().unwrap_or_else(|| "the module isn't initialised".into()))
}

impl Process {
    fn new() -> Result<Self, String> {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let number = |name: &str| {
            let size = |value: String| {
                value.parse::<config::Size>().map(|size| size.bytes()).map_err(|_| {
                    format!("environment variable {name}: expected a size as \"512 MiB\", found {value:?}")
                })
            };
            variable(name).map(size).transpose()
        };
        let count = match variable(THREADS) {
            Some(text) => text.parse().ok().filter(|count| (1..=256).contains(count)).ok_or_else(|| {
                format!("environment variable {THREADS}: expected 1 to 256, found {text:?}")
            })?,
            None => available_parallelism().map_or(1, usize::from).min(4),
        };
        let threads = Threads::start(count).map_err(|error| format!("no thread can be started: {error}"))?;
        let mut engine =
            Engine::builder().runtime(threads.clone()).yields_always(true).stacks(Arc::new(Stacks));
        if let Some(bytes) = number(GUEST_MEMORY)? {
            engine = engine.memory_budget(bytes);
        }
        let body_memory = number(BODY_MEMORY)?;
        if let Some(bytes) = body_memory {
            engine = engine.body_memory_budget(bytes);
        }
        if let Some(directory) = variable(CODE_CACHE) {
            engine = engine.code_cache(directory);
        }
        let allowed = std::env::var_os(ALLOWED_PATHS).unwrap_or_default();
        // A directory that doesn't exist is ignored.
        let allowed = std::env::split_paths(&allowed).filter_map(|path| path.canonicalize().ok()).collect();
        let engine = engine.build().map_err(|error| error.to_string())?;
        Ok(Self { threads, engine, limits_bodies: body_memory.is_some(), guests: Mutex::default(), allowed })
    }

    /// Whether a configuration may name this file or directory.
    ///
    /// # Errors
    /// The reason why not. It doesn't reveal which files exist.
    pub(crate) fn allows(&self, path: &Path) -> Result<(), String> {
        let real = path.canonicalize().ok();
        if real.is_some_and(|real| self.allowed.iter().any(|root| real.starts_with(root))) {
            return Ok(());
        }
        let path = path.display();
        Err(match self.allowed.is_empty() {
            true => format!(
                "{path} can't be used: the environment variable {ALLOWED_PATHS} of the Envoy process doesn't \
                 name an existing directory"
            ),
            false => format!(
                "{path} doesn't exist, or isn't under a directory that the environment variable {ALLOWED_PATHS} of the \
                 Envoy process names"
            ),
        })
    }

    /// The guests that configurations use.
    pub(crate) fn guests_in_use(&self) -> Vec<Arc<SharedGuest>> {
        let guests = self.guests.lock().unwrap_or_else(PoisonError::into_inner);
        guests.values().filter_map(Weak::upgrade).collect()
    }

    /// The bytes of memory of all instances, including those of guests that are no longer used.
    pub(crate) fn guest_memory(&self) -> usize {
        self.engine.memory_in_use()
    }

    /// Opens a stream's account in the memory for bodies, if that is limited.
    pub(crate) fn open_account(&self) -> Option<BodyAccount> {
        self.engine.body_budget().open()
    }

    /// Returns the guest, and loads it unless another configuration already uses it.
    ///
    /// # Errors
    /// The reason why it can't be loaded.
    pub(crate) fn guest(&self, name: &str, settings: &config::Guest) -> Result<Arc<SharedGuest>, String> {
        use config::Stream;
        let streams_requests = matches!(settings.stream, Stream::Request | Stream::Both);
        let streams_responses = matches!(settings.stream, Stream::Response | Stream::Both);
        if streams_requests && !callbacks().is_some_and(Callbacks::can_stream_requests) {
            return Err(format!("guest {name}: `stream` requires Envoy 1.39 or later for requests"));
        }
        if streams_responses && !callbacks().is_some_and(Callbacks::can_stream) {
            return Err(format!("guest {name}: `stream` requires Envoy 1.38 or later"));
        }
        let PreparedGuest { builder, bytes, digest } = PreparedGuest::read(&self.engine, name, settings)?;
        let key = (name.to_owned(), digest);
        // Held during loading: configurations are loaded on the main thread, one after the other.
        let mut guests = self.guests.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(guest) = guests.get(&key).and_then(Weak::upgrade) {
            return Ok(guest);
        }
        let guest = builder.load(&bytes).map_err(|error: LoadError| error.to_string())?;
        let shared =
            Arc::new(SharedGuest { name: name.to_owned(), guest, streams_requests, streams_responses });
        guests.retain(|_, guest| guest.strong_count() > 0);
        guests.insert(key, Arc::downgrade(&shared));
        Ok(shared)
    }
}

//! The state that all generations are built on. It exists for the lifetime of the process.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use bytesize::ByteSize;
use http_wasm_tower::Engine;
use sysinfo::{MemoryRefreshKind, RefreshKind, System};

use crate::code_cache;
use crate::config::{CodeCache, Config, Log, Server, Size};
use crate::control_group;
use crate::descriptors::Descriptors;
use crate::error::StartError;
use crate::inspect::Inspector;
use crate::stage::CurrentStage;

/// The state that all generations are built on.
pub(crate) struct ProcessState {
    pub(crate) started: SystemTime,
    pub(crate) engine: Engine,
    /// How many bytes the instances of all guests may use together.
    pub(crate) memory: usize,
    /// How many bytes of HTTP/2 uploads may be received before they are read.
    pub(crate) unread: u64,
    pub(crate) start_only: StartOnly,
    pub(crate) stage: CurrentStage,
    /// What follows exchanges, if anything does.
    pub(crate) inspector: Option<Arc<dyn Inspector>>,
}

impl ProcessState {
    pub(crate) fn new(config: &Config) -> Result<Self, StartError> {
        // This comes before anything needs many descriptors; the guests' files are already open.
        Descriptors::of_process();
        let (engine, budgets) = engine(config)?;
        let (memory, unread) = (budgets.guests, budgets.unread());
        let (started, start_only, stage) =
            (SystemTime::now(), StartOnly::of(config), CurrentStage::starting());
        Ok(Self { started, engine, memory, unread, start_only, stage, inspector: None })
    }
}

/// The settings that a running gateway can't change.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct StartOnly {
    guest_memory_budget: Option<Size>,
    body_memory_budget: Option<Size>,
    code_cache: Option<Option<PathBuf>>,
    log: Log,
}

impl StartOnly {
    fn of(config: &Config) -> Self {
        let server = &config.server;
        Self {
            guest_memory_budget: server.guest_memory_budget,
            body_memory_budget: server.body_memory_budget,
            code_cache: server.code_cache.as_ref().map(|cache| Some(cache.directory()?.value.clone())),
            log: config.log.clone(),
        }
    }

    /// The names of the settings that differ in this configuration.
    pub(crate) fn differing(&self, config: &Config) -> Vec<&'static str> {
        let Self { guest_memory_budget, body_memory_budget, code_cache, log } = Self::of(config);
        let settings = [
            ("server.guest_memory_budget", self.guest_memory_budget == guest_memory_budget),
            ("server.body_memory_budget", self.body_memory_budget == body_memory_budget),
            ("server.code_cache", self.code_cache == code_cache),
            ("log", self.log == log),
        ];
        settings.into_iter().filter(|(_, same)| !same).map(|(name, _)| name).collect()
    }
}

/// The engine of a configuration, with a slot for each possible request, and its shares of memory.
fn engine(config: &Config) -> Result<(Engine, MemoryBudgets), StartError> {
    let server = &config.server;
    let budgets = MemoryBudgets::of(server, available_memory());
    let slots = server.max_requests.get().clamp(1_000, 10_000);
    let mut engine = http_wasm_tower::Engine::builder()
        .slots(slots)
        .memory_budget(budgets.guests)
        .body_memory_budget(budgets.bodies);
    match &server.code_cache {
        Some(CodeCache::Off) => {}
        Some(CodeCache::Directory(directory)) => {
            // The cache itself doesn't know the configuration's directory.
            let directory = std::path::absolute(&directory.value).unwrap_or_else(|_| directory.value.clone());
            engine = engine.code_cache(directory);
        }
        None => match code_cache::default_directory(|name| std::env::var_os(name), code_cache::is_root()) {
            Ok(directory) => engine = engine.private_code_cache(directory),
            Err(reason) if !config.guests.is_empty() => {
                tracing::info!(
                    "compiled guests aren't cached: {reason}; set `server.code_cache` to a directory for them"
                )
            }
            Err(_) => {}
        },
    }
    Ok((engine.build()?, budgets))
}

/// The sizes of the two budgets, in bytes.
#[derive(Debug, PartialEq, Eq)]
struct MemoryBudgets {
    guests: usize,
    bodies: usize,
}

impl MemoryBudgets {
    /// A quarter of the budget for bodies.
    fn unread(&self) -> u64 {
        self.bodies as u64 / 4
    }

    /// The configured values. By default, half of the memory is for guests, and a quarter for the bodies that are held
    /// for them. The last quarter is for everything else: code, connections and their windows, stacks, caches.
    fn of(server: &Server, available: usize) -> Self {
        let share = |set: Option<Size>, part: usize| set.map_or(available / part, |size| size.bytes());
        let budgets = Self {
            guests: share(server.guest_memory_budget, 2),
            bodies: share(server.body_memory_budget, 4),
        };
        if budgets.guests.saturating_add(budgets.bodies) > available {
            let [guests, bodies, all] = [budgets.guests, budgets.bodies, available]
                .map(|bytes| ByteSize(bytes as u64).display().iec());
            tracing::warn!(
                available_bytes = available,
                "`server.guest_memory_budget` ({guests}) and `server.body_memory_budget` ({bodies}) together exceed \
                 the available memory ({all})"
            );
        }
        budgets
    }
}

/// The memory to assume if the system doesn't report it.
const FALLBACK_MEMORY: usize = 2 << 30;

/// The memory that this process may use: the machine's memory, or what its control groups allow.
fn available_memory() -> usize {
    let refresh = RefreshKind::nothing().with_memory(MemoryRefreshKind::nothing().with_ram());
    lower_limit(System::new_with_specifics(refresh).total_memory(), control_group::memory_limit())
}

/// The machine's memory (0 if unknown) or the limit of its control groups, whichever is less.
fn lower_limit(machine: u64, groups: Option<u64>) -> usize {
    let machine = (machine > 0).then_some(machine);
    match machine.into_iter().chain(groups).min() {
        Some(least) => usize::try_from(least).unwrap_or(usize::MAX),
        None => {
            tracing::warn!(
                "cannot determine how much memory there is, perhaps because /proc isn't mounted: guests may use \
                 1 GiB together and bodies 512 MiB, unless `server.guest_memory_budget` and \
                 `server.body_memory_budget` are set"
            );
            FALLBACK_MEMORY
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::{FALLBACK_MEMORY, MemoryBudgets, StartOnly, lower_limit};
    use crate::config::{CodeCache, Config, Log, LogFormat, Server, Size};

    #[test]
    fn available_memory_is_the_lower_of_machine_and_cgroup_or_a_default() {
        assert_eq!(lower_limit(1000, None), 1000);
        assert_eq!(lower_limit(1000, Some(600)), 600);
        assert_eq!(lower_limit(1000, Some(u64::MAX)), 1000);
        assert_eq!(lower_limit(0, Some(600)), 600);
        assert_eq!(lower_limit(0, None), FALLBACK_MEMORY);
    }

    #[test]
    fn guests_get_half_the_memory_and_bodies_a_quarter_by_default() {
        let mut server = Server::default();
        assert_eq!(MemoryBudgets::of(&server, 1000), MemoryBudgets { guests: 500, bodies: 250 });
        server.guest_memory_budget = Some(Size(70));
        assert_eq!(MemoryBudgets::of(&server, 1000), MemoryBudgets { guests: 70, bodies: 250 });
        server.body_memory_budget = Some(Size(30));
        assert_eq!(MemoryBudgets::of(&server, 1000), MemoryBudgets { guests: 70, bodies: 30 });
    }

    #[test]
    fn settings_that_need_a_restart_are_compared_by_value() {
        let mut config = Config::default();
        config.server.code_cache = Some(CodeCache::Directory(PathBuf::from("cache").into()));
        let settings = StartOnly::of(&config);
        assert_eq!(settings.differing(&config), [""; 0]);
        // The position in the file makes no difference.
        config.server.code_cache = Some(CodeCache::Directory(PathBuf::from("cache").into()));
        config.server.drain_timeout.0 *= 2;
        assert_eq!(settings.differing(&config), [""; 0]);
        config.server.code_cache = Some(CodeCache::Off);
        config.server.guest_memory_budget = Some(Size(1));
        config.server.body_memory_budget = Some(Size(2));
        config.log = Log { format: LogFormat::Json, filter: None };
        let all = ["server.guest_memory_budget", "server.body_memory_budget", "server.code_cache", "log"];
        assert_eq!(settings.differing(&config), all);
    }
}

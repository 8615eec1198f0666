//! What generations are made on: it stays for as long as the process.

use std::time::SystemTime;

use http_wasm_tower::Engine;
use sysinfo::{MemoryRefreshKind, RefreshKind, System};

use crate::config::Config;
use crate::digest::json;
use crate::error::StartError;

/// What generations are made on.
pub(crate) struct Machine {
    pub(crate) started: SystemTime,
    pub(crate) engine: Engine,
    /// Bytes that all guests' instances may have together.
    pub(crate) memory: usize,
    pub(crate) fixed: Fixed,
}

impl Machine {
    pub(crate) fn new(config: &Config) -> Result<Self, StartError> {
        let (engine, memory) = engine(config)?;
        Ok(Self { started: SystemTime::now(), engine, memory, fixed: Fixed::of(config) })
    }
}

/// The settings that a running gateway can't change, by their names.
#[derive(Debug)]
pub(crate) struct Fixed([(&'static str, Vec<u8>); 3]);

impl Fixed {
    fn of(config: &Config) -> Self {
        Self([
            ("server.guest_memory_budget", json(&config.server.guest_memory_budget)),
            ("server.code_cache", json(&config.server.code_cache)),
            ("log", json(&config.log)),
        ])
    }

    /// Those that this configuration has otherwise.
    pub(crate) fn differing(&self, config: &Config) -> Vec<&'static str> {
        let other = Self::of(config);
        let pairs = self.0.iter().zip(&other.0);
        pairs.filter(|(own, other)| own != other).map(|((name, _), _)| *name).collect()
    }
}

/// The engine of a configuration: with a slot for each request that may be there, and the memory that its guests may have,
/// which is told too.
fn engine(config: &Config) -> Result<(Engine, usize), StartError> {
    let server = &config.server;
    let memory = server.guest_memory_budget.map_or_else(default_memory_budget, |size| size.bytes());
    let slots = server.max_requests.get().clamp(1_000, 10_000);
    let mut engine = http_wasm_tower::engine_builder().slots(slots).memory_budget(memory);
    if let Some(directory) = &server.code_cache {
        // The cache's own settings know no working directory.
        let directory = std::path::absolute(&directory.value).unwrap_or_else(|_| directory.value.clone());
        engine = engine.code_cache(directory);
    }
    Ok((engine.build()?, memory))
}

/// Half of the memory that this process may have: the machine's, or what its control group allows.
fn default_memory_budget() -> usize {
    let refresh = RefreshKind::nothing().with_memory(MemoryRefreshKind::nothing().with_ram());
    let system = System::new_with_specifics(refresh);
    let group = system.cgroup_limits().map_or(u64::MAX, |limits| limits.total_memory);
    usize::try_from(system.total_memory().min(group) / 2).unwrap_or(usize::MAX)
}

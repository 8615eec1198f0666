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

/// What guests may have where the system doesn't tell how much there is.
const UNTOLD_BUDGET: usize = 1 << 30;

/// Half of the memory that this process may have: the machine's, or what its control group allows.
fn default_memory_budget() -> usize {
    let refresh = RefreshKind::nothing().with_memory(MemoryRefreshKind::nothing().with_ram());
    let system = System::new_with_specifics(refresh);
    half_of(system.total_memory(), || system.cgroup_limits().map(|limits| limits.total_memory))
}

/// Half of the machine's memory, or of its control group's; the latter is only asked for when the former is known, 0 if it isn't.
fn half_of(machine: u64, group: impl FnOnce() -> Option<u64>) -> usize {
    if machine == 0 {
        tracing::warn!(
            "the system does not tell how much memory there is, perhaps for want of /proc: guests may have 1 GiB together, \
             or what `server.guest_memory_budget` says"
        );
        return UNTOLD_BUDGET;
    }
    usize::try_from(group().unwrap_or(u64::MAX).min(machine) / 2).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::{UNTOLD_BUDGET, half_of};

    #[test]
    fn guests_may_have_half_of_what_there_is_and_something_where_nobody_tells() {
        assert_eq!(half_of(1000, || None), 500);
        assert_eq!(half_of(1000, || Some(600)), 300);
        assert_eq!(half_of(1000, || Some(u64::MAX)), 500);
        assert_eq!(half_of(0, || unreachable!("it panics then")), UNTOLD_BUDGET);
    }
}

//! An inventory of the process. Envoy's log shows it at the debug level, so that leaks can be found.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use crate::config::Config;
use crate::ffi::Level;
use crate::log;
use crate::process::try_process;
use crate::route_count;

/// The filter configurations that Envoy or a stream still uses.
static FILTERS: Mutex<Vec<Weak<Config>>> = Mutex::new(Vec::new());

fn filters() -> MutexGuard<'static, Vec<Weak<Config>>> {
    FILTERS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Adds a filter's configuration, once it is loaded.
pub(crate) fn add(config: &Arc<Config>) {
    let mut filters = filters();
    filters.retain(|config| config.strong_count() > 0);
    filters.push(Arc::downgrade(config));
}

/// Logs the inventory after an event of a filter's configurations.
pub(crate) fn log(filter: &str, event: &str) {
    if !log::is_enabled(Level::Debug) {
        return;
    }
    let Ok(process) = try_process() else { return };
    let configs: Vec<_> = filters().iter().filter_map(Weak::upgrade).collect();
    let streams: usize = configs.iter().map(|config| config.streams().saturating_sub(1)).sum();
    let filters = configs.len();
    drop(configs);
    let routes = route_count::current();
    let guests = process.guests_in_use();
    let stats = guests.iter().map(|guest| guest.guest.stats());
    let (live, idle) = stats.fold((0, 0), |(live, idle), stats| (live + stats.live, idle + stats.idle));
    let memory = process.guest_memory();
    let calls = process.threads.calls();
    tracing::debug!(
        filters,
        routes,
        streams,
        guests = guests.len(),
        instances = live,
        idle,
        memory,
        calls,
        "filter {filter}: {event}; there are now"
    );
}

//! Changes the configuration without interrupting requests.
//!
//! Everything that a new configuration needs is built first: guests, upstreams, routes, addresses. Requests only switch
//! to it, all at once, if it has no errors. Requests in flight finish with the configuration that they started with,
//! and what is no longer used is freed with the last of them.

#[cfg(test)]
mod tests;

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex as SyncMutex, PoisonError};
use std::time::Duration;

use http_wasm_tower::Warning;
use tokio::sync::Mutex;

use crate::admin::AdminListener;
use crate::blocking::blocking;
use crate::config::{Config, ConfigFile};
use crate::core::Core;
use crate::descriptors::Descriptors;
use crate::error::StartError;
use crate::error_text::counted;
use crate::fingerprint::Fingerprints;
use crate::generation::Generation;
use crate::listener::Listeners;
use crate::observe::{Monitor, Reload};
use crate::process_state::ProcessState;
use crate::signals::ReloadSignal;
use crate::stage::{CurrentStage, Stage};

/// How often files are checked. Unlike notifications from the system, this works on any file system, and with symbolic
/// links: a mounted ConfigMap is changed by switching a link.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// Where the configuration comes from.
#[derive(Debug)]
pub(crate) enum ConfigSource {
    File(PathBuf),
    Value(Box<Config>),
}

/// The inputs that the active configuration was built from.
#[derive(Debug, Clone)]
pub(crate) struct Sources {
    /// Fingerprints of its files.
    pub(crate) files: Fingerprints,
    /// One line for each warning about its own file.
    pub(crate) warnings: Vec<String>,
}

/// Reloads the configuration of a gateway. All clones reload the same one, one at a time.
#[derive(Clone)]
pub struct Reloader(Arc<Inner>);

struct Inner {
    process_state: ProcessState,
    source: ConfigSource,
    core: Arc<Core>,
    listeners: Arc<Listeners<Core>>,
    admin_listener: AdminListener,
    one_at_a_time: Mutex<()>,
    sources: SyncMutex<Sources>,
    /// Warnings that were logged for the active configuration.
    warned: SyncMutex<Vec<String>>,
}

/// The result of a reload.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Summary {
    /// The number of guests in the configuration.
    pub guests: usize,
    /// The number of guests that were reused.
    pub guests_kept: usize,
    /// The number of addresses that weren't listened on before.
    pub opened: usize,
    /// The number of addresses that are no longer listened on.
    pub closed: usize,
    /// Settings that have changed and take effect only after a restart.
    pub at_next_start: Vec<&'static str>,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { guests, guests_kept, opened, closed, at_next_start: _ } = self;
        let loaded = guests - guests_kept;
        let (guests, opened) = (counted(*guests, "guest"), counted(*opened, "address"));
        write!(f, "{guests}, {loaded} of them loaded; {opened} opened, {closed} closed")?;
        match &*self.at_next_start {
            [] => Ok(()),
            settings => {
                write!(f, "; changes to {} take effect only after a restart", settings.join(", "))
            }
        }
    }
}

impl Reloader {
    pub(crate) fn new(
        process_state: ProcessState,
        source: ConfigSource,
        core: Arc<Core>,
        listeners: Arc<Listeners<Core>>,
        admin_listener: AdminListener,
        sources: Sources,
    ) -> Self {
        let (one_at_a_time, sources) = (Mutex::default(), SyncMutex::new(sources));
        let warned = SyncMutex::default();
        Self(Arc::new(Inner {
            process_state,
            source,
            core,
            listeners,
            admin_listener,
            one_at_a_time,
            sources,
            warned,
        }))
    }

    /// The admin listener.
    pub(crate) fn admin(&self) -> &AdminListener {
        &self.0.admin_listener
    }

    /// The stage of the gateway.
    pub(crate) fn stage(&self) -> &CurrentStage {
        &self.0.process_state.stage
    }

    /// Shows operators that requests are served, and allows them to reload.
    pub(crate) async fn serves(&self) {
        let generation = self.0.core.generation();
        Descriptors::of_process().warn_of(generation.config.max_connections());
        if let Some(monitor) = &generation.observers.monitor {
            monitor.on_reload(self.for_operators());
            let listeners = Arc::downgrade(&self.0.listeners);
            monitor.on_listeners(move || listeners.upgrade().map(|all| all.status()).unwrap_or_default());
        }
        self.0.process_state.stage.enter(Stage::Ready);
        self.warn(generation).await;
    }

    /// Logs the warnings about the file, and about the permissions of all files, each of them once.
    async fn warn(&self, generation: Arc<Generation>) {
        let own = match &self.0.source {
            ConfigSource::File(path) => Some(path.clone()),
            ConfigSource::Value(_) => None,
        };
        let permissions = blocking(move || generation.config.permission_warnings(own.as_deref())).await;
        let Ok(permissions) = permissions else { return };
        let mut warnings = self.sources().warnings;
        warnings.extend(permissions);
        let mut known = self.0.warned.lock().unwrap_or_else(PoisonError::into_inner);
        for warning in warnings.iter().filter(|warning| !known.contains(warning)) {
            tracing::warn!("{warning}");
        }
        *known = warnings;
    }

    /// Rereads the configuration and the files that it refers to, and uses it for all new requests.
    ///
    /// # Errors
    /// All faults of the new configuration. Nothing has changed then.
    pub async fn reload(&self) -> Result<Summary, StartError> {
        let result = self.swap().await;
        if let Some(monitor) = &self.0.core.generation().observers.monitor {
            let why = result.as_ref().err().map(ToString::to_string);
            monitor.reloaded(why.as_deref().map_or(Ok(()), Err));
        }
        result
    }

    /// What is probably wrong with how the guests in use were built, with their names.
    pub fn guest_warnings(&self) -> Vec<(String, Warning)> {
        self.0.core.generation().guests.warnings()
    }

    /// The same for operators, without keeping the gateway alive.
    fn for_operators(&self) -> Reload {
        let inner = Arc::downgrade(&self.0);
        Box::new(move || {
            let inner = inner.upgrade();
            Box::pin(async move {
                let inner = inner.ok_or("the gateway has stopped")?;
                let result = Self(inner).reload().await;
                result.map(|summary| summary.to_string()).map_err(|error| error.to_string())
            })
        })
    }

    async fn swap(&self) -> Result<Summary, StartError> {
        let Inner { process_state, core, listeners, admin_listener, sources, .. } = &*self.0;
        let _one_at_a_time = self.0.one_at_a_time.lock().await;
        let (config, read) = self.read().await?;
        let earlier = core.generation();
        // Counters continue while they can be read.
        let known = || {
            earlier
                .observers
                .monitor
                .clone()
                .unwrap_or_else(|| Monitor::new(process_state.started, process_state.stage.clone()))
        };
        let monitor = config.admin.as_ref().map(|_| known());
        let next = Generation::build(process_state, config, monitor.clone(), &earlier).await?;
        let opened = listeners.open(&next.config.listen).await?;
        let admin = admin_listener.open(next.config.admin.as_ref().zip(monitor), listeners).await?;

        let at_next_start = process_state.start_only.differing(&next.config);
        let (guests, guests_kept) = (next.config.guests.len(), next.guests.shared_with(&earlier.guests));
        next.show(process_state);
        core.swap(next);
        *sources.lock().unwrap_or_else(PoisonError::into_inner) = read;
        let change = listeners.commit(opened);
        admin_listener.commit(admin);
        self.serves().await;
        Ok(Summary { guests, guests_kept, opened: change.opened, closed: change.closed, at_next_start })
    }

    /// Reads the configuration. Returns it with its sources.
    async fn read(&self) -> Result<(Config, Sources), StartError> {
        let inner = self.0.clone();
        let read = move || {
            let (config, own, warnings) = match &inner.source {
                ConfigSource::Value(config) => ((**config).clone(), Fingerprints::default(), Vec::new()),
                ConfigSource::File(path) => {
                    let (config, file) = ConfigFile::load(path)?;
                    (config, file.fingerprints, file.warnings)
                }
            };
            let files = own.and(Fingerprints::of(config.files().cloned()));
            Ok((config, Sources { files, warnings }))
        };
        blocking(read).await?
    }

    /// The current fingerprints of the files that the active configuration was built from, and after a failure also of
    /// their directories.
    async fn look(&self, has_failed: bool) -> Fingerprints {
        let files: Vec<PathBuf> = self.sources().files.paths().cloned().collect();
        let look =
            move || if has_failed { Fingerprints::with_directories(files) } else { Fingerprints::of(files) };
        blocking(look).await.unwrap_or_default()
    }

    fn sources(&self) -> Sources {
        self.0.sources.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reloads, and logs the result.
    async fn reload_and_log(&self) -> bool {
        match self.reload().await {
            Ok(summary) if summary.at_next_start.is_empty() => {
                tracing::info!("configuration reloaded: {summary}");
                true
            }
            Ok(summary) => {
                tracing::warn!("configuration reloaded: {summary}");
                true
            }
            Err(error) => {
                tracing::error!("the configuration was not reloaded, the previous one stays active: {error}");
                false
            }
        }
    }
}

impl fmt::Debug for Reloader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reloader").field("source", &self.0.source).finish_non_exhaustive()
    }
}

/// Reloads on each signal, and when files have changed if that is configured. Never completes.
pub(crate) async fn follow(reloader: &Reloader, mut hangup: ReloadSignal) {
    let mut failed = None;
    loop {
        tokio::select! {
            // Log files may have been moved away.
            () = hangup.recv() => reloader.0.core.generation().observers.reopen(),
            () = changed(reloader, failed.as_ref()) => {}
        }
        // This comes before the files are read, so that later changes count as another change.
        let before = reloader.look(true).await;
        failed = (!reloader.reload_and_log().await).then_some(before);
    }
}

/// Completes when files differ from those that the active configuration was built from, or that were read when a reload
/// last `failed`, and haven't changed for a while: writing files takes many steps.
async fn changed(reloader: &Reloader, failed: Option<&Fingerprints>) {
    let mut last = None;
    loop {
        tokio::time::sleep(CHECK_INTERVAL).await;
        reloader.0.core.release();
        if !reloader.0.core.generation().config.server.watch_files {
            continue;
        }
        let now = reloader.look(failed.is_some()).await;
        let is_known = match failed {
            Some(failed) => now == *failed,
            None => now == reloader.sources().files,
        };
        if is_known {
            last = None;
        } else if last.as_ref() == Some(&now) {
            return;
        } else {
            last = Some(now);
        }
    }
}

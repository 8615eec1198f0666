//! State of the process as a whole. It outlives configurations, as long as they have an `[admin]` section.

use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::SystemTime;

use futures_util::future::BoxFuture;
use http_wasm_tower::Observer;
use serde::Serialize;

use super::active::{Active, Configured};
use super::metrics::{Metrics, Names};
use super::recent::{ErrorSource, Recent};
use crate::config::Config;
use crate::exchange::{FinishedRequest, RequestObserver};
use crate::guests::GuestMonitor;
use crate::listener::ListenerStatus;
use crate::stage::CurrentStage;
use crate::time::rfc3339;

/// Everything that operators can query, kept up to date by the gateway.
pub(crate) struct Monitor {
    pub(crate) started: SystemTime,
    pub(crate) active: Arc<Active>,
    pub(crate) metrics: Metrics,
    pub(crate) recent: Arc<Recent>,
    reload: OnceLock<Reload>,
    listeners: OnceLock<ListListeners>,
    /// `None` if the last reload succeeded.
    reload_error: Mutex<Option<ReloadError>>,
}

/// Lists the listeners.
type ListListeners = Box<dyn Fn() -> Vec<ListenerStatus> + Send + Sync>;

/// Why the configuration couldn't be reloaded.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct ReloadError {
    #[serde(serialize_with = "rfc3339")]
    at: SystemTime,
    message: String,
}

/// Reloads the configuration. Returns a summary, or why the configuration can't be used.
pub(crate) type Reload = Box<dyn Fn() -> BoxFuture<'static, Result<String, String>> + Send + Sync>;

impl Monitor {
    /// The monitor of a process that was started at this time.
    pub(crate) fn new(started: SystemTime, stage: CurrentStage) -> Arc<Self> {
        let active = Arc::new(Active::new(stage));
        let metrics = Metrics::new(active.clone());
        Arc::new(Self {
            started,
            active,
            metrics,
            recent: Arc::default(),
            reload: OnceLock::new(),
            listeners: OnceLock::new(),
            reload_error: Mutex::default(),
        })
    }

    /// Returns the observer of this configuration's requests. Its series stay until the last of them has completed.
    pub(super) fn request_observer(self: &Arc<Self>, config: &Config) -> MonitorObserver {
        MonitorObserver { monitor: self.clone(), _names: self.metrics.names(config) }
    }

    /// Sets the configuration in use.
    pub(crate) fn configured(&self, configured: Configured) {
        self.active.replace(configured);
    }

    /// Sets the function that reloads the configuration. Only the first call has an effect.
    pub(crate) fn on_reload(&self, reload: Reload) {
        let _ = self.reload.set(reload);
    }

    /// Sets the function that lists the listeners. Only the first call has an effect.
    pub(crate) fn on_listeners(&self, list: impl Fn() -> Vec<ListenerStatus> + Send + Sync + 'static) {
        let _ = self.listeners.set(Box::new(list));
    }

    /// The listeners. Empty until they are known.
    pub(crate) fn listeners(&self) -> Vec<ListenerStatus> {
        self.listeners.get().map(|list| list()).unwrap_or_default()
    }

    /// Why the last reload failed, if it did.
    pub(crate) fn reload_error(&self) -> Option<ReloadError> {
        self.reload_error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reloads the configuration. Returns `None` if that isn't possible here.
    pub(crate) async fn reload(&self) -> Option<Result<String, String>> {
        Some(self.reload.get()?().await)
    }

    /// Records the result of a reload: the configuration is in use, or nothing has changed, for the given reason.
    pub(crate) fn reloaded(&self, result: Result<(), &str>) {
        self.metrics.reloaded(result.is_ok());
        let error = result.err().map(|why| ReloadError { at: SystemTime::now(), message: why.to_owned() });
        *self.reload_error.lock().unwrap_or_else(PoisonError::into_inner) = error;
        if let Err(why) = result {
            self.recent.add(ErrorSource::Configuration, "reload", "reload", why);
        }
    }
}

impl GuestMonitor for Monitor {
    fn observer(&self, guest: &str) -> Arc<dyn Observer> {
        self.metrics.guest(guest, self.recent.clone())
    }

    fn failed_to_load(&self, guest: &str, reason: &str) {
        self.recent.add(ErrorSource::Guest, guest, "load", reason);
    }
}

/// The monitor, as seen by the requests of one configuration.
#[derive(Debug)]
pub(super) struct MonitorObserver {
    monitor: Arc<Monitor>,
    _names: Names,
}

impl RequestObserver for MonitorObserver {
    fn started(&self) {
        self.monitor.metrics.started();
    }

    fn finished(&self, request: &FinishedRequest<'_>) {
        let Monitor { metrics, recent, .. } = &*self.monitor;
        metrics.finished(request);
        for attempt in request.attempts {
            if let Err((failure, why)) = &attempt.result
                && failure.is_upstream_fault()
            {
                let message = format_args!("{}: {why}", attempt.address);
                recent.add(ErrorSource::Upstream, &attempt.upstream, failure.name(), message);
            }
        }
    }
}

impl fmt::Debug for Monitor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Monitor").field("active", &self.active).finish_non_exhaustive()
    }
}

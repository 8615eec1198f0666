//! What is noted about the process as a whole: it outlives configurations.

use std::fmt;
use std::io;
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use futures_util::future::BoxFuture;
use http_wasm_tower::Observer;
use tokio::task::JoinSet;

use super::active::{Active, Configured, Stage};
use super::metrics::Metrics;
use super::recent::{Recent, Source};
use super::{Observe, RequestOutcome};
use crate::signals::Signals;

/// All that operators can ask about, kept up to date by the gateway.
pub(crate) struct Monitor {
    pub(crate) started: SystemTime,
    pub(crate) active: Arc<Active>,
    pub(crate) metrics: Metrics,
    pub(crate) recent: Arc<Recent>,
    reload: OnceLock<Reload>,
}

/// Reads the configuration again, and says why it can't be used when it can't.
pub(crate) type Reload = Box<dyn Fn() -> BoxFuture<'static, Result<(), String>> + Send + Sync>;

impl Monitor {
    pub(crate) fn new() -> Arc<Self> {
        let active = Arc::new(Active::new());
        let metrics = Metrics::new(active.clone());
        Arc::new(Self {
            started: SystemTime::now(),
            active,
            metrics,
            recent: Arc::default(),
            reload: OnceLock::new(),
        })
    }

    /// What a guest of this name tells what it does.
    pub(crate) fn guest(&self, name: &str) -> Arc<dyn Observer> {
        self.metrics.guest(name, self.recent.clone())
    }

    /// This configuration is the one in use from now on.
    pub(crate) fn configured(&self, configured: Configured) {
        self.active.replace(configured);
    }

    /// What reads the configuration again. The first holds.
    pub(crate) fn on_reload(&self, reload: Reload) {
        let _ = self.reload.set(reload);
    }

    /// Has the configuration read again. None when nothing here can.
    pub(crate) async fn reload(&self) -> Option<Result<(), String>> {
        let result = self.reload.get()?().await;
        self.reloaded(result.as_ref().map(|_| ()).map_err(String::as_str));
        Some(result)
    }

    /// The configuration was read again: it is in use now, or it changed nothing, and this is why.
    pub(crate) fn reloaded(&self, result: Result<(), &str>) {
        self.metrics.reloaded(result.is_ok());
        if let Err(why) = result {
            self.recent.add(Source::Configuration, "reload", "reload", why);
        }
    }

    /// Connections are accepted from now on, until a signal comes. Follows for as long as the result is kept.
    pub(crate) fn follow_stages(self: &Arc<Self>) -> io::Result<JoinSet<()>> {
        let mut signals = Signals::install()?;
        self.active.enter(Stage::Ready);
        let (active, mut task) = (self.active.clone(), JoinSet::new());
        task.spawn(async move {
            signals.recv().await;
            active.enter(Stage::Draining);
        });
        Ok(task)
    }
}

impl Observe for Monitor {
    fn started(&self) {
        self.metrics.started();
    }

    fn finished(&self, outcome: &RequestOutcome) {
        self.metrics.finished(outcome);
        for attempt in &outcome.attempts {
            if let Err((failure, why)) = &attempt.result
                && failure.is_upstreams()
            {
                self.recent.add(Source::Upstream, &attempt.upstream, failure.name(), why);
            }
        }
    }
}

impl fmt::Debug for Monitor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Monitor").field("active", &self.active).finish_non_exhaustive()
    }
}

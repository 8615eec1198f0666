//! A gateway, from its configuration and the first listening address to the last request.

use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;

use crate::admin::{Admin, AdminListener};
use crate::blocking::blocking;
use crate::config::{Config, ConfigFile, Draft, Faults};
use crate::core::Core;
use crate::error::StartError;
use crate::error_text::plain;
use crate::exchange::RequestObserver;
use crate::fingerprint::Fingerprints;
use crate::generation::Generation;
use crate::inspect::Inspector;
#[cfg(unix)]
use crate::listener::Successor;
use crate::listener::{Endpoint, Inherited, Listeners, announce};
use crate::observe::Monitor;
use crate::process_state::ProcessState;
use crate::reload::{ConfigSource, Reloader, Sources, follow};
use crate::signals::{ReloadSignal, Signals};
use crate::stage::Stage;

/// A gateway that is ready to serve: its guests are loaded.
pub struct Gateway {
    pub(crate) core: Arc<Core>,
    admin: Option<Admin>,
    process_state: ProcessState,
    source: ConfigSource,
    inherited: Inherited,
    sources: Sources,
}

impl Gateway {
    /// Builds everything that a configuration needs, except its listening addresses: only the admin address is opened
    /// at this point, so that operators can observe guests being loaded.
    ///
    /// # Errors
    /// If the system refuses something, such as the admin address, or a guest that isn't optional can't be loaded.
    pub async fn build(config: Config) -> Result<Self, StartError> {
        Self::build_with(config, Vec::new()).await
    }

    /// The same, for a tool that shows what guests do: `inspector` follows each exchange of a route with guests.
    ///
    /// # Errors
    /// As for [`build`](Self::build).
    pub async fn build_inspected(config: Config, inspector: Arc<dyn Inspector>) -> Result<Self, StartError> {
        Self::build_as(config, Vec::new(), Some(inspector)).await
    }

    /// The same, with observers that are called for each completed request.
    pub(crate) async fn build_with(
        config: Config,
        observers: Vec<Arc<dyn RequestObserver>>,
    ) -> Result<Self, StartError> {
        Self::build_as(config, observers, None).await
    }

    async fn build_as(
        config: Config,
        observers: Vec<Arc<dyn RequestObserver>>,
        inspector: Option<Arc<dyn Inspector>>,
    ) -> Result<Self, StartError> {
        let mut inherited = Inherited::take()
            .map_err(|error| StartError::System(format!("LISTEN_FDS: {}", plain(&error))))?;
        let process_state = ProcessState { inspector, ..ProcessState::new(&config)? };
        let monitor =
            config.admin.as_ref().map(|_| Monitor::new(process_state.started, process_state.stage.clone()));
        let admin = match config.admin.as_ref().zip(monitor.clone()) {
            Some((admin, monitor)) => {
                let socket = inherited.claim_or_bind(&admin.address).await;
                Some(Admin::start(admin, monitor, socket)?)
            }
            None => None,
        };
        let source = ConfigSource::Value(config.clone().into());
        let none = Arc::new(Generation::none(observers));
        let files: Vec<_> = config.files().cloned().collect();
        let files = blocking(|| Fingerprints::of(files)).await?;
        let sources = Sources { files, warnings: Vec::new() };
        let generation = Generation::build(&process_state, config, monitor, &none).await?;
        generation.show(&process_state);
        let core = Arc::new(Core::new(generation, &process_state));
        Ok(Self { core, admin, process_state, source, inherited, sources })
    }

    /// Reads a configuration file and builds everything that it needs, as far as that has no visible effect: no address
    /// is listened on and no log is opened, since a running gateway may be using them. Returns the configuration and
    /// the warnings about it.
    ///
    /// # Errors
    /// All errors and warnings: in the file, in the files that it refers to, and in its guests.
    pub async fn check(path: &Path) -> Result<(Config, Faults), StartError> {
        let mut draft = Draft::read(path);
        if let Some(config) = draft.usable() {
            Generation::check(&ProcessState::new(&config)?, &config, &mut draft).await;
        }
        Ok(draft.finish()?)
    }

    /// The address for metrics and status. `None` without an `[admin]` section.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin.as_ref().map(Admin::address)
    }

    /// Rereads the configuration from this file at each reload. Otherwise, the gateway keeps its configuration, and
    /// only rereads the files that it refers to.
    pub fn with_file(mut self, file: ConfigFile) -> Self {
        self.source = ConfigSource::File(file.path);
        self.sources.files = file.fingerprints.and(self.sources.files);
        self.sources.warnings = file.warnings;
        self
    }

    /// Listens on all addresses. From then on, connections are accepted and requests handled, until the result is
    /// dropped.
    ///
    /// # Errors
    /// If an address can't be listened on.
    pub async fn bind(self) -> Result<Bound, StartError> {
        let listeners = Arc::new(Listeners::new(self.core.clone(), self.inherited));
        let opened = listeners.open(&self.core.generation().config.listen).await?;
        listeners.commit(opened);
        let admin_listener = AdminListener::new(self.admin);
        let reloader = Reloader::new(
            self.process_state,
            self.source,
            self.core.clone(),
            listeners.clone(),
            admin_listener,
            self.sources,
        );
        reloader.serves().await;
        Ok(Bound { core: self.core, listeners, reloader })
    }

    /// Serves until a signal stops it, and reloads on SIGHUP or when files change. `ready` is called with the addresses
    /// as soon as all of them accept connections.
    ///
    /// # Errors
    /// If an address can't be listened on, or the system refuses something else that is needed to start.
    pub async fn serve(self, ready: impl FnOnce(&[Endpoint])) -> Result<(), StartError> {
        let refused = |error| StartError::System(format!("cannot handle signals: {}", plain(&error)));
        let mut signals = Signals::install().map_err(refused)?;
        let hangup = ReloadSignal::install().map_err(refused)?;
        #[cfg(unix)]
        let mut successor = Successor::install().map_err(refused)?;
        let bound = self.bind().await?;
        ready(&bound.addresses()?);
        announce();
        #[cfg(unix)]
        let succeeded = successor.ready(|| bound.sockets());
        #[cfg(not(unix))]
        let succeeded = std::future::pending();
        let is_succeeded = tokio::select! {
            () = signals.recv() => false,
            () = succeeded => true,
            () = follow(&bound.reloader, hangup) => false,
        };
        bound.drain(is_succeeded, signals.recv()).await;
        Ok(())
    }

    /// Serves until `stop` completes, and then shuts down gracefully, as [`serve`](Self::serve) does on a signal.
    /// Signals and changed files are ignored.
    ///
    /// # Errors
    /// If an address can't be listened on.
    pub async fn serve_until(
        self,
        stop: impl Future<Output = ()>,
        ready: impl FnOnce(&[Endpoint]),
    ) -> Result<(), StartError> {
        let bound = self.bind().await?;
        ready(&bound.addresses()?);
        stop.await;
        bound.drain(false, std::future::pending()).await;
        Ok(())
    }
}

/// A gateway that is listening.
pub struct Bound {
    pub(crate) core: Arc<Core>,
    listeners: Arc<Listeners<Core>>,
    pub(crate) reloader: Reloader,
}

impl Bound {
    /// The addresses, with the ports that the system chose for port 0.
    ///
    /// # Errors
    /// If the system doesn't report them.
    pub fn addresses(&self) -> Result<Vec<Endpoint>, StartError> {
        let untold =
            |error| StartError::System(format!("cannot determine the local address: {}", plain(&error)));
        self.listeners.addresses().map_err(untold)
    }

    /// The address for metrics and status. `None` without an `[admin]` section.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.reloader.admin().address()
    }

    /// Shuts down gracefully, or at once when `hurry` ends.
    pub async fn close(self, hurry: impl Future<Output = ()>) {
        self.drain(false, hurry).await;
    }

    /// Shuts down gracefully, or at once when `hurry` ends. A successor listens on the same addresses, and answers
    /// health checks there.
    async fn drain(self, is_succeeded: bool, hurry: impl Future<Output = ()>) {
        self.reloader.stage().enter(Stage::Draining);
        let (delay, limit) = {
            let server = &self.core.generation().config.server;
            (server.drain_delay.0, server.drain_timeout.0)
        };
        let delay = if is_succeeded { Duration::ZERO } else { delay };
        self.listeners.drain(delay, limit, hurry).await;
        self.core.flush().await;
    }

    /// The listening sockets, including the admin listener's.
    #[cfg(unix)]
    fn sockets(&self) -> Vec<Arc<TcpListener>> {
        self.listeners.sockets().into_iter().chain(self.reloader.admin().socket()).collect()
    }

    /// Reloads the configuration.
    pub fn reloader(&self) -> Reloader {
        self.reloader.clone()
    }
}

impl fmt::Debug for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bound").field("addresses", &self.listeners.addresses()).finish_non_exhaustive()
    }
}

impl fmt::Debug for Gateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gateway").field("config", &self.core.generation().config).finish_non_exhaustive()
    }
}

//! A gateway: what is made of a configuration, and its life from the first address to the last request.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use http_wasm_tower::Engine;
use sysinfo::{MemoryRefreshKind, RefreshKind, System};
use tokio::net::TcpListener;

use crate::admin::Admin;
use crate::config::Config;
use crate::core::Core;
use crate::error::{StartError, plain};
use crate::generation::Generation;
#[cfg(unix)]
use crate::listener::Successor;
use crate::listener::{Endpoint, Inherited, Listeners, announce};
use crate::observe::{Monitor, Observe, Watchers};
use crate::reload::{Reloader, Source, follow};
use crate::signals::{Hangup, Signals};

/// A gateway that is ready to serve: its guests are up.
pub struct Gateway {
    pub(crate) core: Arc<Core>,
    pub(crate) monitor: Option<Arc<Monitor>>,
    admin: Option<Admin>,
    machine: Machine,
    source: Source,
    inherited: Inherited,
}

/// What generations are made on.
#[derive(Clone)]
pub(crate) struct Machine {
    pub(crate) engine: Engine,
    /// Bytes that all guests' instances may have together.
    pub(crate) memory: usize,
    pub(crate) monitor: Option<Arc<Monitor>>,
}

impl Gateway {
    /// Makes all that a configuration asks for, addresses excepted: only that for operators is listened on from here on, so
    /// that they can see guests being loaded.
    ///
    /// # Errors
    /// When the system refuses, the operators' address included, or a guest that isn't optional can't be loaded.
    pub async fn build(config: Config) -> Result<Self, StartError> {
        Self::build_with(config, Vec::new()).await
    }

    /// The same, with these told of each request that is over.
    pub(crate) async fn build_with(
        config: Config,
        observers: Vec<Arc<dyn Observe>>,
    ) -> Result<Self, StartError> {
        let mut inherited = Inherited::take()
            .map_err(|error| StartError::System(format!("LISTEN_FDS: {}", plain(&error))))?;
        let monitor = config.admin.as_ref().map(|_| Monitor::new());
        let admin = match config.admin.as_ref().zip(monitor.clone()) {
            Some((admin, monitor)) => Some(Admin::start(admin, monitor, &mut inherited).await?),
            None => None,
        };
        let watchers = Watchers::new(&config, monitor.as_ref(), observers)?;
        let (engine, memory) = engine(&config)?;
        let machine = Machine { engine, memory, monitor: monitor.clone() };
        let source = Source::Value(config.clone().into());
        let generation = Generation::build(&machine, config, None).await?;
        generation.show(&machine);
        Ok(Self {
            core: Arc::new(Core::new(generation, watchers)),
            monitor,
            admin,
            machine,
            source,
            inherited,
        })
    }

    /// Where operators find metrics and status; none without an `[admin]` section.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin.as_ref().map(Admin::address)
    }

    /// The same gateway, which reads its configuration from this file whenever it reloads. Without one, it keeps its
    /// configuration, and reads again only the files that this names.
    pub fn with_file(mut self, path: PathBuf) -> Self {
        self.source = Source::File(path);
        self
    }

    /// Listens on all addresses. From here on connections are accepted and requests answered, until all that came of it is dropped.
    ///
    /// # Errors
    /// When the system refuses an address.
    pub async fn bind(self) -> Result<Bound, StartError> {
        let listeners = Arc::new(Listeners::new(self.core.clone(), self.inherited));
        let opened = listeners.open(&self.core.generation().config.listen).await?;
        listeners.commit(opened);
        let reloader = Reloader::new(self.machine, self.source, self.core.clone(), listeners.clone());
        if let Some(monitor) = &self.monitor {
            monitor.on_reload(reloader.for_operators());
            monitor.ready();
        }
        Ok(Bound { core: self.core, listeners, reloader, monitor: self.monitor, admin: self.admin })
    }

    /// Serves until a signal says stop, and reloads when one says so, or when files change. `ready` is told the addresses as soon as
    /// connections are accepted at all of them.
    ///
    /// # Errors
    /// When the system refuses an address or something else that is needed to begin.
    pub async fn serve(self, ready: impl FnOnce(&[Endpoint])) -> Result<(), StartError> {
        let refused = |error| StartError::System(format!("cannot handle signals: {}", plain(&error)));
        let mut signals = Signals::install().map_err(refused)?;
        let hangup = Hangup::install().map_err(refused)?;
        #[cfg(unix)]
        let mut successor = Successor::install().map_err(refused)?;
        let bound = self.bind().await?;
        ready(&bound.addresses()?);
        announce();
        #[cfg(unix)]
        let succeeded = successor.ready(|| bound.sockets());
        #[cfg(not(unix))]
        let succeeded = std::future::pending();
        tokio::select! {
            () = signals.recv() => {}
            () = succeeded => {}
            () = follow(&bound.reloader, hangup) => {}
        }
        if let Some(monitor) = &bound.monitor {
            monitor.draining();
        }
        let limit = bound.core.generation().config.server.drain_timeout.0;
        bound.listeners.drain(signals, limit).await;
        bound.core.watchers().flush().await;
        Ok(())
    }
}

/// A gateway that listens.
pub struct Bound {
    pub(crate) core: Arc<Core>,
    listeners: Arc<Listeners<Core>>,
    pub(crate) reloader: Reloader,
    monitor: Option<Arc<Monitor>>,
    admin: Option<Admin>,
}

impl Bound {
    /// The addresses, with the ports that the system chose where it was asked to.
    ///
    /// # Errors
    /// When the system can't tell.
    pub fn addresses(&self) -> Result<Vec<Endpoint>, StartError> {
        let untold = |error| StartError::System(format!("cannot tell the address: {}", plain(&error)));
        self.listeners.addresses().map_err(untold)
    }

    /// The sockets that are listened on, that for operators among them.
    #[cfg(unix)]
    fn sockets(&self) -> Vec<Arc<TcpListener>> {
        let admin = self.admin.iter().map(|admin| admin.socket.clone());
        self.listeners.sockets().into_iter().chain(admin).collect()
    }

    /// What reloads the configuration.
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

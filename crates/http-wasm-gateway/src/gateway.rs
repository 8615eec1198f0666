//! A gateway: what is made of a configuration, and its life from the first address to the last request.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;

use crate::admin::{Admin, Operators};
use crate::config::{Config, ConfigFile};
use crate::core::Core;
use crate::error::StartError;
use crate::error_text::plain;
use crate::exchange::RequestObserver;
use crate::fingerprint::Fingerprints;
use crate::generation::Generation;
#[cfg(unix)]
use crate::listener::Successor;
use crate::listener::{Endpoint, Inherited, Listeners, announce};
use crate::machine::Machine;
use crate::observe::Monitor;
use crate::reload::{Reloader, Source, follow};
use crate::signals::{Hangup, Signals};

/// A gateway that is ready to serve: its guests are up.
pub struct Gateway {
    pub(crate) core: Arc<Core>,
    admin: Option<Admin>,
    machine: Machine,
    source: Source,
    inherited: Inherited,
    /// How the files looked that it was made from.
    made_of: Fingerprints,
}

impl Gateway {
    /// Makes all that a configuration asks for, addresses excepted: only that for operators is listened on from here
    /// on, so that they can see guests being loaded.
    ///
    /// # Errors
    /// When the system refuses, the operators' address included, or a guest that isn't optional can't be loaded.
    pub async fn build(config: Config) -> Result<Self, StartError> {
        Self::build_with(config, Vec::new()).await
    }

    /// The same, with these told of each request that is over.
    pub(crate) async fn build_with(
        config: Config,
        observers: Vec<Arc<dyn RequestObserver>>,
    ) -> Result<Self, StartError> {
        let mut inherited = Inherited::take()
            .map_err(|error| StartError::System(format!("LISTEN_FDS: {}", plain(&error))))?;
        let machine = Machine::new(&config)?;
        let monitor = config.admin.as_ref().map(|_| Monitor::new(machine.started));
        let admin = match config.admin.as_ref().zip(monitor.clone()) {
            Some((admin, monitor)) => {
                let socket = inherited.claim_or_bind(&admin.address).await;
                Some(Admin::start(admin, monitor, socket)?)
            }
            None => None,
        };
        let source = Source::Value(config.clone().into());
        let none = Generation::none(observers);
        let made_of = Fingerprints::of(config.files().cloned());
        let generation = Generation::build(&machine, config, monitor, &none).await?;
        generation.show(&machine);
        Ok(Self { core: Arc::new(Core::new(generation)), admin, machine, source, inherited, made_of })
    }

    /// Makes all that a configuration asks for, as far as nobody notices: no address is listened on and no log opened,
    /// for a gateway may run that has them.
    ///
    /// # Errors
    /// When a guest that isn't optional can't be loaded, or files can't be used.
    pub async fn check(config: &Config) -> Result<(), StartError> {
        Generation::check(&Machine::new(config)?, config).await
    }

    /// Where operators find metrics and status; none without an `[admin]` section.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin.as_ref().map(Admin::address)
    }

    /// The same gateway, which reads its configuration from this file whenever it reloads. Without one, it keeps its
    /// configuration, and reads again only the files that this names.
    pub fn with_file(mut self, file: ConfigFile) -> Self {
        self.source = Source::File(file.path);
        self.made_of = file.fingerprints.and(self.made_of);
        self
    }

    /// Listens on all addresses. From here on connections are accepted and requests answered, until all that came of it
    /// is dropped.
    ///
    /// # Errors
    /// When the system refuses an address.
    pub async fn bind(self) -> Result<Bound, StartError> {
        let listeners = Arc::new(Listeners::new(self.core.clone(), self.inherited));
        let opened = listeners.open(&self.core.generation().config.listen).await?;
        listeners.commit(opened);
        let operators = Operators::new(self.admin);
        let reloader = Reloader::new(
            self.machine,
            self.source,
            self.core.clone(),
            listeners.clone(),
            operators,
            self.made_of,
        );
        reloader.serves();
        Ok(Bound { core: self.core, listeners, reloader })
    }

    /// Serves until a signal says stop, and reloads when one says so, or when files change. `ready` is told the
    /// addresses as soon as connections are accepted at all of them.
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
        if let Some(monitor) = &bound.core.generation().watchers.monitor {
            monitor.draining();
        }
        let limit = bound.core.generation().config.server.drain_timeout.0;
        bound.listeners.drain(signals, limit).await;
        bound.core.flush().await;
        Ok(())
    }
}

/// A gateway that listens.
pub struct Bound {
    pub(crate) core: Arc<Core>,
    listeners: Arc<Listeners<Core>>,
    pub(crate) reloader: Reloader,
}

impl Bound {
    /// The addresses, with the ports that the system chose where it was asked to.
    ///
    /// # Errors
    /// When the system can't tell.
    pub fn addresses(&self) -> Result<Vec<Endpoint>, StartError> {
        let untold =
            |error| StartError::System(format!("cannot determine the local address: {}", plain(&error)));
        self.listeners.addresses().map_err(untold)
    }

    /// Where operators find metrics and status; none without an `[admin]` section.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.reloader.operators().address()
    }

    /// The sockets that are listened on, that for operators among them.
    #[cfg(unix)]
    fn sockets(&self) -> Vec<Arc<TcpListener>> {
        self.listeners.sockets().into_iter().chain(self.reloader.operators().socket()).collect()
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

//! A gateway: what is made of a configuration, and the way of a request through it.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use http::{HeaderValue, Request, Response, StatusCode, header};
use http_wasm_tower::Engine;
use sysinfo::{MemoryRefreshKind, RefreshKind, System};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tower::ServiceExt as _;

use crate::admin::Admin;
use crate::backend::plain_text;
use crate::body::{BoxBody, empty};
use crate::config::{self, Config};
use crate::error::{StartError, plain};
use crate::guests::{self, Loaded};
use crate::listener::{Answer, Client, Listeners};
use crate::observe::{Configured, Exchange, Monitor, Observe, Watchers};
use crate::proxy::{Proxy, remove_nominated};
use crate::route::{Handler, Route, Routes, handler};
use crate::signals::Signals;

/// A gateway that is ready to serve: its guests are up.
pub struct Gateway {
    config: Config,
    pub(crate) core: Arc<Core>,
    pub(crate) monitor: Option<Arc<Monitor>>,
    admin: Option<Admin>,
}

/// What requests need, whatever connection they come by.
pub(crate) struct Core {
    routes: Routes,
    /// Requests that may still come in. Each may hold an instance of each guest, and those have no cap of their own.
    free: Semaphore,
    watchers: Arc<Watchers>,
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
        let monitor = config.admin.as_ref().map(|_| Monitor::new());
        let admin = match config.admin.as_ref().zip(monitor.clone()) {
            Some((admin, monitor)) => Some(Admin::start(admin, monitor).await?),
            None => None,
        };
        let watchers = Watchers::new(&config, monitor.as_ref(), observers)?;
        let (engine, memory) = engine(&config)?;
        let guests = guests::load(&engine, &config.guests, monitor.as_deref()).await?;
        let upstreams = upstreams(&config);
        if let Some(monitor) = &monitor {
            let upstreams = upstreams.values().cloned();
            monitor.configured(Configured::new(&config, &engine, memory, &guests, upstreams));
        }
        let core = Core {
            routes: routes(&config, &guests, &upstreams),
            free: Semaphore::new(config.server.max_requests.get() as usize),
            watchers,
        };
        Ok(Self { config, core: Arc::new(core), monitor, admin })
    }

    /// Where operators find metrics and status; none without an `[admin]` section.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin.as_ref().map(Admin::address)
    }

    /// What `POST /reload` at the admin listener does: read the configuration again, or say why it can't be used. Without it
    /// the answer is 501.
    pub fn on_reload<F>(&self, reload: impl Fn() -> F + Send + Sync + 'static)
    where
        F: Future<Output = Result<(), String>> + Send + 'static,
    {
        if let Some(monitor) = &self.monitor {
            monitor.on_reload(Box::new(move || Box::pin(reload())));
        }
    }

    /// Serves until a signal says stop. `ready` is told the addresses as soon as connections are accepted at all of them.
    ///
    /// # Errors
    /// When the system refuses an address or something else that is needed to begin.
    pub async fn serve(self, ready: impl FnOnce(&[SocketAddr])) -> Result<(), StartError> {
        let system = |what: &str, error| StartError::System(format!("cannot {what}: {}", plain(&error)));
        let signals = Signals::install().map_err(|error| system("handle signals", error))?;
        let listeners = Listeners::bind(&self.config.listen).await?;
        let _watching = self.watch().map_err(|error| system("handle signals", error))?;
        ready(&listeners.addresses().map_err(|error| system("tell the address", error))?);
        listeners.serve(self.core.clone(), signals, self.config.server.drain_timeout.0).await;
        self.core.watchers.flush().await;
        Ok(())
    }

    /// What goes on for operators' sake while requests are served. It ends when it is dropped.
    fn watch(&self) -> io::Result<[JoinSet<()>; 2]> {
        let stages = self.monitor.as_ref().map(Monitor::follow_stages).transpose()?;
        Ok([stages.unwrap_or_default(), self.core.watchers.reopen_at_hangup()?])
    }
}

impl fmt::Debug for Gateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gateway").field("config", &self.config).finish_non_exhaustive()
    }
}

/// The engine of a configuration: with a slot for each request that may be there, and the memory that its guests may have,
/// which is told too.
fn engine(config: &Config) -> Result<(Engine, usize), StartError> {
    let server = &config.server;
    let memory = server.guest_memory_budget.map_or_else(default_memory_budget, |size| size.bytes());
    let slots = server.max_requests.get().clamp(1_000, 10_000);
    Ok((http_wasm_tower::engine_builder().slots(slots).memory_budget(memory).build()?, memory))
}

/// Half of the memory that this process may have: the machine's, or what its control group allows.
fn default_memory_budget() -> usize {
    let refresh = RefreshKind::nothing().with_memory(MemoryRefreshKind::nothing().with_ram());
    let system = System::new_with_specifics(refresh);
    let group = system.cgroup_limits().map_or(u64::MAX, |limits| limits.total_memory);
    usize::try_from(system.total_memory().min(group) / 2).unwrap_or(usize::MAX)
}

type Upstreams<'a> = HashMap<&'a str, Arc<Proxy>>;

fn upstreams(config: &Config) -> Upstreams<'_> {
    let upstreams = config.upstreams.iter();
    upstreams.map(|(name, upstream)| (name.as_str(), Arc::new(Proxy::new(name, upstream)))).collect()
}

fn routes(config: &Config, guests: &Loaded, upstreams: &Upstreams<'_>) -> Routes {
    let routes = config.routes.iter().enumerate().map(|(index, route)| {
        Route::new(route, route.name_at(index).into(), route_handler(route, guests, upstreams))
    });
    Routes::new(routes.collect())
}

fn route_handler(route: &config::Route, guests: &Loaded, upstreams: &Upstreams<'_>) -> Handler {
    let chain: Option<Vec<_>> =
        route.guests.iter().map(|name| guests.get(&name.value).cloned().flatten()).collect();
    let upstream = route.upstream.as_ref().map(|name| upstreams.get(name.as_str()).cloned());
    match (chain, upstream) {
        (Some(guests), Some(Some(upstream))) => handler(route, guests, Some(upstream)),
        (Some(guests), None) => handler(route, guests, None),
        // A guest is missing, which only one that is optional may: without it the request must not go on.
        _ => Handler::new(tower::service_fn(async |_| Ok(unavailable()))),
    }
}

impl Answer for Core {
    async fn answer(self: Arc<Self>, mut request: Request<BoxBody>, client: Client) -> Response<BoxBody> {
        request.extensions_mut().insert(client);
        match self.watchers.begin(&mut request, client) {
            Some(exchange) => {
                self.watchers.watch(exchange.clone(), self.respond(request, Some(&exchange))).await
            }
            None => self.respond(request, None).await,
        }
    }
}

impl Core {
    async fn respond(&self, mut request: Request<BoxBody>, exchange: Option<&Exchange>) -> Response<BoxBody> {
        // Held until the response's head is there.
        let Ok(_place) = self.free.try_acquire() else { return unavailable() };
        let Some(route) = self.routes.find(&request) else {
            return plain_text(StatusCode::NOT_FOUND, "not found\n");
        };
        if let Some(exchange) = exchange {
            exchange.took(&route.name);
        }
        if route.proxied {
            // Here and not in the proxy: a client must not name, in `Connection`, a header that a guest will add, and so
            // have it taken away again.
            remove_nominated(request.headers_mut());
        }
        let Ok(response) = route.handler.clone().oneshot(request).await;
        response
    }
}

fn unavailable() -> Response<BoxBody> {
    let mut response = Response::new(empty());
    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    response
}

//! A gateway: what is made of a configuration, and the way of a request through it.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use http::{HeaderValue, Request, Response, StatusCode, header};
use http_wasm_tower::Engine;
use sysinfo::{MemoryRefreshKind, RefreshKind, System};
use tokio::sync::Semaphore;
use tower::ServiceExt as _;

use crate::backend::plain_text;
use crate::body::{BoxBody, empty};
use crate::config::{self, Config};
use crate::error::{StartError, plain};
use crate::guests::{self, Loaded};
use crate::listener::{Answer, Bound, Client, Listeners};
use crate::observe::{Exchange, Observe, observed};
use crate::proxy::{Proxy, remove_nominated};
use crate::route::{Handler, Route, Routes, handler};
use crate::signals::Signals;

/// A gateway that is ready to serve: its guests are up.
pub struct Gateway {
    config: Config,
    pub(crate) core: Arc<Core>,
}

/// What requests need, whatever connection they come by.
pub(crate) struct Core {
    routes: Routes,
    /// Requests that may still come in. Each may hold an instance of each guest, and those have no cap of their own.
    free: Semaphore,
    observers: Arc<[Arc<dyn Observe>]>,
}

impl Gateway {
    /// Makes all that a configuration asks for, addresses excepted.
    ///
    /// # Errors
    /// When the system refuses, or a guest that isn't optional can't be loaded.
    pub async fn build(config: Config) -> Result<Self, StartError> {
        Self::build_with(config, Vec::new()).await
    }

    /// The same, with these told of each request that is over.
    pub(crate) async fn build_with(
        config: Config,
        observers: Vec<Arc<dyn Observe>>,
    ) -> Result<Self, StartError> {
        let engine = engine(&config)?;
        let guests = guests::load(&engine, &config.guests).await?;
        let core = Core {
            routes: routes(&config, &guests),
            free: Semaphore::new(config.server.max_requests.get() as usize),
            observers: observers.into(),
        };
        Ok(Self { config, core: Arc::new(core) })
    }

    /// Serves until a signal says stop. `ready` is told the addresses as soon as connections are accepted at all of them.
    ///
    /// # Errors
    /// When the system refuses an address or something else that is needed to begin.
    pub async fn serve(self, ready: impl FnOnce(&[Bound])) -> Result<(), StartError> {
        let system = |what: &str, error| StartError::System(format!("cannot {what}: {}", plain(&error)));
        let signals = Signals::install().map_err(|error| system("handle signals", error))?;
        let listeners = Listeners::bind(&self.config.listen).await?;
        ready(&listeners.addresses().map_err(|error| system("tell the address", error))?);
        listeners.serve(self.core, signals, self.config.server.drain_timeout.0).await;
        Ok(())
    }
}

impl fmt::Debug for Gateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gateway").field("config", &self.config).finish_non_exhaustive()
    }
}

/// The engine of a configuration: with a slot for each request that may be there, and the memory that its guests may have.
fn engine(config: &Config) -> Result<Engine, StartError> {
    let server = &config.server;
    let memory = server.guest_memory_budget.map_or_else(default_memory_budget, |size| size.bytes());
    let slots = server.max_requests.get().clamp(1_000, 10_000);
    Ok(http_wasm_tower::engine_builder().slots(slots).memory_budget(memory).build()?)
}

/// Half of the memory that this process may have: the machine's, or what its control group allows.
fn default_memory_budget() -> usize {
    let refresh = RefreshKind::nothing().with_memory(MemoryRefreshKind::nothing().with_ram());
    let system = System::new_with_specifics(refresh);
    let group = system.cgroup_limits().map_or(u64::MAX, |limits| limits.total_memory);
    usize::try_from(system.total_memory().min(group) / 2).unwrap_or(usize::MAX)
}

fn routes(config: &Config, guests: &Loaded) -> Routes {
    let upstreams: HashMap<&str, Arc<Proxy>> = config
        .upstreams
        .iter()
        .map(|(name, upstream)| (name.as_str(), Arc::new(Proxy::new(name, upstream))))
        .collect();
    let routes = config.routes.iter().enumerate().map(|(index, route)| {
        let name = match &route.name {
            Some(name) => name.value.clone(),
            None => format!("route-{}", index + 1),
        };
        Route::new(route, name.into(), route_handler(route, guests, &upstreams))
    });
    Routes::new(routes.collect())
}

fn route_handler(route: &config::Route, guests: &Loaded, upstreams: &HashMap<&str, Arc<Proxy>>) -> Handler {
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
        if self.observers.is_empty() {
            return self.respond(request, None).await;
        }
        let exchange = Arc::new(Exchange::begin(&request, client));
        request.extensions_mut().insert(exchange.clone());
        observed(exchange.clone(), self.observers.clone(), self.respond(request, Some(&exchange))).await
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

//! What answers requests, whatever connection they come by: the active configuration, and what stays when that changes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use arc_swap::ArcSwap;
use http::{HeaderValue, Request, Response, StatusCode, header};

use crate::backend::plain_text;
use crate::body::{BoxBody, empty};
use crate::generation::Generation;
use crate::listener::{Answer, Client};
use crate::observe::{Exchange, Watchers};
use crate::proxy::remove_nominated;

/// What requests need.
pub(crate) struct Core {
    /// What requests are answered by from now on. Each keeps the one that it began with.
    generation: ArcSwap<Generation>,
    in_flight: AtomicU32,
    watchers: Arc<Watchers>,
}

impl Core {
    pub(crate) fn new(generation: Generation, watchers: Arc<Watchers>) -> Self {
        Self { generation: ArcSwap::from_pointee(generation), in_flight: AtomicU32::new(0), watchers }
    }

    /// What requests are answered by now.
    pub(crate) fn generation(&self) -> Arc<Generation> {
        self.generation.load_full()
    }

    /// Lets all requests from now on be answered by `generation`.
    pub(crate) fn swap(&self, generation: Generation) {
        self.generation.store(Arc::new(generation));
    }

    /// Who wants to know of requests.
    pub(crate) fn watchers(&self) -> &Watchers {
        &self.watchers
    }

    async fn respond(&self, mut request: Request<BoxBody>, exchange: Option<&Exchange>) -> Response<BoxBody> {
        let generation = self.generation();
        // Held until the response's head is there.
        let Some(_place) = Place::take(&self.in_flight, generation.config.server.max_requests.get()) else {
            return unavailable();
        };
        let Some(route) = generation.routes.find(&request) else {
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
        route.respond(request).await
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

/// One of the requests in flight. Each may hold an instance of each guest, and those have no cap of their own.
struct Place<'a>(&'a AtomicU32);

impl<'a> Place<'a> {
    /// A place, unless there are as many requests as may be. The number may change at any time, which a semaphore's can't.
    fn take(in_flight: &'a AtomicU32, max: u32) -> Option<Self> {
        let place = Self(in_flight);
        (in_flight.fetch_add(1, Ordering::Relaxed) < max).then_some(place)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The answer when there is no place now and may be one soon.
pub(crate) fn unavailable() -> Response<BoxBody> {
    let mut response = Response::new(empty());
    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    response
}

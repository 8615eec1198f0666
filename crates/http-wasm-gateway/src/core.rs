//! Responds to requests from all connections, with the active configuration and the state that outlives configurations.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use futures_util::FutureExt as _;
use http::{Method, Response, StatusCode};
use http_body_util::BodyExt as _;
use http_wasm_tower::BodyBudget;
use tracing::{Instrument as _, Span};

use crate::body::{BoxBody, empty};
use crate::exchange::{Abandoned, Answer, Inbound, Refused, Share, plain_text, refusal, unavailable};
use crate::generation::Generation;
use crate::observe::{ObservedRequest, Sinks};
use crate::process_state::ProcessState;
use crate::route::AmbiguousPath;
use crate::turns::TurnQueue;
use crate::unread_budget::UnreadBudget;

/// How long unwritten recordings may delay the exit of the process.
const RECORDINGS_LIMIT: Duration = Duration::from_secs(3);

/// The state that requests need.
pub(crate) struct Core {
    /// The generation for new requests. Each request keeps the one that it started with.
    generation: ArcSwap<Generation>,
    in_flight: Arc<AtomicU32>,
    /// Observers of unfinished requests of earlier configurations.
    earlier: Mutex<Vec<Sinks>>,
    body_budget: BodyBudget,
    unread_budget: Arc<UnreadBudget>,
    turn_queue: Arc<TurnQueue>,
}

impl Core {
    pub(crate) fn new(generation: Generation, process_state: &ProcessState) -> Self {
        Self {
            generation: ArcSwap::from_pointee(generation),
            in_flight: Arc::default(),
            earlier: Mutex::default(),
            body_budget: process_state.engine.body_budget().clone(),
            unread_budget: Arc::new(UnreadBudget::new(process_state.unread)),
            turn_queue: TurnQueue::new(),
        }
    }

    /// The current generation.
    pub(crate) fn generation(&self) -> Arc<Generation> {
        self.generation.load_full()
    }

    /// Makes `generation` handle all new requests.
    pub(crate) fn swap(&self, generation: Generation) {
        let sinks = generation.observers.sinks();
        let earlier = self.generation.swap(Arc::new(generation));
        self.earlier().push(earlier.observers.sinks().without(&sinks));
        drop((earlier, sinks));
        self.release();
    }

    /// Drops what only requests of earlier configurations needed, if these have ended.
    pub(crate) fn release(&self) {
        self.earlier().retain(Sinks::are_used);
    }

    /// Completes when the records of ended requests have been written, or after a time limit.
    pub(crate) async fn flush(&self) {
        let earlier = std::mem::take(&mut *self.earlier());
        let generation = self.generation();
        Sinks::flush(earlier.into_iter().chain([generation.observers.sinks()])).await;
        if let Some(recorder) = &generation.recorder {
            let _ = tokio::time::timeout(RECORDINGS_LIMIT, recorder.flush()).await;
        }
    }

    /// How many earlier configurations still have requests.
    #[cfg(test)]
    pub(crate) fn earlier_count(&self) -> usize {
        self.release();
        self.earlier().len()
    }

    fn earlier(&self) -> MutexGuard<'_, Vec<Sinks>> {
        self.earlier.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many requests may be in flight before another one is rejected.
    ///
    /// When requests or memory for bodies run short, clients with many requests on one connection are rejected first.
    /// Otherwise, a few clients could use up everything.
    fn max_requests(&self, max: u32, inbound: &Inbound) -> u32 {
        if !inbound.is_sheddable() {
            return max;
        }
        let bodies = self.body_budget.memory();
        let bodies_are_short = bodies.held > bodies.limit / 4 * 3;
        if bodies_are_short { 0 } else { max / 4 * 3 }
    }

    async fn respond(
        &self,
        generation: &Generation,
        inbound: &mut Inbound,
        abandoned: &Abandoned,
    ) -> Response<BoxBody> {
        // Held until the response head is available.
        let max = generation.config.server.max_requests.get();
        let Some(permit) = RequestPermit::acquire(&self.in_flight, self.max_requests(max, inbound)) else {
            return unavailable();
        };
        let _permit = abandoned.share(permit);
        let route = match generation.routes.choose(&inbound.request, inbound.arrival()) {
            Ok(Some(chosen)) => {
                chosen.rewrite(&mut inbound.request);
                chosen.route
            }
            Ok(None) => return plain_text(StatusCode::NOT_FOUND, "not found\n"),
            Err(AmbiguousPath(reason)) => {
                tracing::debug!(reason, "request refused");
                return plain_text(StatusCode::BAD_REQUEST, "bad request\n");
            }
        };
        if let Some(record) = &inbound.record {
            record.set_route(&route.name);
        }
        route.respond(inbound, abandoned).await
    }
}

impl Answer for Core {
    async fn answer(&self, inbound: &mut Inbound, abandoned: &Abandoned) -> Response<BoxBody> {
        let generation = self.generation();
        let observed = generation.observers.begin(inbound);
        let span = observed.as_ref().map_or_else(Span::none, ObservedRequest::span);
        let version = inbound.request.version();
        let mut response = match inbound.refused {
            Refused::Head(status) => refusal(status, version),
            _ => self.respond(&generation, inbound, abandoned).instrument(span).await,
        };
        if let Refused::Body(body) = &inbound.refused
            && let Some(status) = body.settle()
        {
            if let Some(record) = &inbound.record {
                record.set_client_failed();
            }
            // The reader of the body only knows that it ended prematurely.
            response = refusal(status, version);
        }
        if let Some(observed) = observed {
            observed.answered(&mut response, inbound.granted.take());
        }
        response
    }

    fn unread_budget(&self) -> &Arc<UnreadBudget> {
        &self.unread_budget
    }

    fn turn_queue(&self) -> &Arc<TurnQueue> {
        &self.turn_queue
    }

    fn refused(&self, mut inbound: Inbound, status: StatusCode) {
        let generation = self.generation();
        if let Some(observed) = generation.observers.begin(&mut inbound) {
            let mut response = refusal(status, inbound.request.version());
            if inbound.request.method() == Method::HEAD {
                *response.body_mut() = empty();
            }
            observed.answered(&mut response, None);
            // The listener sends the same body, which is available at once.
            let _ = response.into_body().collect().now_or_never();
        }
    }
}

/// Permission for a request to be in flight. Each may hold an instance of each guest, and instances have no separate
/// limit.
struct RequestPermit<'a>(&'a Arc<AtomicU32>);

impl<'a> RequestPermit<'a> {
    /// Returns a permit, unless the maximum number of requests is in flight. The maximum can change at any time, which
    /// a semaphore doesn't support.
    fn acquire(in_flight: &'a Arc<AtomicU32>, max: u32) -> Option<Self> {
        let permit = Self(in_flight);
        (in_flight.fetch_add(1, Ordering::Relaxed) < max).then_some(permit)
    }
}

impl Drop for RequestPermit<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Share for RequestPermit<'_> {
    type Held = HeldRequestPermit;

    fn hold(self) -> HeldRequestPermit {
        self.0.fetch_add(1, Ordering::Relaxed);
        HeldRequestPermit(self.0.clone())
    }
}

/// The permit of a request whose client has disconnected.
struct HeldRequestPermit(Arc<AtomicU32>);

impl Drop for HeldRequestPermit {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

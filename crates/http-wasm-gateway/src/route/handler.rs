//! The handler of a route's requests: its guests, and the next handler.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;

use http::Response;
use http_wasm_tower::{
    AbandonedCall, Chain, ChainObserver, Error, Guest, GuestObserver, Inform, ResponseStream, StreamEnd,
};

use super::answer::Answer;
use crate::backend::{Backend, ExtProc};
use crate::body::BoxBody;
use crate::config;
use crate::exchange::{Abandoned, GuestTimer, Inbound, Interims, RequestRecord, unavailable, with_guest_log};
use crate::inspect::{Inspection, Inspector, Side};
use crate::proxy::Proxy;
use crate::recording::{ExchangeRecorder, Recorder};
use crate::stage::CurrentStage;

/// The guests in front of the next handler, outermost first.
pub(crate) struct Handler {
    chain: Chain,
    /// The names of the guests, in the chain's order.
    names: Vec<Arc<str>>,
    next: NextHandler,
    inspector: Option<Arc<dyn Inspector>>,
    recorded: Option<Recorded>,
}

/// What serves exchanges that are recorded.
struct Recorded {
    recorder: Arc<Recorder>,
    /// Copies of the guests, for recorded exchanges.
    chain: Chain,
}

/// The next handler: it responds to requests that the guests pass on.
pub(crate) enum NextHandler {
    Backend(Backend),
    Answer(Answer),
    /// A guest of the route is missing.
    Unavailable,
    #[cfg(test)]
    Service(
        tower::util::BoxCloneSyncService<http::Request<BoxBody>, Response<BoxBody>, std::convert::Infallible>,
    ),
}

impl NextHandler {
    /// `upstream` is the one that the route names.
    pub(crate) fn new(route: &config::Route, upstream: Option<Arc<Proxy>>) -> Self {
        if let Some(proxy) = upstream {
            return Self::Backend(Backend::Proxy(proxy));
        }
        if let Some(redirect) = &route.redirect {
            return Self::Answer(Answer::redirect(redirect));
        }
        if let Some(respond) = &route.respond {
            return Self::Answer(Answer::fixed(respond));
        }
        Self::Backend(match route.backend {
            Some(config::Backend::Hello) => Backend::Hello,
            Some(config::Backend::Echo) | None => Backend::Echo,
        })
    }

    async fn respond(&self, inbound: &mut Inbound) -> Response<BoxBody> {
        match self {
            Self::Backend(backend) => backend.respond(inbound).await,
            Self::Answer(answer) => answer.to(&inbound.request, inbound.client.tls),
            Self::Unavailable => unavailable(),
            #[cfg(test)]
            Self::Service(service) => {
                let Ok(response) = tower::ServiceExt::oneshot(service.clone(), inbound.take()).await;
                response
            }
        }
    }
}

impl Handler {
    /// Guests that run for Envoy, so requests aren't passed on from here.
    pub(crate) fn ext_proc(
        guests: Vec<Guest>,
        route: &config::Route,
        settings: &config::ExtProc,
        stage: &CurrentStage,
    ) -> Self {
        let chain = Chain::new(guests).fold_underscores();
        let max_body = route.max_request_body.map(|size| size.0);
        let ext_proc = ExtProc::new(chain, settings, max_body, stage.clone());
        Self::new(Vec::new(), NextHandler::Backend(Backend::ExtProc(ext_proc)))
    }

    pub(crate) fn new(guests: Vec<Guest>, next: NextHandler) -> Self {
        let names = guests.iter().map(|guest| guest.name().into()).collect();
        Self { chain: Chain::new(guests).fold_underscores(), names, next, recorded: None, inspector: None }
    }

    /// The same, where exchanges may be recorded. `guests` are copies for these exchanges.
    pub(crate) fn recorded(mut self, recorder: Arc<Recorder>, guests: Vec<Guest>) -> Self {
        if !self.names.is_empty() {
            self.recorded = Some(Recorded { recorder, chain: Chain::new(guests).fold_underscores() });
        }
        self
    }

    /// The same, whose exchanges are followed.
    pub(crate) fn inspected_by(self, inspector: Option<Arc<dyn Inspector>>) -> Self {
        Self { inspector, ..self }
    }

    /// Returns the response. A guest's failure is turned into a response, so there is no error.
    pub(crate) async fn respond(&self, inbound: &mut Inbound, abandoned: &Abandoned) -> Response<BoxBody> {
        if self.names.is_empty() {
            return self.next.respond(inbound).await;
        }
        let record = inbound.record.clone();
        if let Some(inspector) = &self.inspector {
            // Boxed, so that the future of a request that isn't inspected is no larger.
            return Box::pin(self.inspect(&**inspector, inbound, record.as_ref(), abandoned)).await;
        }
        if let Some(traced) = record.as_ref().filter(|record| record.is_traced()) {
            let guests = self.through_guests(inbound, record.as_ref(), abandoned, None);
            return Box::pin(with_guest_log(traced, guests)).await;
        }
        self.through_guests(inbound, record.as_ref(), abandoned, None).await
    }

    async fn inspect(
        &self,
        inspector: &dyn Inspector,
        inbound: &mut Inbound,
        record: Option<&Arc<RequestRecord>>,
        abandoned: &Abandoned,
    ) -> Response<BoxBody> {
        let inspection = Inspection::begin(inspector, inbound.client.addr);
        inspection.request(Side::Client, &mut inbound.request);
        let guests = self.through_guests(inbound, record, abandoned, Some(&inspection));
        let mut response = match record.filter(|record| record.is_traced()) {
            Some(traced) => inspection.scope(with_guest_log(traced, guests)).await,
            None => inspection.scope(guests).await,
        };
        inspection.response(Side::Client, &mut response);
        response
    }

    async fn through_guests(
        &self,
        inbound: &mut Inbound,
        record: Option<&Arc<RequestRecord>>,
        abandoned: &Abandoned,
        inspection: Option<&Inspection>,
    ) -> Response<BoxBody> {
        let recorded = self.recorded.as_ref().and_then(|recorded| {
            let client = &inbound.client;
            let exchange = recorded.recorder.begin(&mut inbound.request, client.addr, client.tls)?;
            Some((exchange, &recorded.chain))
        });
        if let Some((exchange, chain)) = recorded {
            return self.record(inbound, record, abandoned, chain, (&exchange, inspection)).await;
        }
        let observer = self.observer(inbound, record, abandoned, None);
        let client = inbound.client.addr;
        // Awaited where it is created, since a variable would need as much room again.
        let Ok(response) = self
            .chain
            .call_kept(inbound, Some(client), observer, async |inbound| {
                Ok::<_, Infallible>(self.next_inspected(inbound, inspection).await)
            })
            .await;
        response
    }

    /// The next handler's response.
    async fn next_inspected(
        &self,
        inbound: &mut Inbound,
        inspection: Option<&Inspection>,
    ) -> Response<BoxBody> {
        let Some(inspection) = inspection else { return self.next.respond(inbound).await };
        inspection.request(Side::Next, &mut inbound.request);
        let mut response = self.next.respond(inbound).await;
        inspection.response(Side::Next, &mut response);
        response
    }

    /// The same for an exchange that is recorded. Boxed, so that other requests don't have room for it.
    #[cold]
    fn record<'a>(
        &'a self,
        inbound: &'a mut Inbound,
        record: Option<&'a Arc<RequestRecord>>,
        abandoned: &'a Abandoned,
        chain: &'a Chain,
        (exchange, inspection): (&'a ExchangeRecorder, Option<&'a Inspection>),
    ) -> Pin<Box<dyn Future<Output = Response<BoxBody>> + Send + 'a>> {
        let observer = self.observer(inbound, record, abandoned, Some(exchange));
        Box::pin(async move {
            let client = inbound.client.addr;
            let response = chain.call_kept(inbound, Some(client), observer, async |inbound| {
                exchange.request(Side::Next, &mut inbound.request);
                let mut response = self.next_inspected(inbound, inspection).await;
                exchange.response(Side::Next, &mut response);
                Ok::<_, Infallible>(response)
            });
            let Ok(mut response) = response.await;
            exchange.response(Side::Client, &mut response);
            response
        })
    }

    fn observer<'a>(
        &'a self,
        inbound: &Inbound,
        record: Option<&'a Arc<RequestRecord>>,
        abandoned: &'a Abandoned,
        exchange: Option<&'a ExchangeRecorder>,
    ) -> Observer<'a> {
        let (interims, sheddable) = (inbound.interims.clone(), inbound.is_sheddable());
        Observer { record, names: &self.names, interims, sheddable, abandoned, exchange }
    }
}

/// Records the duration of guests' calls, and sends their informational responses.
struct Observer<'a> {
    record: Option<&'a Arc<RequestRecord>>,
    names: &'a [Arc<str>],
    interims: Option<Arc<Interims>>,
    sheddable: bool,
    abandoned: &'a Abandoned,
    exchange: Option<&'a ExchangeRecorder>,
}

impl<'a> ChainObserver for Observer<'a> {
    type Guest = ObservedGuest<'a>;

    fn guest(&mut self, index: usize) -> Self::Guest {
        let timer = self.record.map(|record| Box::new(GuestTimer::start(record, &self.names[index])));
        ObservedGuest { timer, abandoned: self.abandoned, exchange: self.exchange }
    }

    fn informational(&self) -> Option<Arc<dyn Inform>> {
        self.interims.clone().map(|interims| interims as _)
    }

    fn is_sheddable(&self) -> bool {
        self.sheddable
    }

    fn trace_id(&self) -> u64 {
        self.exchange.map_or(0, ExchangeRecorder::id)
    }
}

/// A guest's calls for one request.
struct ObservedGuest<'a> {
    /// Boxed, since this is moved with the guest, and most requests have none.
    timer: Option<Box<GuestTimer<'a>>>,
    abandoned: &'a Abandoned,
    exchange: Option<&'a ExchangeRecorder>,
}

impl GuestObserver for ObservedGuest<'_> {
    fn passed(&mut self) {
        self.timer.passed();
    }

    fn resumed(&mut self) {
        self.timer.resumed();
    }

    fn finished(self, error: Option<&Error>) {
        if let (Some(exchange), Some(_)) = (self.exchange, error) {
            exchange.guest_failed();
        }
        self.timer.finished(error);
    }

    fn streams(self, stream: ResponseStream) {
        let (timed, calls) = (self.timer.map(|timer| timer.begin_stream()), self.abandoned.streams());
        stream.on_end(move |end| {
            if let Some(timed) = timed {
                timed(&end);
            }
            if let StreamEnd::Abandoned(call) = end {
                calls.add(call);
            }
        });
    }

    fn abandoned(self, call: AbandonedCall) {
        self.timer.abandoned(call.clone());
        self.abandoned.add(call);
    }
}

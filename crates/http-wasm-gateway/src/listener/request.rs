//! Passes a request from the connection to its handler, and the response back.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, Version, header};
use http_body::Body;
use tokio::sync::{oneshot, watch};

use super::activity::{Activity, InFlight};
use super::body::{IncomingBody, TransferTimeout};
use super::flush::Flushes;
use super::outgoing::{self, Outgoing};
use super::trusted_proxies::TrustedProxies;
use super::upload::{Persistence, Upload};
use super::{check, date};
use crate::body::{BoxBody, BoxError, Hook, Hooked, PolledFrame, boxed, empty};
use crate::config::ClientLimits;
use crate::connection_options::remove_nominated;
use crate::exchange::{
    Abandoned, AbandonedCalls, Answer, Client, ClientSide, Dropped, Inbound, Interims, Refused, Share,
    Upgraded,
};
use crate::framing::RequestInfo;
use crate::known_fields::KnownFields;

/// What the requests of one connection share.
#[derive(Debug)]
pub(super) struct Requests<A> {
    pub(super) answer: Arc<A>,
    pub(super) client: Client,
    /// The client's address as a field value.
    pub(super) client_address: Option<HeaderValue>,
    pub(super) limits: Arc<ClientLimits>,
    pub(super) trusted_proxies: Arc<TrustedProxies>,
    pub(super) activity: Arc<Activity>,
    pub(super) flushes: Arc<Flushes>,
    /// Whether the server is about to stop.
    pub(super) closing: watch::Receiver<bool>,
    /// Whether everything that is still running is to be aborted.
    pub(super) abort: watch::Receiver<bool>,
    /// Whether all requests get 503.
    pub(super) refuse: bool,
}

/// A request's body, as a connection receives it.
pub(super) trait Received:
    Body<Data = Bytes, Error: Into<BoxError>> + Send + Sized + Unpin + 'static
{
    /// Returns the body if there is none, or all of it has been received.
    fn into_whole(self) -> Result<Bytes, Self>;
}

impl<A: Answer> Requests<A> {
    /// The response to a request. If the request is for an upgrade, its connection is in `upgraded` once it has
    /// switched to another protocol.
    pub(super) async fn respond<B>(
        &self,
        request: Request<B>,
        interims: Arc<Interims>,
        upgraded: Option<oneshot::Receiver<Upgraded>>,
    ) -> Response<Sending<B>>
    where
        B: Received,
    {
        let in_flight = self.activity.request();
        let known = KnownFields::of(request.headers());
        let info = RequestInfo::of(&request, known);
        let version = info.version;
        let checked = match self.refuse {
            true => Err(check::OVERLOADED),
            false => check::request(&request, known, &self.limits)
                .and_then(|()| check::fields(&request, &self.trusted_proxies)),
        };
        let (mut inbound, mut upload) = match checked {
            Ok(()) => self.inbound(request, known),
            Err(refusal) => {
                tracing::debug!(peer = %self.client.addr, reason = refusal.reason, "request refused");
                (self.refused(request, refusal.status), None)
            }
        };
        if let Some(upgraded) = upgraded {
            let (closing, abort) = (self.closing.clone(), self.abort.clone());
            inbound.tunnel = Some(ClientSide::new(&self.limits, upgraded, closing, abort));
        }
        if version > Version::HTTP_10 {
            interims.open();
            inbound.interims = Some(interims);
        }
        inbound.in_flight = in_flight.number;
        let abandoned = Abandoned::default();
        let in_flight = abandoned.share(in_flight);
        let mut response = self.answer.answer(&mut inbound, &abandoned).await;
        let in_flight = in_flight.into_inner();
        // The response doesn't wait for the calls, so they count as a request of their own.
        abandoned.hold(|| Arc::new(in_flight.another().hold()));
        if let Some(interims) = &inbound.interims {
            interims.close();
        }
        // This also drops a body that has never been polled.
        drop(inbound);
        let status = response.status();
        let known = KnownFields::of(response.headers());
        if version < Version::HTTP_2 && status != StatusCode::SWITCHING_PROTOCOLS {
            upload = self.announce(&mut response, known, upload).await;
        }
        if !known.has(KnownFields::DATE) {
            date::add(response.headers_mut());
        }
        let response = outgoing::frame(response, known, &info, &self.flushes);
        let stalled = self.limits.body_timeout.0;
        // HTTP/2 streams have their own timers.
        let transfer = (version < Version::HTTP_2)
            .then(|| TransferTimeout::new(stalled, self.limits.min_response_rate.map(|rate| rate.0)));
        let calls = abandoned.stream_calls().cloned();
        let hook = SendingHook { in_flight: Some(in_flight), calls, transfer, given: 0, upload, stalled };
        response.map(|body| Hooked { body, hook })
    }

    /// Announces the end of the connection in an HTTP/1.1 response, if the connection ends with it. Otherwise, a
    /// request that the client sends at that moment would be lost. Returns the request's body if more of it may have to
    /// be read.
    async fn announce<B>(
        &self,
        response: &mut Response<BoxBody>,
        known: KnownFields,
        upload: Option<Arc<Upload<B>>>,
    ) -> Option<Arc<Upload<B>>>
    where
        B: Received,
    {
        if known.has(KnownFields::CONNECTION) && has_connection_close(response) {
            return None;
        }
        let persistence = match &upload {
            Some(upload) => upload.persistence().await,
            None => Persistence::KeepAlive,
        };
        if persistence == Persistence::Close || *self.closing.borrow() {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        upload.filter(|_| persistence == Persistence::KeepAlive)
    }

    /// The request as passed to handlers, and its body if it has one.
    fn inbound<B>(&self, mut request: Request<B>, known: KnownFields) -> (Inbound, Option<Arc<Upload<B>>>)
    where
        B: Received,
    {
        let headers = request.headers_mut();
        let (client, dropped) = self.trusted_proxies.of_request(self.client, headers);
        // This comes before the gateway's own fields are added, since a client must not be able to have one removed by
        // naming it in `Connection`.
        if known.has(KnownFields::CONNECTION) {
            remove_nominated(headers);
        }
        let (head, body) = request.into_parts();
        let (request, body) = match body.into_whole() {
            Ok(whole) => {
                let request = Request::from_parts(head, BoxBody::from(whole));
                return (self.inbound_from(request, client, dropped), None);
            }
            Err(body) => (Request::from_parts(head, ()), body),
        };
        let expects_continue = request.version() > Version::HTTP_10
            && request.headers().get(header::EXPECT).is_some_and(expects_continue);
        let max_body = self.limits.max_request_body.map(|size| size.0);
        let upload = Upload::new(expects_continue, max_body);
        let body = IncomingBody::new(body, upload.clone(), &self.limits, &self.trusted_proxies);
        let request = request.map(|()| boxed(body));
        let mut inbound = self.inbound_from(request, client, dropped);
        inbound.refused = Refused::Body(upload.clone());
        (inbound, Some(upload))
    }

    /// A request that isn't passed to handlers.
    fn refused<B>(&self, mut request: Request<B>, status: StatusCode) -> Inbound {
        let (client, dropped) = self.trusted_proxies.of_request(self.client, request.headers_mut());
        let mut inbound = self.inbound_from(request.map(|_| empty()), client, dropped);
        inbound.refused = Refused::Head(status);
        inbound
    }

    fn inbound_from(&self, request: Request<BoxBody>, client: Client, dropped: Dropped) -> Inbound {
        let mut inbound = Inbound::new(request, client);
        if client.addr == self.client.addr {
            inbound.client_address.clone_from(&self.client_address);
        }
        inbound.dropped = dropped;
        inbound.listener = self.trusted_proxies.listener();
        inbound
    }
}

pub(super) fn expects_continue(expected: &HeaderValue) -> bool {
    expected.as_bytes().eq_ignore_ascii_case(b"100-continue")
}

fn has_connection_close(response: &Response<BoxBody>) -> bool {
    let options = response.headers().get_all(header::CONNECTION).iter();
    let mut options = options.flat_map(|value| value.as_bytes().split(|&byte| byte == b','));
    options.any(|option| option.trim_ascii().eq_ignore_ascii_case(b"close"))
}

/// The body of a response that is sent to the client. The request lasts until all of it has been taken.
pub(super) type Sending<B> = Hooked<Outgoing, SendingHook<B>>;

/// Measures how fast the client takes a response, and handles the rest of the request's body afterwards.
#[derive(Debug)]
pub(super) struct SendingHook<B>
where
    B: Received,
{
    /// Present until this is dropped.
    in_flight: Option<InFlight>,
    /// The calls of guests that were writing the response, and that continue after the body was dropped.
    calls: Option<AbandonedCalls>,
    /// How fast the client must take the response, if there is a minimum rate.
    transfer: Option<TransferTimeout>,
    /// The number of bytes that were passed on and that the client hasn't taken yet.
    given: u64,
    /// The request's body, if more of it may have to be read.
    upload: Option<Arc<Upload<B>>>,
    /// How long a handler may hold the body without reading any of it.
    stalled: Duration,
}

impl<B> SendingHook<B>
where
    B: Received,
{
    /// Takes over the rest of the request's body.
    pub(super) fn take_upload(&mut self) -> Option<Arc<Upload<B>>> {
        self.upload.take()
    }
}

impl<B> Drop for SendingHook<B>
where
    B: Received,
{
    fn drop(&mut self) {
        // The body has been dropped already.
        if let Some((calls, in_flight)) = self.calls.take().zip(self.in_flight.as_ref()) {
            calls.hold(|| Arc::new(in_flight.another().hold()));
        }
        if let Some((upload, in_flight)) = self.upload.take().zip(self.in_flight.take()) {
            in_flight.set_client_deadline(None);
            upload.finish(in_flight, self.stalled);
        }
    }
}

impl<B> Hook<Outgoing> for SendingHook<B>
where
    B: Received,
{
    fn polled(&mut self, body: &mut Outgoing, polled: PolledFrame, _: &mut Context<'_>) -> PolledFrame {
        let Some((transfer, in_flight)) = self.transfer.as_mut().zip(self.in_flight.as_ref()) else {
            return polled;
        };
        transfer.transferred(std::mem::take(&mut self.given));
        match &polled {
            // Until it is polled for more, the connection waits for the client to take this.
            Poll::Ready(Some(Ok(frame))) if !body.is_end_stream() => {
                self.given = frame.data_ref().map_or(0, |data| data.len() as u64);
                in_flight.set_client_deadline(Some(transfer.deadline()));
            }
            _ => in_flight.set_client_deadline(None),
        }
        polled
    }
}

//! Drives the guests of a stream: calls `handle_request` and `handle_response` of each in order, and handles the
//! outcome.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::BytesMut;
use http_wasm_host::{
    BodyKind, Error, Fields, Frame, Handled, InMemoryHost, Message, Outcome, Pinned, Progress,
    ResponseStream, StreamEnd,
};

use crate::compute::{CallHandle, begin_slice, has_overrun};
use crate::config::{Behaviour, Config};
use crate::failure::{self, Failure};
use crate::filter::Filter;
use crate::link::Link;
use crate::live::{HeadLocation, Host, Live};
use crate::outbound::Outbound;
use crate::process::{SharedGuest, process};

/// The namespace of the dynamic metadata.
const METADATA: &str = "http_wasm";
/// The maximum size of a response that a guest that streams writes and that isn't the upstream's, in bytes.
const MAX_COMPLETE: usize = 16 << 20;

/// The state that the request and the response of a stream share.
pub(crate) struct Exchange {
    link: Rc<Link>,
    config: Arc<Config>,
    /// How this request is handled.
    pub(crate) behaviour: Arc<Behaviour>,
    /// The guests that have passed the request on, in the order of their calls.
    pinned: RefCell<Vec<PinnedGuest>>,
    /// The guests that are writing the response while it is sent.
    writing: RefCell<Vec<Writing>>,
}

/// A guest that is writing the response while it is sent.
struct Writing {
    guest: Arc<SharedGuest>,
    started: Instant,
    /// The result, once the guest has returned or failed.
    outcome: Arc<OnceLock<&'static str>>,
}

impl Exchange {
    pub(crate) fn new(link: Rc<Link>, config: Arc<Config>, behaviour: Arc<Behaviour>) -> Rc<Self> {
        Rc::new(Self { link, config, behaviour, pinned: RefCell::default(), writing: RefCell::default() })
    }

    /// Records a guest's call that has ended.
    fn called(&self, guest: &str, phase: &str, outcome: &'static str, started: Instant) {
        let now = Instant::now();
        let took = now - started;
        self.config.stats.called(&self.link.filter, guest, outcome, took, now);
        if self.behaviour.metadata {
            let value = format!("{outcome} {}us", took.as_micros());
            self.link.filter.set_metadata(METADATA, &format!("{guest}.{phase}"), &value);
        }
    }

    /// Records a guest's call once it has written its response.
    fn writes(&self, guest: Arc<SharedGuest>, started: Instant, stream: ResponseStream) {
        let outcome = Arc::new(OnceLock::new());
        let ended = outcome.clone();
        stream.on_end(move |end| {
            let _first = match end {
                StreamEnd::Finished => ended.set("handled"),
                StreamEnd::Failed(_) => ended.set("failed"),
                // Nothing is left to record the call in.
                _ => Ok(()),
            };
        });
        self.writing.borrow_mut().push(Writing { guest, started, outcome });
    }

    /// Records the calls of guests that have finished writing the response since this was last called.
    pub(crate) fn written(&self) {
        let mut writing = self.writing.borrow_mut();
        for ended in writing.extract_if(.., |call| call.outcome.get().is_some()) {
            if let Some(outcome) = ended.outcome.get() {
                self.called(&ended.guest.name, "response", outcome, ended.started);
            }
        }
    }

    fn pin(&self, guest: PinnedGuest) {
        self.pinned.borrow_mut().push(guest);
    }

    pub(crate) fn take_pinned(&self) -> Vec<PinnedGuest> {
        self.pinned.take()
    }
}

/// The calls of all guests for one message.
pub(crate) type Task = Pin<Box<dyn Future<Output = Done>>>;

/// The outcome of a [`Task`].
pub(crate) enum Done {
    /// The message continues, with this body.
    Goes {
        body: Message,
        /// Whether a guest is still writing it.
        streams: bool,
    },
    /// This is sent to the client instead.
    Reply(Reply),
}

/// A guest that has passed the request on.
pub(crate) struct PinnedGuest {
    guest: Arc<SharedGuest>,
    pinned: Pinned<Host>,
}

impl PinnedGuest {
    /// The guest's host, attached to the stream again if it was detached.
    fn live(&mut self, exchange: &Exchange) -> &mut Live {
        let host = self.pinned.host_mut();
        if host.attached_mut().is_none() {
            let detached = std::mem::replace(host, Host::detached(InMemoryHost::new("", "")));
            *host = Host::new(attach(exchange, detached));
        }
        host.attached_mut().expect("it has just been attached")
    }
}

/// A response that doesn't come from the upstream.
pub(crate) struct Reply {
    status: u16,
    headers: Fields,
    body: Vec<u8>,
    details: &'static str,
}

impl Reply {
    /// The response to a request whose filter failed.
    pub(crate) fn failed() -> Self {
        Self { status: 500, headers: Fields::new(), body: Vec::new(), details: "http_wasm_failed" }
    }

    fn of_guest(mut response: Box<InMemoryHost>) -> Self {
        let (body, _) = response.response.take_body();
        let headers = std::mem::take(&mut response.response.headers);
        Self { status: response.status, headers, body, details: "http_wasm_reply" }
    }

    /// The response to a request whose guest failed closed.
    fn of_failure(failure: &Failure) -> Box<InMemoryHost> {
        failure.log();
        let mut response = Box::new(InMemoryHost::new("", ""));
        response.status = failure.status();
        if let Some(seconds) = failure.retry_after() {
            response.response.headers.set(b"retry-after", seconds.to_string().as_bytes());
        }
        response
    }

    /// Passes the response to Envoy, which may destroy the stream meanwhile.
    pub(crate) fn send(mut self, filter: &Filter, is_grpc: bool) {
        if is_grpc && !self.headers.contains(b"grpc-status") {
            let status = failure::grpc_status(self.status);
            self.headers.set(b"grpc-status", status.to_string().as_bytes());
        }
        filter.send_response(self.status, &self.headers, &self.body, self.details.as_bytes());
    }
}

/// Calls `handle_request` of each guest.
pub(crate) fn requested(exchange: Rc<Exchange>, message: Message) -> Task {
    Box::pin(async move {
        let mut message = message;
        for guest in &exchange.behaviour.chain {
            let started = Instant::now();
            let host = Host::new(Live::new(exchange.link.clone(), message));
            let called = drive(guest.guest.handle_request(host)).await;
            let outcome = match &called {
                Ok(Outcome::Next(_) | Outcome::Streams(_)) => "next",
                Ok(Outcome::Respond(_)) => "respond",
                Ok(Outcome::Bypassed { .. }) => "failed_open",
                Err(_) => "failed",
            };
            exchange.called(&guest.name, "request", outcome, started);
            message = match called {
                Ok(Outcome::Streams(_)) => unreachable!("this host can't split requests"),
                Ok(Outcome::Next(pinned)) => {
                    let mut pinned = PinnedGuest { guest: guest.clone(), pinned };
                    let reads_request = pinned.pinned.reads_request();
                    let live = pinned.live(&exchange);
                    if reads_request {
                        live.save_request();
                    }
                    let next = take_body(&mut live.memory.request);
                    exchange.pin(pinned);
                    next
                }
                Ok(Outcome::Respond(host)) => {
                    let response = attach(&exchange, host).memory;
                    return answered(&exchange, response).await;
                }
                Ok(Outcome::Bypassed { host, error }) => {
                    failure::log_bypassed(&error);
                    take_body(&mut attach(&exchange, host).memory.request)
                }
                Err(failure) => return answered(&exchange, Reply::of_failure(&failure)).await,
            };
        }
        Done::Goes { body: message, streams: false }
    })
}

/// Calls `handle_response` of the guests that have passed the request on, in reverse order.
pub(crate) fn responded(exchange: Rc<Exchange>, mut pinned: Vec<PinnedGuest>, message: Message) -> Task {
    Box::pin(async move {
        let (mut message, mut streams) = (message, false);
        while let Some(guest) = pinned.pop() {
            match respond(&exchange, guest, HeadLocation::Envoy, |memory| memory.response = message).await {
                Ok((mut memory, writes)) => {
                    streams |= writes;
                    message = take_body(&mut memory.response);
                }
                Err(failure) => return replaced(&exchange, pinned, Reply::of_failure(&failure)).await,
            }
        }
        Done::Goes { body: message, streams }
    })
}

/// Passes a response made in place of the upstream's back through the guests that have seen the request.
async fn answered(exchange: &Exchange, response: Box<InMemoryHost>) -> Done {
    let pinned = exchange.take_pinned();
    replaced(exchange, pinned, response).await
}

/// Passes a response that Envoy doesn't have yet through the remaining guests.
async fn replaced(
    exchange: &Exchange,
    mut pinned: Vec<PinnedGuest>,
    mut response: Box<InMemoryHost>,
) -> Done {
    while let Some(guest) = pinned.pop() {
        let put = |memory: &mut InMemoryHost| {
            (memory.status, memory.response) = (response.status, std::mem::take(&mut response.response));
        };
        let responded = match respond(exchange, guest, HeadLocation::Memory, put).await {
            Ok((memory, true)) => whole(memory).await,
            Ok((memory, false)) => Ok(memory),
            Err(failure) => Err(failure),
        };
        exchange.written();
        response = responded.unwrap_or_else(|failure| Reply::of_failure(&failure));
    }
    Done::Reply(Reply::of_guest(response))
}

/// Waits until a guest has written a complete response, since Envoy only accepts complete responses of guests.
async fn whole(mut memory: Box<InMemoryHost>) -> Result<Box<InMemoryHost>, Failure> {
    let mut outbound = Outbound::new(BodyKind::Response, take_body(&mut memory.response));
    let mut body = BytesMut::new();
    while let Some(frame) = poll_fn(|cx| outbound.poll_frame(cx)).await {
        if let Frame::Data(bytes) = frame.map_err(Failure::Streamed)? {
            body.extend_from_slice(&bytes);
        }
        if body.len() > MAX_COMPLETE {
            let limit = MAX_COMPLETE >> 20;
            let more =
                format!("a guest writes more than {limit} MiB in a response that the upstream did not give");
            return Err(Failure::Streamed(more.into()));
        }
    }
    memory.response.set_body(body.freeze());
    Ok(memory)
}

/// Calls `handle_response` of one guest. `place` is where the response's head is; `put` stores the part of the response
/// that is kept in memory. Returns the response, and whether the guest is still writing it.
async fn respond(
    exchange: &Exchange,
    mut guest: PinnedGuest,
    place: HeadLocation,
    put: impl FnOnce(&mut InMemoryHost),
) -> Result<(Box<InMemoryHost>, bool), Failure> {
    let started = Instant::now();
    let live = guest.live(exchange);
    live.response = place;
    put(&mut live.memory);
    let PinnedGuest { guest, pinned } = guest;
    let called = drive(pinned.handle_response()).await;
    let outcome = match &called {
        Ok(Handled { error: None, .. }) => "handled",
        Ok(Handled { error: Some(_), .. }) => "failed_open",
        Err(_) => "failed",
    };
    if let Ok(Handled { host, stream: Some(stream), .. }) = called {
        exchange.writes(guest, started, stream);
        return Ok((attach(exchange, host).memory, true));
    }
    exchange.called(&guest.name, "response", outcome, started);
    let Handled { host, error, .. } = called?;
    if let Some(error) = error {
        failure::log_bypassed(&error);
    }
    Ok((attach(exchange, host).memory, false))
}

/// Attaches a host to the stream, and applies the changes made to its copies.
fn attach(exchange: &Exchange, host: Host) -> Live {
    match host.into_inner() {
        Ok(live) => live,
        Err(memory) => {
            exchange.link.attached(&memory);
            Live::attach(exchange.link.clone(), memory)
        }
    }
}

/// Takes the message's body for the next guest. The headers stay.
fn take_body(message: &mut Message) -> Message {
    let mut taken = std::mem::take(message);
    message.headers = std::mem::take(&mut taken.headers);
    taken
}

/// Waits for a guest's call: on the worker until the call has used up a time slice, then on the threads for long
/// computations.
async fn drive<T: Send + 'static>(progress: Progress<Result<T, Error>>) -> Result<T, Failure> {
    let mut call = match progress.done() {
        Ok(result) => return result.map_err(Failure::Guest),
        Err(progress) => Call::Here(progress),
    };
    poll_fn(move |cx| call.poll(cx)).await
}

enum Call<T> {
    Here(Progress<Result<T, Error>>),
    Elsewhere(CallHandle<Result<T, Error>>),
    /// While it moves to the other threads.
    Between,
}

impl<T: Send + 'static> Call<T> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<T, Failure>> {
        if let Self::Here(progress) = self {
            begin_slice();
            if let Poll::Ready(result) = Pin::new(progress).poll(cx) {
                return Poll::Ready(result.map_err(Failure::Guest));
            }
            if !has_overrun() {
                return Poll::Pending;
            }
            if let Self::Here(progress) = std::mem::replace(self, Self::Between) {
                match process().threads.run(progress) {
                    Some(remote) => *self = Self::Elsewhere(remote),
                    None => return Poll::Ready(Err(Failure::Busy)),
                }
            }
        }
        match self {
            Self::Elsewhere(remote) => Pin::new(remote).poll(cx).map(|result| match result {
                Some(result) => result.map_err(Failure::Guest),
                None => Err(Failure::Panicked),
            }),
            Self::Here(_) | Self::Between => Poll::Pending,
        }
    }
}

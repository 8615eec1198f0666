//! Drives the guests of a stream: calls `handle_request` and `handle_response` of each in order, and handles the
//! outcome.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::BytesMut;
use http_wasm_host::{
    BodyKind, Error, Frame, Handled, InMemoryHost, Message, Outcome, Pinned, Progress, ResponseStream,
    StreamEnd,
};

use crate::config::{Behaviour, Config};
use crate::drive::drive;
use crate::failure::{self, Failure};
use crate::filter::Filter;
use crate::link::Link;
use crate::live::{HeadLocation, Host, Live};
use crate::memory::{self, Charge};
use crate::outbound::Outbound;
use crate::process::SharedGuest;
use crate::reply::Reply;
use crate::writers::{FinishedWriter, Writers};

/// The namespace of the dynamic metadata.
const METADATA: &str = "http_wasm";
/// The maximum size of a response that a guest that streams writes and that isn't the upstream's, in bytes.
const MAX_COMPLETE: usize = 16 << 20;

/// The state that the request and the response of a stream share.
pub(crate) struct Exchange {
    link: Rc<Link>,
    config: Arc<Config>,
    /// How this request is handled, if not as its filter's others.
    of_route: Option<Arc<Behaviour>>,
    pinned: RefCell<PinnedGuests>,
    /// The guests that are writing the request while it is sent.
    pub(crate) writers: Writers,
    /// The response of one of these, which replaces the upstream's.
    replacement: RefCell<Option<Box<InMemoryHost>>>,
    /// Whether guests are still writing a request that Envoy already has. The upstream's response waits for them.
    pub(crate) is_writing: Cell<bool>,
    /// The guests that are writing the response while it is sent.
    response_writers: RefCell<Vec<ResponseWriter>>,
}

/// A guest that is writing the response while it is sent.
struct ResponseWriter {
    guest: Arc<SharedGuest>,
    started: Instant,
    /// The result, once the guest has returned or failed.
    outcome: Arc<OnceLock<&'static str>>,
}

impl Exchange {
    pub(crate) fn new(link: Rc<Link>, config: Arc<Config>, of_route: Option<Arc<Behaviour>>) -> Rc<Self> {
        Rc::new(Self {
            link,
            config,
            of_route,
            pinned: RefCell::default(),
            writers: Writers::default(),
            replacement: RefCell::default(),
            is_writing: Cell::default(),
            response_writers: RefCell::default(),
        })
    }

    /// How this request is handled.
    pub(crate) fn behaviour(&self) -> &Behaviour {
        self.of_route.as_deref().unwrap_or(&self.config.behaviour)
    }

    /// Records a guest's call that has ended.
    fn record_call(&self, guest: &str, phase: &str, outcome: &'static str, started: Instant) {
        let now = Instant::now();
        let took = now - started;
        self.config.stats.record_call(&self.link.filter, guest, outcome, took, now);
        if self.behaviour().metadata {
            let value = format!("{outcome} {}us", took.as_micros());
            self.link.filter.set_metadata(METADATA, &format!("{guest}.{phase}"), &value);
        }
    }

    /// Records a guest's call once it has written its response.
    fn add_response_writer(&self, guest: Arc<SharedGuest>, started: Instant, stream: ResponseStream) {
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
        self.response_writers.borrow_mut().push(ResponseWriter { guest, started, outcome });
    }

    /// Records the calls of guests that have finished writing the response since the last time.
    pub(crate) fn record_response_writers(&self) {
        let mut writers = self.response_writers.borrow_mut();
        for ended in writers.extract_if(.., |call| call.outcome.get().is_some()) {
            if let Some(outcome) = ended.outcome.get() {
                self.record_call(&ended.guest.name, "response", outcome, ended.started);
            }
        }
    }

    /// Runs the guests that are writing the request. Ready once none is left.
    pub(crate) fn poll_writers(&self, cx: &mut Context<'_>) -> Poll<()> {
        while let Some(finished) = ready!(self.writers.poll(cx)) {
            self.follow_decision(finished);
        }
        Poll::Ready(())
    }

    /// Follows the decision of a guest that has written the request.
    fn follow_decision(&self, FinishedWriter { guest, index, started, decision }: FinishedWriter) {
        let outcome = match &decision {
            Ok(Outcome::Next(_)) => "next",
            Ok(Outcome::Respond(_)) => "respond",
            _ => "failed",
        };
        self.record_call(&guest.name, "request", outcome, started);
        let response = match decision {
            Ok(Outcome::Next(pinned)) => {
                return self.pinned.borrow_mut().insert(PinnedGuest { index, pinned, has_copies: true });
            }
            Ok(Outcome::Respond(host)) => {
                response_of(host.into_inner().map_or_else(Box::new, |live| live.memory))
            }
            Ok(Outcome::Bypassed { error, .. }) => Reply::of_failure(&Failure::Guest(error)),
            Ok(Outcome::Streams(_)) => unreachable!("a stream ends with a decision"),
            Err(failure) => Reply::of_failure(&failure),
        };
        // It replaces the responses of the guests behind it and of the upstream.
        self.writers.drop_from(index);
        loop {
            let behind = self.pinned.borrow_mut().pop_behind(index);
            if behind.is_none() {
                break;
            }
        }
        self.replacement.replace(Some(response));
    }

    /// Whether no guest has passed the request on.
    pub(crate) fn has_no_pinned(&self) -> bool {
        self.pinned.borrow().last.is_none()
    }

    pub(crate) fn take_pinned(&self) -> PinnedGuests {
        self.pinned.take()
    }
}

/// The calls of all guests for one message.
pub(crate) type Task = Pin<Box<dyn Future<Output = Done>>>;

/// The outcome of a [`Task`].
pub(crate) enum Done {
    /// The message continues, with this body.
    Continue {
        body: Message,
        /// Whether a guest is still writing it.
        streams: bool,
    },
    /// All guests have passed on the request that they have written.
    RequestComplete,
    /// This is sent to the client instead.
    Reply(Reply),
}

/// A guest that has passed the request on.
pub(crate) struct PinnedGuest {
    /// Its place in the chain.
    index: usize,
    pinned: Pinned<Host>,
    /// Whether its host was split, and so has copies that Envoy doesn't need.
    has_copies: bool,
}

/// The guests that have passed the request on, in the order of the chain.
#[derive(Default)]
pub(crate) struct PinnedGuests {
    /// Most chains have only one.
    last: Option<PinnedGuest>,
    others: Vec<PinnedGuest>,
}

impl PinnedGuests {
    fn insert(&mut self, guest: PinnedGuest) {
        if self.last.as_ref().is_some_and(|last| last.index > guest.index) {
            let at = self.others.partition_point(|other| other.index < guest.index);
            self.others.insert(at, guest);
        } else {
            self.others.extend(self.last.replace(guest));
        }
    }

    fn pop(&mut self) -> Option<PinnedGuest> {
        let last = self.last.take()?;
        self.last = self.others.pop();
        Some(last)
    }

    /// The last one, if it is behind `index`.
    fn pop_behind(&mut self, index: usize) -> Option<PinnedGuest> {
        if self.last.as_ref().is_some_and(|last| last.index > index) { self.pop() } else { None }
    }
}

impl PinnedGuest {
    /// The guest's host, attached to the stream again if it was detached.
    fn live(&mut self, exchange: &Exchange) -> &mut Live {
        let host = self.pinned.host_mut();
        if !host.is_attached() {
            let detached = std::mem::replace(host, empty_host());
            *host = Host::new(match detached.into_inner() {
                Err(copies) if self.has_copies => Live::attach(exchange.link.clone(), copies),
                other => attached(exchange, other),
            });
        }
        host.attached_mut().expect("it has just been attached")
    }
}

/// A call of a guest that has begun.
struct Call<T> {
    /// The guest's place in the chain.
    index: usize,
    started: Instant,
    progress: Progress<Result<T, Error>>,
}

/// Calls `handle_request` of each guest. Most guests have nothing to wait for, so that no task is needed.
pub(crate) fn handle_request(exchange: &Rc<Exchange>, message: Message) -> Result<Done, Task> {
    let mut message = message;
    for index in 0..exchange.behaviour().chain.len() {
        let call = begin_request(exchange, index, message);
        // Guests that write the request run meanwhile.
        let called = match exchange.writers.is_empty() {
            true => call.progress.done(),
            false => Err(call.progress),
        };
        message = match called
            .map(|called| exchange.requested(index, call.started, called.map_err(Failure::Guest)))
        {
            Ok(Ok(message)) => message,
            Ok(Err(response)) if exchange.has_no_other() => {
                return Ok(Done::Reply(Reply::of_guest(response)));
            }
            Ok(Err(response)) => {
                let exchange = exchange.clone();
                return Err(Box::pin(async move { return_response(&exchange, Some(response)).await }));
            }
            Err(progress) => {
                return Err(Box::pin(finish_request(exchange.clone(), Call { progress, ..call })));
            }
        };
    }
    Ok(exchange.request_continues(message))
}

fn begin_request(exchange: &Exchange, index: usize, message: Message) -> Call<Outcome<Host>> {
    let started = Instant::now();
    let host = Host::new(Live::new(exchange.link.clone(), message));
    let progress = exchange.behaviour().chain[index].guest.handle_request(host);
    Call { index, started, progress }
}

/// Waits for a guest's `handle_request`, and calls it of the guests that follow.
async fn finish_request(exchange: Rc<Exchange>, call: Call<Outcome<Host>>) -> Done {
    let mut call = call;
    loop {
        let Call { index, started, progress } = call;
        let Some(called) = while_writers_run(&exchange, drive(progress)).await else {
            return return_response(&exchange, None).await;
        };
        let message = match exchange.requested(index, started, called) {
            Ok(message) => message,
            Err(response) => return return_response(&exchange, Some(response)).await,
        };
        if index + 1 == exchange.behaviour().chain.len() {
            return exchange.request_continues(message);
        }
        call = begin_request(&exchange, index + 1, message);
    }
}

impl Exchange {
    fn request_continues(&self, body: Message) -> Done {
        Done::Continue { body, streams: !self.writers.is_empty() }
    }

    /// Whether no other guest has seen the request.
    fn has_no_other(&self) -> bool {
        self.writers.is_empty() && self.has_no_pinned() && self.replacement.borrow().is_none()
    }

    /// Handles the outcome of a guest's `handle_request`. Returns the body for the guest that follows.
    ///
    /// # Errors
    /// The response to be sent instead.
    fn requested(
        &self,
        index: usize,
        started: Instant,
        called: Result<Outcome<Host>, Failure>,
    ) -> Result<Message, Box<InMemoryHost>> {
        let guest = &self.behaviour().chain[index];
        let outcome = match &called {
            Ok(Outcome::Streams(_)) => None,
            Ok(Outcome::Next(_)) => Some("next"),
            Ok(Outcome::Respond(_)) => Some("respond"),
            Ok(Outcome::Bypassed { .. }) => Some("failed_open"),
            Err(_) => Some("failed"),
        };
        if let Some(outcome) = outcome {
            self.record_call(&guest.name, "request", outcome, started);
        }
        match called {
            Ok(Outcome::Streams(mut stream)) => {
                let host = std::mem::replace(stream.host_mut(), empty_host());
                self.writers.add(guest.clone(), index, started, stream);
                Ok(take_body(&mut attach(self, host).memory.request))
            }
            Ok(Outcome::Next(pinned)) => {
                let mut pinned = PinnedGuest { index, pinned, has_copies: false };
                let reads_request = pinned.pinned.reads_request();
                let live = pinned.live(self);
                if reads_request {
                    live.save_request();
                }
                let next = take_body(&mut live.memory.request);
                self.pinned.borrow_mut().insert(pinned);
                Ok(next)
            }
            Ok(Outcome::Respond(host)) => Err(response_of(attach(self, host).memory)),
            Ok(Outcome::Bypassed { host, error }) => {
                failure::log_bypassed(&error);
                Ok(take_body(&mut attach(self, host).memory.request))
            }
            Err(failure) => Err(Reply::of_failure(&failure)),
        }
    }
}

/// Waits until guests have finished writing the request, which Envoy already has.
pub(crate) fn wait_for_writers(exchange: Rc<Exchange>) -> Task {
    Box::pin(async move {
        poll_fn(|cx| exchange.poll_writers(cx)).await;
        if exchange.replacement.borrow().is_none() {
            return Done::RequestComplete;
        }
        return_response(&exchange, None).await
    })
}

/// Waits for a guest's call, and meanwhile runs the guests that are writing its request. Returns `None` if one of these
/// doesn't pass the request on.
async fn while_writers_run<T>(exchange: &Exchange, call: impl Future<Output = T>) -> Option<T> {
    let mut call = pin!(call);
    poll_fn(|cx| {
        let _none_left = exchange.poll_writers(cx);
        match exchange.replacement.borrow().is_some() {
            true => Poll::Ready(None),
            false => call.as_mut().poll(cx).map(Some),
        }
    })
    .await
}

/// Calls `handle_response` of the guests that have passed the request on, in reverse order. Most guests have nothing to
/// wait for, so that no task is needed.
pub(crate) fn handle_response(exchange: &Rc<Exchange>, message: Message) -> Result<Done, Task> {
    if exchange.is_writing.get() {
        let exchange = exchange.clone();
        return Err(Box::pin(async move {
            // The task is polled again when that changes.
            poll_fn(|_| if exchange.is_writing.get() { Poll::Pending } else { Poll::Ready(()) }).await;
            match call_responses(&exchange, message) {
                Ok(done) => done,
                Err(task) => task.await,
            }
        }));
    }
    call_responses(exchange, message)
}

fn call_responses(exchange: &Rc<Exchange>, message: Message) -> Result<Done, Task> {
    let mut pinned = exchange.take_pinned();
    let (mut message, mut streams) = (message, false);
    while let Some(guest) = pinned.pop() {
        let call = begin_response(exchange, guest, HeadLocation::Envoy, |memory| memory.response = message);
        let responded = match call.progress.done() {
            Ok(called) => exchange.responded(call.index, call.started, called.map_err(Failure::Guest)),
            Err(progress) => {
                let call = Call { progress, ..call };
                return Err(Box::pin(finish_responses(exchange.clone(), call, pinned, streams)));
            }
        };
        match responded {
            Ok((mut memory, writes)) => {
                streams |= writes;
                message = take_body(&mut memory.response);
            }
            Err(failure) => {
                let (exchange, reply) = (exchange.clone(), Reply::of_failure(&failure));
                return Err(Box::pin(async move { pass_back(&exchange, pinned, reply).await }));
            }
        }
    }
    Ok(Done::Continue { body: message, streams })
}

/// Waits for a guest's `handle_response`, and calls it of the guests in front of it.
async fn finish_responses(
    exchange: Rc<Exchange>,
    call: Call<Handled<Host>>,
    mut pinned: PinnedGuests,
    mut streams: bool,
) -> Done {
    let mut call = call;
    loop {
        let message = match finish_response(&exchange, call).await {
            Ok((mut memory, writes)) => {
                streams |= writes;
                take_body(&mut memory.response)
            }
            Err(failure) => return pass_back(&exchange, pinned, Reply::of_failure(&failure)).await,
        };
        let Some(guest) = pinned.pop() else { return Done::Continue { body: message, streams } };
        call = begin_response(&exchange, guest, HeadLocation::Envoy, |memory| memory.response = message);
    }
}

/// Passes a response that replaces the upstream's back through the guests that have seen the request, once those that
/// are writing the request have returned. If one of these responds too, its response is passed back instead.
async fn return_response(exchange: &Exchange, response: Option<Box<InMemoryHost>>) -> Done {
    poll_fn(|cx| exchange.poll_writers(cx)).await;
    let response = exchange.replacement.take().or(response);
    let pinned = exchange.take_pinned();
    pass_back(exchange, pinned, response.unwrap_or_else(|| Box::new(InMemoryHost::new("", "")))).await
}

/// Passes a response that Envoy doesn't have yet back through the remaining guests.
async fn pass_back(exchange: &Exchange, mut pinned: PinnedGuests, mut response: Box<InMemoryHost>) -> Done {
    while let Some(guest) = pinned.pop() {
        let put = |memory: &mut InMemoryHost| {
            (memory.status, memory.response) = (response.status, std::mem::take(&mut response.response));
        };
        let call = begin_response(exchange, guest, HeadLocation::Memory, put);
        let responded = match finish_response(exchange, call).await {
            Ok((memory, true)) => collect_response(&exchange.link.filter, memory).await,
            Ok((memory, false)) => Ok(memory),
            Err(failure) => Err(failure),
        };
        exchange.record_response_writers();
        response = responded.unwrap_or_else(|failure| Reply::of_failure(&failure));
    }
    Done::Reply(Reply::of_guest(response))
}

/// Waits until a guest has written a complete response, since Envoy only accepts complete responses of guests.
async fn collect_response(
    filter: &Filter,
    mut memory: Box<InMemoryHost>,
) -> Result<Box<InMemoryHost>, Failure> {
    let mut outbound = Outbound::new(BodyKind::Response, take_body(&mut memory.response));
    let (mut body, mut charge) = (BytesMut::new(), Charge::default());
    while let Some(frame) = poll_fn(|cx| outbound.poll_frame(cx)).await {
        if let Frame::Data(bytes) = frame.map_err(Failure::Streamed)? {
            body.extend_from_slice(&bytes);
            if memory::is_limited() {
                charge.set(filter, body.len()).map_err(|none| Failure::Streamed(none.into()))?;
            }
        }
        if body.len() > MAX_COMPLETE {
            let limit = MAX_COMPLETE >> 20;
            let more =
                format!("a guest has written more than {limit} MiB to a response that isn't the upstream's");
            return Err(Failure::Streamed(more.into()));
        }
    }
    memory.response.set_body(body.freeze());
    Ok(memory)
}

/// Calls `handle_response` of one guest. `place` is where the response's head is; `put` stores the part of the response
/// that is kept in memory.
fn begin_response(
    exchange: &Exchange,
    mut guest: PinnedGuest,
    place: HeadLocation,
    put: impl FnOnce(&mut InMemoryHost),
) -> Call<Handled<Host>> {
    let started = Instant::now();
    let live = guest.live(exchange);
    live.response = place;
    put(&mut live.memory);
    Call { index: guest.index, started, progress: guest.pinned.handle_response() }
}

async fn finish_response(
    exchange: &Exchange,
    call: Call<Handled<Host>>,
) -> Result<(Box<InMemoryHost>, bool), Failure> {
    let Call { index, started, progress } = call;
    let called = drive(progress).await;
    exchange.responded(index, started, called)
}

impl Exchange {
    /// Handles the outcome of a guest's `handle_response`. Returns the response, and whether the guest is still writing
    /// it.
    fn responded(
        &self,
        index: usize,
        started: Instant,
        called: Result<Handled<Host>, Failure>,
    ) -> Result<(Box<InMemoryHost>, bool), Failure> {
        let guest = &self.behaviour().chain[index];
        let outcome = match &called {
            Ok(Handled { error: None, .. }) => "handled",
            Ok(Handled { error: Some(_), .. }) => "failed_open",
            Err(_) => "failed",
        };
        if let Ok(Handled { host, stream: Some(stream), .. }) = called {
            self.add_response_writer(guest.clone(), started, stream);
            return Ok((attach(self, host).memory, true));
        }
        self.record_call(&guest.name, "response", outcome, started);
        let Handled { host, error, .. } = called?;
        if let Some(error) = error {
            failure::log_bypassed(&error);
        }
        Ok((attach(self, host).memory, false))
    }
}

/// Attaches a host to the stream, and applies the changes made to its copies.
fn attach(exchange: &Exchange, host: Host) -> Live {
    attached(exchange, host.into_inner())
}

fn attached(exchange: &Exchange, host: Result<Live, InMemoryHost>) -> Live {
    match host {
        Ok(live) => live,
        Err(memory) => {
            exchange.link.attached(&memory);
            Live::attach(exchange.link.clone(), memory)
        }
    }
}

/// Takes a host's place while it is elsewhere.
fn empty_host() -> Host {
    Host::detached(InMemoryHost::new("", ""))
}

/// Drops the request, whose body another guest may still be writing.
fn response_of(mut memory: Box<InMemoryHost>) -> Box<InMemoryHost> {
    memory.request = Message::default();
    memory
}

/// Takes the message's body for the next guest. The headers stay.
fn take_body(message: &mut Message) -> Message {
    let mut taken = std::mem::take(message);
    message.headers = std::mem::take(&mut taken.headers);
    taken
}

//! An Envoy stream: its hooks drive the guests' calls and move bodies between Envoy and the guests.

mod sending;
mod writing;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use http_wasm_host::{BodyKind, Message, is_bodyless};

use crate::config::Config;
use crate::direction::{Direction, Hook, Stage};
use crate::exchange::{Done, Exchange, Task, request, response};
use crate::ffi::{BodyPart, BodyStatus, HeadersStatus, Map, TrailersStatus};
use crate::filter::Filter;
use crate::heads::{self, RequestFacts};
use crate::link::Link;
use crate::reply::Reply;
use crate::wake::StreamWaker;

/// An Envoy stream.
///
/// Envoy may destroy it or call its hooks during `send_response` and the two `continue` functions. Hooks therefore call
/// these last, when nothing is borrowed.
pub(crate) struct Stream {
    link: Rc<Link>,
    /// Taken when the exchange begins.
    config: Cell<Option<Arc<Config>>>,
    waker: StreamWaker,
    /// The guests' exchange, once the request's route is known and has guests.
    exchange: RefCell<Option<Rc<Exchange>>>,
    request: RefCell<Direction>,
    response: RefCell<Direction>,
    /// The guests' calls for the request that are in progress.
    request_task: RefCell<Option<Task>>,
    /// The same for the response. It waits for guests that write a request that Envoy already has.
    response_task: RefCell<Option<Task>>,
    reply: RefCell<Option<Reply>>,
    /// Whether the client uses gRPC, if the request's head has been checked for that.
    grpc: Cell<Option<bool>>,
    failed: Cell<bool>,
    /// Whether a guest is writing the response while it is sent.
    streams: Cell<bool>,
    /// Whether this filter ends the response.
    ends: Cell<bool>,
    /// Whether guests have written all of a request, and the current hook passes the rest of it to Envoy.
    sends_rest_of_request: Cell<bool>,
    /// Whether the rest of a request that guests write can't be sent.
    is_cut: Cell<bool>,
}

/// How often one hook polls a call that wakes itself, before the worker's other streams get their turn.
const POLLS_AT_ONCE: usize = 64;

impl Stream {
    pub(crate) fn new(filter: Filter, config: Arc<Config>) -> Rc<Self> {
        Rc::new(Self {
            link: Rc::new(Link::new(filter)),
            config: Cell::new(Some(config)),
            waker: StreamWaker::default(),
            exchange: RefCell::default(),
            request: RefCell::new(Direction::new(BodyKind::Request)),
            response: RefCell::new(Direction::new(BodyKind::Response)),
            request_task: RefCell::default(),
            response_task: RefCell::default(),
            reply: RefCell::default(),
            grpc: Cell::default(),
            failed: Cell::default(),
            streams: Cell::default(),
            ends: Cell::default(),
            sends_rest_of_request: Cell::default(),
            is_cut: Cell::default(),
        })
    }

    pub(crate) fn request_headers(&self, end: bool) -> HeadersStatus {
        let Some(config) = self.config.take() else {
            tracing::error!("Envoy has started a second request on a stream");
            self.fail();
            return HeadersStatus::StopIteration;
        };
        let of_route = match config.of_route(self.filter()) {
            Ok(of_route) => of_route,
            Err(fault) => {
                tracing::error!("route configuration: {fault}; the request fails");
                self.fail();
                return HeadersStatus::StopIteration;
            }
        };
        if of_route.as_deref().unwrap_or(&config.behaviour).chain.is_empty() {
            self.config.set(Some(config));
            return HeadersStatus::Continue;
        }
        let exchange = Exchange::new(self.link.clone(), config, of_route);
        self.exchange.replace(Some(exchange.clone()));
        let ended = end || {
            let facts = RequestFacts::of(self.filter());
            self.grpc.set(Some(facts.is_grpc));
            self.link.method_is(facts.method.unwrap_or_default());
            facts.is_tunnel
        };
        let may_stream = exchange.behaviour().chain.iter().any(|guest| guest.streams_requests);
        let message = self.request.borrow_mut().begin(self.filter(), ended, may_stream);
        let called = request::handle_request(&exchange, message);
        self.headers(BodyKind::Request, end, called)
    }

    pub(crate) fn response_headers(&self, end: bool) -> HeadersStatus {
        let exchange = self.exchange.borrow().clone();
        let waits = self.is_writing();
        if !waits {
            // If Envoy or an earlier filter has responded while the request is still here, its guests are stopped.
            let task = self.request_task.take();
            if task.is_some() {
                drop(task);
                self.request.borrow_mut().stage = Stage::Discarded;
                self.drop_writers();
            }
        }
        let Some(exchange) = exchange else { return HeadersStatus::Continue };
        let task = self.response_task.take();
        drop(task);
        if !waits && exchange.has_no_pinned() {
            // Envoy's own response replaces one that guests are still handling.
            let replaced = self.response.replace(Direction::new(BodyKind::Response));
            drop(replaced);
            return HeadersStatus::Continue;
        }
        self.link.has_response();
        let may_stream = exchange.behaviour().chain.iter().any(|guest| guest.streams_responses);
        let ended = end || is_upgraded(&self.link);
        let mut response = self.response.borrow_mut();
        let message = response.begin(self.filter(), ended, may_stream);
        response.waits = waits;
        drop(response);
        if waits {
            exchange.writers.response_arrived();
            // Polls them, so that a write that already waits is timed.
            self.waker.schedule(|| self.filter().scheduler());
        }
        let called = response::handle_response(&exchange, message);
        self.headers(BodyKind::Response, end, called)
    }

    /// Follows what the guests have done with a head, or waits for them.
    fn headers(&self, kind: BodyKind, end: bool, called: Result<Done, Task>) -> HeadersStatus {
        match called {
            Ok(done) => self.done(kind, done),
            Err(task) => drop(self.task(kind).replace(Some(task))),
        }
        // Most messages pass through as they come.
        if self.direction(kind).borrow().is_passing() && !self.is_writing() {
            return HeadersStatus::Continue;
        }
        match self.step(kind, Hook::Headers { end }) {
            true => HeadersStatus::Continue,
            false => HeadersStatus::StopIteration,
        }
    }

    pub(crate) fn body(&self, kind: BodyKind, end: bool) -> BodyStatus {
        if kind == BodyKind::Response && self.ends.get() {
            // Envoy may have put the last bytes into its buffer, where they would be lost.
            let bytes = self.filter().take_body(BodyPart::BufferedResponse, usize::MAX);
            self.filter().append_body(BodyPart::ReceivedResponse, &bytes);
            return BodyStatus::Continue;
        }
        if self.direction(kind).borrow().is_passing() && !self.is_writing() {
            return BodyStatus::Continue;
        }
        match self.step(kind, Hook::Body { end }) {
            true => BodyStatus::Continue,
            false if self.direction(kind).borrow().is_left() => BodyStatus::StopAndWatermark,
            false => BodyStatus::StopNoBuffer,
        }
    }

    pub(crate) fn trailers(&self, kind: BodyKind) -> TrailersStatus {
        match self.step(kind, Hook::Trailers) {
            true => TrailersStatus::Continue,
            false => TrailersStatus::StopIteration,
        }
    }

    /// Continues what was waiting for a wake-up.
    pub(crate) fn scheduled(&self) {
        self.waker.scheduled();
        if self.sends_rest_of_request.take() {
            self.request.borrow_mut().pace_normally(self.filter());
        }
        for kind in [BodyKind::Request, BodyKind::Response] {
            let (held, streams) = {
                let direction = self.direction(kind).borrow();
                (direction.is_held, direction.is_streaming())
            };
            if streams {
                self.send_on(kind);
            } else if held {
                if self.step(kind, Hook::Scheduled) {
                    self.direction(kind).borrow_mut().is_held = false;
                    self.continue_message(kind);
                }
            } else if kind == BodyKind::Request && self.is_writing() {
                self.work(kind, Hook::Scheduled);
                if !self.send_reply() {
                    self.settle_request();
                }
            }
            if self.filter().has_ended() {
                return;
            }
        }
    }

    /// Called when one of Envoy's buffers on the way to the client has exceeded its high watermark.
    pub(crate) fn receiver_is_slow(&self) {
        self.filter().watermarks.rise();
    }

    /// Called when one of these has been drained to its low watermark.
    pub(crate) fn receiver_goes_on(&self) {
        let watermarks = &self.filter().watermarks;
        watermarks.fall();
        if self.streams.get() && !watermarks.is_full() {
            self.waker.schedule(|| self.filter().scheduler());
        }
    }

    /// Called when Envoy destroys the stream. Guests that wait for a response are notified that there is none.
    pub(crate) fn end(&self) {
        self.filter().end();
        self.waker.disarm();
        let Some(exchange) = self.exchange.take() else { return };
        // Dropping these lets guests clean up, so nothing may be borrowed.
        self.drop_tasks();
        exchange.writers.drop_from(0);
        let pinned = exchange.take_pinned();
        drop(pinned);
        let ends = [&self.request, &self.response].map(|direction| direction.borrow_mut().end());
        drop(ends);
        self.reply.take();
    }

    /// Fails the request after a hook has panicked. The rest of it bypasses the guests.
    pub(crate) fn fail(&self) {
        if self.failed.replace(true) {
            return;
        }
        self.drop_tasks();
        for kind in [BodyKind::Request, BodyKind::Response] {
            if let Ok(mut direction) = self.direction(kind).try_borrow_mut() {
                direction.stage = Stage::Discarded;
            }
        }
        Reply::failed().send(self.filter(), self.is_grpc());
    }

    /// Called before each hook.
    pub(crate) fn begin_hook(&self) {
        self.filter().begin_hook();
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.failed.get()
    }

    fn filter(&self) -> &Filter {
        &self.link.filter
    }

    /// Whether the client uses gRPC.
    fn is_grpc(&self) -> bool {
        self.grpc.get().unwrap_or_else(|| heads::has_grpc_request(self.filter()))
    }

    fn direction(&self, kind: BodyKind) -> &RefCell<Direction> {
        match kind {
            BodyKind::Request => &self.request,
            BodyKind::Response => &self.response,
        }
    }

    fn task(&self, kind: BodyKind) -> &RefCell<Option<Task>> {
        match kind {
            BodyKind::Request => &self.request_task,
            BodyKind::Response => &self.response_task,
        }
    }

    fn drop_tasks(&self) {
        let tasks = (self.request_task.take(), self.response_task.take());
        drop(tasks);
        self.drop_writers();
    }

    fn continue_message(&self, kind: BodyKind) {
        match kind {
            BodyKind::Request => self.filter().continue_decoding(),
            BodyKind::Response => self.filter().continue_encoding(),
        }
        if !self.filter().has_ended() {
            self.direction(kind).borrow_mut().passed_on(self.filter());
        }
    }

    /// Records the calls of guests that wrote the response.
    fn record_response_writers(&self) {
        if self.streams.get()
            && let Some(exchange) = &*self.exchange.borrow()
        {
            exchange.record_response_writers();
        }
    }

    /// Makes as much progress as possible. Returns whether Envoy may continue the message.
    fn step(&self, kind: BodyKind, at: Hook) -> bool {
        self.direction(kind).borrow_mut().take_in(self.filter(), at, &self.waker);
        self.work(kind, at);
        let continues = self.direction(kind).borrow_mut().send(self.filter(), at, &self.waker);
        self.record_response_writers();
        let continues = continues.unwrap_or_else(|error| {
            self.abort(kind, &error);
            false
        });
        self.check_writers(kind, at);
        if at != Hook::Scheduled {
            self.direction(kind).borrow_mut().is_held = !continues;
        }
        self.charge(kind);
        !self.send_reply() && continues
    }

    /// Charges for what is held of a message. If there is no memory for it, aborts the message.
    fn charge(&self, kind: BodyKind) {
        let charged = self.direction(kind).borrow_mut().charge(self.filter(), &self.waker);
        if let Err(error) = charged
            && self.reply.borrow().is_none()
        {
            self.abort(kind, &error.into());
        }
    }

    /// Sends the response that replaces the upstream's, if any.
    fn send_reply(&self) -> bool {
        let Some(reply) = self.reply.take() else { return false };
        self.drop_tasks();
        for direction in [&self.request, &self.response] {
            let mut direction = direction.borrow_mut();
            direction.is_held = false;
            let stage = std::mem::replace(&mut direction.stage, Stage::Discarded);
            drop(direction);
            // Dropping its contents may call back.
            drop(stage);
        }
        reply.send(self.filter(), self.is_grpc());
        true
    }

    /// Polls the guests' call for `kind`, if there is one.
    fn work(&self, kind: BodyKind, at: Hook) {
        for _ in 0..POLLS_AT_ONCE {
            let task = self.task(kind).take();
            let Some(mut task) = task else { return };
            self.waker.take();
            let waker = self.waker.waker();
            match task.as_mut().poll(&mut Context::from_waker(&waker)) {
                Poll::Ready(done) => {
                    drop(task);
                    return self.done(kind, done);
                }
                Poll::Pending => {
                    self.task(kind).replace(Some(task));
                    let refilled = self.direction(kind).borrow_mut().refill(self.filter(), at, &self.waker);
                    if !refilled && self.waker.arm(|| self.filter().scheduler()) {
                        return;
                    }
                }
            }
        }
        self.waker.schedule(|| self.filter().scheduler());
    }

    fn done(&self, kind: BodyKind, done: Done) {
        match done {
            Done::Continue { body: message, streams } => {
                let reselects = self
                    .exchange
                    .borrow()
                    .as_ref()
                    .is_some_and(|exchange| exchange.behaviour().reselect_route);
                if kind == BodyKind::Request && self.link.take_route_change() && reselects {
                    self.filter().clear_route_cache();
                }
                // If guests have set a status that allows no body, the body is dropped as it arrives.
                let has_body = self.direction(kind).borrow().has_body();
                let is_bodyless = kind == BodyKind::Response && has_body && is_bodyless(self.link.status());
                let writing = (kind == BodyKind::Request && streams).then(|| self.begin_writing()).flatten();
                self.streams.set(streams && kind == BodyKind::Response);
                let mut direction = self.direction(kind).borrow_mut();
                if is_bodyless {
                    // HTTP/2 clients compare the length with the body, which is now empty.
                    self.filter().remove_header(Map::Response, b"content-length");
                    direction.continue_with(self.filter(), Message::default(), false, None);
                } else {
                    direction.continue_with(self.filter(), message, streams, writing);
                }
            }
            Done::RequestComplete if self.is_cut.get() => {
                self.reply.replace(Some(Reply::failed()));
            }
            Done::RequestComplete => {}
            Done::Reply(reply) => {
                self.reply.replace(Some(reply));
            }
        }
    }
}

/// Whether the bytes that follow the response's head aren't an HTTP body.
fn is_upgraded(link: &Link) -> bool {
    let status = link.status();
    status == 101 || link.method() == b"CONNECT" && (200..300).contains(&status)
}

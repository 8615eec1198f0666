//! An Envoy stream: its hooks drive the guests' calls and move bodies between Envoy and the guests.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use http_wasm_host::{BodyKind, BoxError, Message, is_bodyless};

use crate::config::Config;
use crate::direction::{Direction, Hook, SendResult, Stage};
use crate::exchange::{self, Done, Exchange, Reply, Task};
use crate::ffi::{BodyPart, BodyStatus, HeadersStatus, Map, TrailersStatus};
use crate::filter::Filter;
use crate::heads::RequestFacts;
use crate::link::Link;
use crate::wake::StreamWaker;

/// An Envoy stream.
///
/// Envoy may destroy it or call its hooks during `send_response` and the two `continue` functions. Hooks therefore call
/// these last, when nothing is borrowed.
pub(crate) struct Stream {
    link: Rc<Link>,
    /// Taken when the exchange begins.
    config: Cell<Option<Arc<Config>>>,
    waker: Arc<StreamWaker>,
    /// The guests' exchange, once the request's route is known and has guests.
    exchange: RefCell<Option<Rc<Exchange>>>,
    request: RefCell<Direction>,
    response: RefCell<Direction>,
    /// The guests' call that is in progress.
    task: RefCell<Option<(BodyKind, Task)>>,
    reply: RefCell<Option<Reply>>,
    grpc: Cell<bool>,
    failed: Cell<bool>,
    /// Whether a guest is writing the response while it is sent.
    streams: Cell<bool>,
    /// Whether this filter ends the response.
    ends: Cell<bool>,
}

/// How many times one hook polls a call that wakes itself before the worker's other streams get their turn.
const POLLS_AT_ONCE: usize = 64;

impl Stream {
    pub(crate) fn new(filter: Filter, config: Arc<Config>) -> Rc<Self> {
        Rc::new(Self {
            link: Rc::new(Link::new(filter)),
            config: Cell::new(Some(config)),
            waker: Arc::default(),
            exchange: RefCell::default(),
            request: RefCell::new(Direction::new(BodyKind::Request)),
            response: RefCell::new(Direction::new(BodyKind::Response)),
            task: RefCell::default(),
            reply: RefCell::default(),
            grpc: Cell::default(),
            failed: Cell::default(),
            streams: Cell::default(),
            ends: Cell::default(),
        })
    }

    pub(crate) fn request_headers(&self, end: bool) -> HeadersStatus {
        let Some(config) = self.config.take() else {
            tracing::error!("Envoy has given a second request to a stream");
            self.fail();
            return HeadersStatus::StopIteration;
        };
        let behaviour = match config.of_stream(self.filter()) {
            Ok(behaviour) => behaviour,
            Err(fault) => {
                tracing::error!("route configuration: {fault}; the request fails");
                self.fail();
                return HeadersStatus::StopIteration;
            }
        };
        if behaviour.chain.is_empty() {
            self.config.set(Some(config));
            return HeadersStatus::Continue;
        }
        let exchange = Exchange::new(self.link.clone(), config, behaviour);
        self.exchange.replace(Some(exchange.clone()));
        let facts = RequestFacts::of(self.filter());
        self.grpc.set(facts.is_grpc);
        self.link.method_is(facts.method.unwrap_or_default());
        let message = self.request.borrow_mut().begin(self.filter(), end || facts.is_tunnel, false);
        let task = exchange::requested(exchange, message);
        self.task.replace(Some((BodyKind::Request, task)));
        match self.step(BodyKind::Request, Hook::Headers { end }) {
            true => HeadersStatus::Continue,
            false => HeadersStatus::StopIteration,
        }
    }

    pub(crate) fn response_headers(&self, end: bool) -> HeadersStatus {
        // Envoy or an earlier filter has responded while the request is still here: stop its guest.
        if self.task.borrow().as_ref().is_some_and(|(kind, _)| *kind == BodyKind::Request) {
            let task = self.task.take();
            drop(task);
            self.request.borrow_mut().stage = Stage::Answered;
        }
        let exchange = self.exchange.borrow().clone();
        let Some(exchange) = exchange else { return HeadersStatus::Continue };
        let pinned = exchange.take_pinned();
        if pinned.is_empty() {
            // Envoy's own response replaces one that guests are still handling.
            let task = self.task.take();
            drop(task);
            let replaced = self.response.replace(Direction::new(BodyKind::Response));
            drop(replaced);
            return HeadersStatus::Continue;
        }
        self.link.has_response();
        let may_stream = exchange.behaviour.chain.iter().any(|guest| guest.streams);
        let ended = end || is_upgraded(&self.link);
        let message = self.response.borrow_mut().begin(self.filter(), ended, may_stream);
        let task = exchange::responded(exchange, pinned, message);
        self.task.replace(Some((BodyKind::Response, task)));
        match self.step(BodyKind::Response, Hook::Headers { end }) {
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
        for kind in [BodyKind::Request, BodyKind::Response] {
            let (held, streams) = {
                let direction = self.direction(kind).borrow();
                (direction.is_held, direction.is_streaming())
            };
            if streams {
                self.send_on();
            } else if held && self.step(kind, Hook::Scheduled) {
                self.direction(kind).borrow_mut().is_held = false;
                match kind {
                    BodyKind::Request => self.filter().continue_decoding(),
                    BodyKind::Response => self.filter().continue_encoding(),
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
        let task = self.task.take();
        drop(task);
        let pinned = exchange.take_pinned();
        drop(pinned);
        self.request.replace(Direction::new(BodyKind::Request));
        self.response.replace(Direction::new(BodyKind::Response));
        self.reply.take();
    }

    /// Fails the request after a hook has panicked. The rest of it bypasses the guests.
    pub(crate) fn fail(&self) {
        if self.failed.replace(true) {
            return;
        }
        let task = self.task.take();
        drop(task);
        for kind in [BodyKind::Request, BodyKind::Response] {
            if let Ok(mut direction) = self.direction(kind).try_borrow_mut() {
                direction.stage = Stage::Answered;
            }
        }
        Reply::failed().send(self.filter(), self.grpc.get());
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.failed.get()
    }

    fn filter(&self) -> &Filter {
        &self.link.filter
    }

    fn direction(&self, kind: BodyKind) -> &RefCell<Direction> {
        match kind {
            BodyKind::Request => &self.request,
            BodyKind::Response => &self.response,
        }
    }

    /// Sends what a guest has written since, outside of the hooks for the original's pieces.
    fn send_on(&self) {
        let sent = self.response.borrow_mut().send_on(self.filter(), &self.waker);
        self.record_written();
        match sent {
            Ok(SendResult::Nothing) => {}
            Ok(SendResult::Continues) => self.filter().continue_encoding(),
            Ok(SendResult::Ends(last)) => {
                let stage = std::mem::replace(&mut self.response.borrow_mut().stage, Stage::Answered);
                drop(stage);
                self.ends.set(true);
                self.filter().end_response(&last.concat());
            }
            Err(error) => {
                self.break_off(BodyKind::Response, &error);
                self.send_reply();
            }
        }
    }

    /// Aborts a message that can't be sent completely.
    fn break_off(&self, kind: BodyKind, error: &BoxError) {
        tracing::info!("{error}; the message is aborted");
        let (is_held, has_begun) = {
            let direction = self.direction(kind).borrow();
            (direction.is_held, direction.has_begun())
        };
        if is_held && !has_begun {
            self.reply.replace(Some(Reply::failed()));
            return;
        }
        let stage = std::mem::replace(&mut self.direction(kind).borrow_mut().stage, Stage::Answered);
        drop(stage);
        self.filter().reset(b"http_wasm_body");
    }

    /// Records the calls of guests that wrote the response.
    fn record_written(&self) {
        if self.streams.get()
            && let Some(exchange) = &*self.exchange.borrow()
        {
            exchange.written();
        }
    }

    /// Makes as much progress as possible. Returns whether Envoy may continue the message.
    fn step(&self, kind: BodyKind, at: Hook) -> bool {
        self.direction(kind).borrow_mut().take_in(self.filter(), at, &self.waker);
        self.work(kind);
        let goes = self.direction(kind).borrow_mut().send(self.filter(), at, &self.waker);
        self.record_written();
        let goes = goes.unwrap_or_else(|error| {
            self.break_off(kind, &error);
            false
        });
        if at != Hook::Scheduled {
            self.direction(kind).borrow_mut().is_held = !goes;
        }
        !self.send_reply() && goes
    }

    /// Sends the response that replaces the upstream's, if any.
    fn send_reply(&self) -> bool {
        let Some(reply) = self.reply.take() else { return false };
        for direction in [&self.request, &self.response] {
            let mut direction = direction.borrow_mut();
            direction.is_held = false;
            let stage = std::mem::replace(&mut direction.stage, Stage::Answered);
            drop(direction);
            // Dropping its contents may call back.
            drop(stage);
        }
        reply.send(self.filter(), self.grpc.get());
        true
    }

    /// Polls the guests' call for `kind`, if there is one.
    fn work(&self, kind: BodyKind) {
        for _ in 0..POLLS_AT_ONCE {
            let task = self.task.take_task(kind);
            let Some(mut task) = task else { return };
            self.waker.take();
            let waker = self.waker.waker();
            match task.as_mut().poll(&mut Context::from_waker(&waker)) {
                Poll::Ready(done) => {
                    drop(task);
                    return self.done(kind, done);
                }
                Poll::Pending => {
                    self.task.replace(Some((kind, task)));
                    let refilled = self.direction(kind).borrow_mut().refill(self.filter(), &self.waker);
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
            Done::Goes { body: message, streams } => {
                let reselects =
                    self.exchange.borrow().as_ref().is_some_and(|exchange| exchange.behaviour.reselect_route);
                if kind == BodyKind::Request && self.link.take_route_change() && reselects {
                    self.filter().clear_route_cache();
                }
                // If guests have set a status that allows no body, the body is dropped as it arrives.
                let is_bodyless = kind == BodyKind::Response && is_bodyless(self.link.status());
                self.streams.set(streams);
                let mut direction = self.direction(kind).borrow_mut();
                if is_bodyless && direction.has_body() {
                    // HTTP/2 clients compare the length with the body, which is now empty.
                    self.filter().remove_header(Map::Response, b"content-length");
                    direction.goes(self.filter(), Message::default(), false);
                } else {
                    direction.goes(self.filter(), message, streams);
                }
            }
            Done::Reply(reply) => {
                self.reply.replace(Some(reply));
            }
        }
    }
}

/// Takes the task of one direction out of its cell.
trait TakeTask {
    fn take_task(&self, kind: BodyKind) -> Option<Task>;
}

impl TakeTask for RefCell<Option<(BodyKind, Task)>> {
    fn take_task(&self, kind: BodyKind) -> Option<Task> {
        self.borrow_mut().take_if(|(of, _)| *of == kind).map(|(_, task)| task)
    }
}

/// Whether the bytes that follow the response's head aren't an HTTP body.
fn is_upgraded(link: &Link) -> bool {
    let status = link.status();
    status == 101 || link.method() == b"CONNECT" && (200..300).contains(&status)
}

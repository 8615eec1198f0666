//! An Envoy stream: its hooks drive the guests' calls and move bodies between Envoy and the guests.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use http_wasm_host::{BodyKind, Message, is_bodyless};

use crate::config::Config;
use crate::exchange::{self, Done, Exchange, Reply, Task};
use crate::ffi::{BodyStatus, HeadersStatus, Map, TrailersStatus};
use crate::filter::Filter;
use crate::half::{Half, Hook, Stage};
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
    request: RefCell<Half>,
    response: RefCell<Half>,
    /// The guests' call that is in progress.
    task: RefCell<Option<(BodyKind, Task)>>,
    reply: RefCell<Option<Reply>>,
    grpc: Cell<bool>,
    failed: Cell<bool>,
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
            request: RefCell::new(Half::new(BodyKind::Request)),
            response: RefCell::new(Half::new(BodyKind::Response)),
            task: RefCell::default(),
            reply: RefCell::default(),
            grpc: Cell::default(),
            failed: Cell::default(),
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
        let message = self.request.borrow_mut().begin(end || facts.is_tunnel);
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
            return HeadersStatus::Continue;
        }
        self.link.has_response();
        let message = self.response.borrow_mut().begin(end || is_upgraded(&self.link));
        let task = exchange::responded(exchange, pinned, message);
        self.task.replace(Some((BodyKind::Response, task)));
        match self.step(BodyKind::Response, Hook::Headers { end }) {
            true => HeadersStatus::Continue,
            false => HeadersStatus::StopIteration,
        }
    }

    pub(crate) fn body(&self, kind: BodyKind, end: bool) -> BodyStatus {
        match self.step(kind, Hook::Body { end }) {
            true => BodyStatus::Continue,
            false if self.half(kind).borrow().is_left() => BodyStatus::StopAndWatermark,
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
        self.waker.take();
        for kind in [BodyKind::Request, BodyKind::Response] {
            let held = self.half(kind).borrow().is_held;
            if held && self.step(kind, Hook::Scheduled) {
                self.half(kind).borrow_mut().is_held = false;
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
        self.request.replace(Half::new(BodyKind::Request));
        self.response.replace(Half::new(BodyKind::Response));
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
            if let Ok(mut half) = self.half(kind).try_borrow_mut() {
                half.stage = Stage::Answered;
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

    fn half(&self, kind: BodyKind) -> &RefCell<Half> {
        match kind {
            BodyKind::Request => &self.request,
            BodyKind::Response => &self.response,
        }
    }

    /// Makes as much progress as possible. Returns whether Envoy may continue the message.
    fn step(&self, kind: BodyKind, at: Hook) -> bool {
        self.half(kind).borrow_mut().take_in(self.filter(), at, &self.waker);
        self.work(kind);
        let goes = self.half(kind).borrow_mut().send(self.filter(), at, &self.waker);
        let goes = goes.unwrap_or_else(|error| {
            tracing::info!("{error}; the message is aborted");
            if !self.half(kind).borrow().is_held {
                self.filter().reset(b"http_wasm_body");
            } else {
                self.reply.replace(Some(Reply::failed()));
            }
            false
        });
        if at != Hook::Scheduled {
            self.half(kind).borrow_mut().is_held = !goes;
        }
        let reply = self.reply.take();
        if let Some(reply) = reply {
            self.request.borrow_mut().stage = Stage::Answered;
            self.response.borrow_mut().stage = Stage::Answered;
            self.request.borrow_mut().is_held = false;
            self.response.borrow_mut().is_held = false;
            reply.send(self.filter(), self.grpc.get());
            return false;
        }
        goes
    }

    /// Polls the guests' call for `kind`, if there is one.
    fn work(&self, kind: BodyKind) {
        for _ in 0..POLLS_AT_ONCE {
            let task = self.task.take_if_of(kind);
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
                    let refilled = self.half(kind).borrow_mut().refill(self.filter(), &self.waker);
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
            Done::Goes(message) => {
                let reselects =
                    self.exchange.borrow().as_ref().is_some_and(|exchange| exchange.behaviour.reselect_route);
                if kind == BodyKind::Request && self.link.take_route_change() && reselects {
                    self.filter().clear_route_cache();
                }
                // If guests have set a status that allows no body, the body is dropped as it arrives.
                let is_bodyless = kind == BodyKind::Response && is_bodyless(self.link.status());
                let mut half = self.half(kind).borrow_mut();
                if is_bodyless && half.has_body() {
                    // HTTP/2 clients compare the length with the body, which is now empty.
                    self.filter().remove_header(Map::Response, b"content-length");
                    half.goes(Message::default());
                } else {
                    half.goes(message);
                }
            }
            Done::Reply(reply) => {
                self.reply.replace(Some(reply));
            }
        }
    }
}

/// Takes the task of one direction out of its cell.
trait TakeIfOf {
    fn take_if_of(&self, kind: BodyKind) -> Option<Task>;
}

impl TakeIfOf for RefCell<Option<(BodyKind, Task)>> {
    fn take_if_of(&self, kind: BodyKind) -> Option<Task> {
        self.borrow_mut().take_if(|(of, _)| *of == kind).map(|(_, task)| task)
    }
}

/// Whether the bytes that follow the response's head aren't an HTTP body.
fn is_upgraded(link: &Link) -> bool {
    let status = link.status();
    status == 101 || link.method() == b"CONNECT" && (200..300).contains(&status)
}

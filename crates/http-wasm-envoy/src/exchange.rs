//! Drives the guests of a stream: calls `handle_request` and `handle_response` of each in order, and handles the
//! outcome.

pub(crate) mod request;
pub(crate) mod response;

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Instant;

use http_wasm_host::{
    Error, InMemoryHost, Message, Outcome, Phase, Pinned, Progress, ResponseStream, StreamEnd,
};

use crate::config::{Behaviour, Config};
use crate::failure::Failure;
use crate::link::Link;
use crate::live::{Host, Live};
use crate::process::SharedGuest;
use crate::reply::Reply;
use crate::stats::CallOutcome;
use crate::writers::{FinishedWriter, Writers};

/// The namespace of the dynamic metadata.
const METADATA: &str = "http_wasm";

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
    outcome: Arc<OnceLock<CallOutcome>>,
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
    fn record_call(&self, guest: &str, phase: Phase, outcome: CallOutcome, started: Instant) {
        self.config.stats.record_call(&self.link.filter, guest, outcome, started);
        if self.behaviour().metadata {
            let phase = match phase {
                Phase::Request => "request",
                Phase::Response => "response",
            };
            let value = format!("{} {}us", outcome.label(), started.elapsed().as_micros());
            self.link.filter.set_metadata(METADATA, &format!("{guest}.{phase}"), &value);
        }
    }

    /// Records a guest's call once it has written its response.
    fn add_response_writer(&self, guest: Arc<SharedGuest>, started: Instant, stream: ResponseStream) {
        let outcome = Arc::new(OnceLock::new());
        let ended = outcome.clone();
        stream.on_end(move |end| {
            let _first = match end {
                StreamEnd::Finished => ended.set(CallOutcome::Handled),
                StreamEnd::Failed(_) => ended.set(CallOutcome::Failed),
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
                self.record_call(&ended.guest.name, Phase::Response, *outcome, ended.started);
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
            Ok(Outcome::Next(_)) => CallOutcome::Next,
            Ok(Outcome::Respond(_)) => CallOutcome::Respond,
            _ => CallOutcome::Failed,
        };
        self.record_call(&guest.name, Phase::Request, outcome, started);
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

//! The guests' part in a stream: both of their calls, in order, whatever the result of each.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use http_wasm_host::{Detachable, Error, Fields, Handled, InMemoryHost, Message, Outcome, Pinned, Progress};

use crate::compute::{Remote, begin_slice, has_overrun};
use crate::config::Behaviour;
use crate::failure::{self, Failure};
use crate::live::{Live, Place};
use crate::process::{SharedGuest, process};
use crate::stream::Stream;

/// The host that guests run on.
pub(crate) type Host = Detachable<Live>;

/// The guests' part in one direction.
pub(crate) type Task = Pin<Box<dyn Future<Output = Done>>>;

/// The result.
pub(crate) enum Done {
    /// The message goes on, with this body.
    Goes(Message),
    /// The client gets this.
    Reply(Reply),
}

/// A guest that has let the request through.
pub(crate) struct PinnedGuest {
    guest: Arc<SharedGuest>,
    pinned: Pinned<Host>,
}

impl PinnedGuest {
    /// The host; until it is put back, another one is there.
    fn take_host(&mut self) -> Host {
        std::mem::replace(self.pinned.host_mut(), Host::detached(InMemoryHost::new("", "")))
    }

    fn put_host(&mut self, live: Live) {
        *self.pinned.host_mut() = Host::new(live);
    }
}

/// A response that isn't the upstream's.
pub(crate) struct Reply {
    status: u16,
    headers: Fields,
    body: Vec<u8>,
    details: &'static str,
}

impl Reply {
    /// The answer to a request whose filter failed.
    pub(crate) fn failed() -> Self {
        Self { status: 500, headers: Fields::new(), body: Vec::new(), details: "http_wasm_failed" }
    }

    fn of_guest(mut response: InMemoryHost) -> Self {
        let (body, _) = response.response.take_body();
        Self { status: response.status, headers: response.response.headers, body, details: "http_wasm_reply" }
    }

    /// The response for a request whose guest failed, and failed closed.
    fn of_failure(failure: &Failure) -> InMemoryHost {
        failure.log();
        let mut response = InMemoryHost::new("", "");
        response.status = failure.status();
        if let Some(seconds) = failure.retry_after() {
            response.response.headers.set(b"retry-after", seconds.to_string().as_bytes());
        }
        response
    }

    /// Hands it to Envoy, which may destroy the stream meanwhile.
    pub(crate) fn send(mut self, stream: &Stream) {
        if stream.is_grpc() && !self.headers.contains(b"grpc-status") {
            let status = failure::grpc_status(self.status);
            self.headers.set(b"grpc-status", status.to_string().as_bytes());
        }
        stream.filter.send_response(self.status, &self.headers, &self.body, self.details.as_bytes());
    }
}

/// Calls `handle_request` of each guest.
pub(crate) fn requested(stream: Rc<Stream>, behaviour: Arc<Behaviour>, message: Message) -> Task {
    Box::pin(async move {
        let mut message = message;
        for guest in &behaviour.chain {
            let started = Instant::now();
            let host = Host::new(Live::new(stream.clone(), message));
            let called = drive(guest.guest.handle_request(host)).await;
            let outcome = match &called {
                Ok(Outcome::Next(_)) => "next",
                Ok(Outcome::Respond(_)) => "respond",
                Ok(Outcome::Bypassed { .. }) => "failed_open",
                Err(_) => "failed",
            };
            stream.called(&guest.name, "request", outcome, started.elapsed());
            message = match called {
                Ok(Outcome::Next(pinned)) => {
                    let mut pinned = PinnedGuest { guest: guest.clone(), pinned };
                    let host = pinned.take_host();
                    let mut live = attach(&stream, host);
                    if pinned.pinned.reads_request() {
                        live.save_request();
                    }
                    let next = take_body(&mut live.memory.request);
                    pinned.put_host(live);
                    stream.pin(pinned);
                    next
                }
                Ok(Outcome::Respond(host)) => {
                    let response = attach(&stream, host).memory;
                    return answered(&stream, response).await;
                }
                Ok(Outcome::Bypassed { host, error }) => {
                    failure::log_bypassed(&error);
                    take_body(&mut attach(&stream, host).memory.request)
                }
                Err(failure) => return answered(&stream, Reply::of_failure(&failure)).await,
            };
        }
        Done::Goes(message)
    })
}

/// Calls `handle_response` of the guests that have let the request through, the last one first.
pub(crate) fn responded(stream: Rc<Stream>, mut pinned: Vec<PinnedGuest>, message: Message) -> Task {
    Box::pin(async move {
        let mut message = message;
        while let Some(guest) = pinned.pop() {
            match respond(&stream, guest, Place::Envoy, |memory| memory.response = message).await {
                Ok(mut memory) => message = take_body(&mut memory.response),
                Err(failure) => return replaced(&stream, pinned, Reply::of_failure(&failure)).await,
            }
        }
        Done::Goes(message)
    })
}

/// A guest has answered: the response goes back through those before it.
async fn answered(stream: &Rc<Stream>, response: InMemoryHost) -> Done {
    let pinned = stream.take_pinned();
    replaced(stream, pinned, response).await
}

/// Sends a response that Envoy doesn't have yet through the guests that are left.
async fn replaced(stream: &Rc<Stream>, mut pinned: Vec<PinnedGuest>, mut response: InMemoryHost) -> Done {
    while let Some(guest) = pinned.pop() {
        let put = |memory: &mut InMemoryHost| {
            (memory.status, memory.response) = (response.status, response.response);
        };
        response = match respond(stream, guest, Place::Memory, put).await {
            Ok(memory) => memory,
            Err(failure) => Reply::of_failure(&failure),
        };
    }
    Done::Reply(Reply::of_guest(response))
}

/// Calls one guest's `handle_response`. The response's head is in `place`; `put` puts what is in memory there.
async fn respond(
    stream: &Rc<Stream>,
    mut guest: PinnedGuest,
    place: Place,
    put: impl FnOnce(&mut InMemoryHost),
) -> Result<InMemoryHost, Failure> {
    let started = Instant::now();
    let host = guest.take_host();
    let mut live = attach(stream, host);
    live.response = place;
    put(&mut live.memory);
    guest.put_host(live);
    let PinnedGuest { guest, pinned } = guest;
    let called = drive(pinned.handle_response()).await;
    let outcome = match &called {
        Ok(Handled { error: None, .. }) => "handled",
        Ok(Handled { error: Some(_), .. }) => "failed_open",
        Err(_) => "failed",
    };
    stream.called(&guest.name, "response", outcome, started.elapsed());
    let Handled { host, error } = called?;
    if let Some(error) = error {
        failure::log_bypassed(&error);
    }
    Ok(attach(stream, host).memory)
}

/// The host, back on the stream, with the changes to its copies applied.
fn attach(stream: &Rc<Stream>, host: Host) -> Live {
    match host.into_inner() {
        Ok(live) => live,
        Err(memory) => {
            stream.attached(&memory);
            Live::attach(stream.clone(), memory)
        }
    }
}

/// The message's body, for its next recipient. The headers stay.
fn take_body(message: &mut Message) -> Message {
    let mut taken = std::mem::take(message);
    message.headers = std::mem::take(&mut taken.headers);
    taken
}

/// Waits for a guest's call: on the worker as long as it doesn't compute for more than a slice, then on the compute
/// threads.
async fn drive<T: Send + 'static>(progress: Progress<Result<T, Error>>) -> Result<T, Failure> {
    let mut call = match progress.done() {
        Ok(result) => return result.map_err(Failure::Guest),
        Err(progress) => Call::Here(progress),
    };
    poll_fn(move |cx| call.poll(cx)).await
}

enum Call<T> {
    Here(Progress<Result<T, Error>>),
    Elsewhere(Remote<Result<T, Error>>),
    /// On the way from one to the other.
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

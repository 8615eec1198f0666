//! A stream's response: the calls of `handle_response`.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;
use std::time::Instant;

use bytes::BytesMut;
use http_wasm_host::{BodyKind, Frame, Handled, InMemoryHost, Message, Phase};

use super::{Call, Done, Exchange, PinnedGuest, PinnedGuests, Task, attach, take_body};
use crate::drive::drive;
use crate::failure::{self, Failure};
use crate::filter::Filter;
use crate::live::{HeadLocation, Host};
use crate::memory::{self, Charge};
use crate::outbound::Outbound;
use crate::reply::Reply;
use crate::stats::CallOutcome;

/// The maximum size of a response that a guest that streams writes and that isn't the upstream's, in bytes.
const MAX_COMPLETE: usize = 16 << 20;

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
pub(super) async fn return_response(exchange: &Exchange, response: Option<Box<InMemoryHost>>) -> Done {
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
            Ok(Handled { error: None, .. }) => CallOutcome::Handled,
            Ok(Handled { error: Some(_), .. }) => CallOutcome::FailedOpen,
            Err(_) => CallOutcome::Failed,
        };
        if let Ok(Handled { host, stream: Some(stream), .. }) = called {
            self.add_response_writer(guest.clone(), started, stream);
            return Ok((attach(self, host).memory, true));
        }
        self.record_call(&guest.name, Phase::Response, outcome, started);
        let Handled { host, error, .. } = called?;
        if let Some(error) = error {
            failure::log_bypassed(&error);
        }
        Ok((attach(self, host).memory, false))
    }
}

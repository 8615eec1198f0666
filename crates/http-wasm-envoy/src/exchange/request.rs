//! A stream's request: the calls of `handle_request`.

use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Instant;

use http_wasm_host::{InMemoryHost, Message, Outcome, Phase};

use super::response::return_response;
use super::{Call, Done, Exchange, PinnedGuest, Task, attach, empty_host, response_of, take_body};
use crate::drive::drive;
use crate::failure::{self, Failure};
use crate::live::{Host, Live};
use crate::reply::Reply;
use crate::stats::CallOutcome;

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
            Ok(Outcome::Next(_)) => Some(CallOutcome::Next),
            Ok(Outcome::Respond(_)) => Some(CallOutcome::Respond),
            Ok(Outcome::Bypassed { .. }) => Some(CallOutcome::FailedOpen),
            Err(_) => Some(CallOutcome::Failed),
        };
        if let Some(outcome) = outcome {
            self.record_call(&guest.name, Phase::Request, outcome, started);
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

//! Requests that Envoy already has while guests are still writing them.

use std::rc::Rc;

use http_wasm_host::BodyKind;

use super::Stream;
use crate::direction::{Hook, MAX_HELD, Stage};
use crate::exchange::{Exchange, request};
use crate::reply::Reply;

impl Stream {
    /// Envoy has a request that guests are still writing. Returns their exchange.
    pub(super) fn begin_writing(&self) -> Option<Rc<Exchange>> {
        let exchange = self.exchange.borrow().clone()?;
        exchange.is_writing.set(true);
        self.request_task.replace(Some(request::wait_for_writers(exchange.clone())));
        Some(exchange)
    }

    pub(super) fn drop_writers(&self) {
        let exchange = self.exchange.borrow().clone();
        if let Some(exchange) = exchange {
            exchange.writers.drop_from(0);
            exchange.is_writing.set(false);
        }
    }

    /// Whether guests are still writing a request that Envoy already has.
    pub(super) fn is_writing(&self) -> bool {
        self.exchange.borrow().as_ref().is_some_and(|exchange| exchange.is_writing.get())
    }

    /// Discards the rest of a request that guests are writing. What they read ends, so that they return.
    pub(super) fn stop_request(&self) {
        let stage = self.request.borrow_mut().stop(self.filter());
        drop(stage);
        self.waker.schedule(|| self.filter().scheduler());
    }

    /// Called after the guests that write a request have run. If the upstream's response is complete, the upstream
    /// doesn't read any more of the request. If its response is too long to be held, the request fails, since the
    /// upstream would wait forever for its response to be read.
    pub(super) fn check_writers(&self, kind: BodyKind, at: Hook) {
        if !self.is_writing() {
            return;
        }
        match kind {
            BodyKind::Request => {
                self.work(kind, at);
                self.settle_request();
            }
            BodyKind::Response => {
                let (is_over, is_left) = {
                    let response = self.response.borrow();
                    (response.has_ended(), response.is_left())
                };
                if is_left {
                    tracing::info!(
                        "an upstream has sent more than {} MiB of its response before a guest has finished writing \
                         the request; the request fails",
                        MAX_HELD >> 20
                    );
                    self.reply.replace(Some(Reply::failed()));
                } else if is_over && !matches!(self.request.borrow().stage, Stage::Discarded) {
                    self.stop_request();
                }
            }
        }
    }

    /// Lets a response continue that waited for guests to write the request, once they have done so.
    pub(super) fn settle_request(&self) {
        let exchange = self.exchange.borrow().clone();
        let Some(exchange) = exchange else { return };
        let is_over = self.request_task.borrow().is_none() && self.reply.borrow().is_none();
        if !exchange.is_writing.get() || !is_over {
            return;
        }
        if self.request.borrow().is_full() {
            // The guest has returned although its last write hasn't been taken: the upstream counts as not reading.
            self.stop_request();
        }
        if self.request.borrow().has_unsent() {
            return;
        }
        exchange.is_writing.set(false);
        self.response.borrow_mut().waits = false;
        // When the hook runs, Envoy has all of the request, and the response's task continues.
        self.sends_rest_of_request.set(true);
        self.waker.schedule(|| self.filter().scheduler());
    }
}

//! Messages that are sent while guests write them, and those that can't be sent completely.

use http_wasm_host::{BodyKind, BoxError, NoBodyMemory};

use super::Stream;
use crate::direction::{Hook, SendResult, Stage, TooMuch};
use crate::reply::Reply;

impl Stream {
    /// Sends what a guest has written since, outside of the hooks for the original's pieces.
    pub(super) fn send_on(&self, kind: BodyKind) {
        let sent = self.direction(kind).borrow_mut().send_on(self.filter(), &self.waker);
        self.record_response_writers();
        let sent = sent.unwrap_or_else(|error| {
            self.abort(kind, &error);
            SendResult::Nothing
        });
        self.check_writers(kind, Hook::Scheduled);
        self.charge(kind);
        if self.send_reply() {
            return;
        }
        match sent {
            SendResult::Nothing => {}
            SendResult::Continues => {
                self.continue_message(kind);
            }
            SendResult::Ends(last) => {
                let stage = std::mem::replace(&mut self.response.borrow_mut().stage, Stage::Discarded);
                drop(stage);
                self.ends.set(true);
                self.filter().end_response(&last.concat());
            }
        }
    }

    /// Aborts a message that can't be sent completely.
    pub(super) fn abort(&self, kind: BodyKind, error: &BoxError) {
        tracing::info!("{error}; the message is aborted");
        if kind == BodyKind::Request && self.is_writing() {
            // If a guest has ended the request by responding itself, the client gets that response.
            self.is_cut.set(true);
            self.stop_request();
            // If all guests have passed the request on, nothing else would respond: the upstream never gets all of it.
            let is_passed_on = self.request_task.borrow().is_none() && self.reply.borrow().is_none();
            if is_passed_on || error.is::<TooMuch>() || error.is::<NoBodyMemory>() {
                self.reply.replace(Some(Reply::of_error(error)));
            }
            return;
        }
        let (is_held, has_begun) = {
            let direction = self.direction(kind).borrow();
            (direction.is_held, direction.has_begun())
        };
        if is_held && !has_begun {
            self.reply.replace(Some(Reply::of_error(error)));
            return;
        }
        let stage = std::mem::replace(&mut self.direction(kind).borrow_mut().stage, Stage::Discarded);
        drop(stage);
        self.filter().reset(b"http_wasm_body");
    }
}

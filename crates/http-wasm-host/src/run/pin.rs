//! What goes with an instance while a request has it.

use crate::stats::DropReason;

/// What a guest decided in `handle_request`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// The request is for the next handler.
    Proceed,
    /// The guest's response is the answer.
    Stop,
}

/// What came back from the next handler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NextResult {
    Response,
    /// It gave no response.
    Error,
}

/// State of an instance that is out of the pool. It is kept here, so that the guards that are passed around are mere
/// pointers.
#[derive(Debug)]
pub(crate) struct Pin {
    /// The guest's context for its second call.
    pub(crate) req_ctx: u32,
    /// What the guest decided in its first call.
    pub(crate) next: Next,
    pub(crate) next_result: NextResult,
    /// The drop reason, if it is dropped now. By default, a call was cancelled inside the guest.
    pub(crate) drop_reason: DropReason,
}

impl Pin {
    /// The parameters of `handle_response`.
    pub(crate) fn params(&self) -> (u32, u32) {
        (self.req_ctx, (self.next_result == NextResult::Error).into())
    }
}

impl Default for Pin {
    fn default() -> Self {
        Self {
            req_ctx: 0,
            next: Next::Stop,
            next_result: NextResult::Response,
            drop_reason: DropReason::Cancelled,
        }
    }
}

//! The state of an instance while a request uses it.

use crate::stats::DropReason;

/// The guest's decision in `handle_request`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Pass the request to the next handler.
    Proceed,
    /// Send the guest's own response.
    Stop,
}

/// The result of the next handler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NextResult {
    Response,
    /// There was no response.
    Error,
}

/// The state of an instance that is out of the pool. It is kept here so that the guards that are moved around are only
/// pointers.
#[derive(Debug)]
pub(crate) struct Pin {
    /// The guest's context for `handle_response`.
    pub(crate) req_ctx: u32,
    /// The guest's decision in `handle_request`.
    pub(crate) next: Next,
    pub(crate) next_result: NextResult,
    /// The reason to count if it is dropped now. By default, this is a call that was cancelled inside the guest.
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

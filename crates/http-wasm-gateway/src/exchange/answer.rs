//! The interface through which the listener gets responses.

use std::sync::Arc;

use http::{Response, StatusCode};

use super::abandoned::Abandoned;
use super::inbound::Inbound;
use crate::body::BoxBody;
use crate::turns::TurnQueue;
use crate::unread_budget::UnreadBudget;

/// Responds to requests.
pub(crate) trait Answer: Send + Sync + 'static {
    /// Returns the response to a request. If the future is dropped while a guest computes, the call is stored in
    /// `abandoned`.
    fn answer(
        &self,
        inbound: &mut Inbound,
        abandoned: &Abandoned,
    ) -> impl Future<Output = Response<BoxBody>> + Send;

    /// The budget for request content that hasn't been read yet.
    fn unread_budget(&self) -> &Arc<UnreadBudget>;

    /// The queue in which tasks of busy connections wait for their turn.
    fn turn_queue(&self) -> &Arc<TurnQueue>;

    /// Records a request that was rejected with this status before it could be handled.
    fn refused(&self, inbound: Inbound, status: StatusCode);
}

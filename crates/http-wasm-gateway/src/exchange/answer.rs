//! What the listener asks for answers.

use std::sync::Arc;

use http::{Response, StatusCode};

use super::inbound::Inbound;
use crate::body::BoxBody;
use crate::turns::Line;
use crate::unread_budget::UnreadBudget;

/// What answers requests.
pub(crate) trait Answer: Send + Sync + 'static {
    /// The response to a request.
    fn answer(&self, inbound: &mut Inbound) -> impl Future<Output = Response<BoxBody>> + Send;

    /// The budget for content of requests that nobody has read yet.
    fn unread_budget(&self) -> &Arc<UnreadBudget>;

    /// Where tasks of busy connections wait for their turn.
    fn line(&self) -> &Arc<Line>;

    /// Records a request that was refused with this status before it could be answered.
    fn refused(&self, inbound: Inbound, status: StatusCode);
}

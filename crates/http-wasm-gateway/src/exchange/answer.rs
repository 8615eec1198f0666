//! What the listener asks for answers.

use http::{Response, StatusCode};

use super::inbound::Inbound;
use crate::body::BoxBody;

/// What answers requests.
pub(crate) trait Answer: Send + Sync + 'static {
    /// The response to a request.
    fn answer(&self, inbound: &mut Inbound) -> impl Future<Output = Response<BoxBody>> + Send;

    /// Records a request that was refused with this status before it could be answered.
    fn refused(&self, inbound: Inbound, status: StatusCode);
}

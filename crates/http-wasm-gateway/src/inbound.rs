//! A request on its way through the gateway, and what goes with it.

use std::sync::Arc;

use http::Request;

use crate::body::{BoxBody, empty};
use crate::listener::Client;
use crate::observe::Exchange;

/// A request on its way from the listener to what answers it.
///
/// It is lent to all on that way, and whoever needs the request itself takes it out: it is large, and each future that it was moved
/// into would copy it twice.
#[derive(Debug)]
pub(crate) struct Inbound {
    pub(crate) request: Request<BoxBody>,
    pub(crate) client: Client,
    /// Notes what becomes of it, if somebody wants to know.
    pub(crate) exchange: Option<Arc<Exchange>>,
}

impl Inbound {
    pub(crate) fn new(request: Request<BoxBody>, client: Client) -> Self {
        Self { request, client, exchange: None }
    }

    /// Takes the request out, and leaves an empty one.
    pub(crate) fn take(&mut self) -> Request<BoxBody> {
        std::mem::replace(&mut self.request, Request::new(empty()))
    }
}

//! A request on its way through the gateway, and what goes with it.

use std::sync::Arc;

use http::Request;
use tokio::sync::oneshot;

use crate::body::{BoxBody, empty};
use crate::listener::{Client, ClientSide, Refused};
use crate::observe::{Exchange, Finish};

/// A request on its way from the listener to what answers it.
///
/// It is lent to all on that way, and whoever needs the request itself takes it out: it is large, and each future that it was moved
/// into would copy it twice.
#[derive(Debug)]
pub(crate) struct Inbound {
    pub(crate) request: Request<BoxBody>,
    pub(crate) client: Client,
    /// Fields that the listener has dropped.
    pub(crate) dropped: Dropped,
    /// Whether the listener refuses it.
    pub(crate) refused: Refused,
    /// Notes what becomes of it, if somebody wants to know.
    pub(crate) exchange: Option<Arc<Exchange>>,
    /// What the client's connection brings along if it may become a tunnel.
    pub(crate) tunnel: Option<Box<ClientSide>>,
    /// The tunnel that waits for the request to be granted, which is then over when the tunnel is.
    pub(crate) granted: Option<oneshot::Sender<Finish>>,
}

/// How many header fields of a request were dropped, and why.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Dropped {
    /// They say who the client is, and nobody who is believed said so.
    pub(crate) claims: u32,
    /// They have an underscore in their name.
    pub(crate) underscores: u32,
}

impl Inbound {
    pub(crate) fn new(request: Request<BoxBody>, client: Client) -> Self {
        let (dropped, refused) = (Dropped::default(), Refused::No);
        Self { request, client, dropped, refused, exchange: None, tunnel: None, granted: None }
    }

    /// Takes the request out, and leaves an empty one.
    pub(crate) fn take(&mut self) -> Request<BoxBody> {
        std::mem::replace(&mut self.request, Request::new(empty()))
    }
}

//! A request in the gateway, and its context.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, Request};
use tokio::sync::oneshot;

use super::arrival::{Arrival, ListenerId};
use super::client::{Client, Dropped};
use super::interims::Interims;
use super::record::{Finish, RequestRecord};
use super::refused::Refused;
use super::tunnel::ClientSide;
use crate::body::{BoxBody, empty};

/// How many requests a connection may always have in flight, as long as there is any room.
pub(crate) const FEW_REQUESTS: usize = 4;

/// A request on its way from the listener to its handler.
///
/// It is passed by reference, and code that needs the request itself takes it out. It is large, and each future that it
/// is moved into would copy it twice.
#[derive(Debug)]
pub(crate) struct Inbound {
    pub(crate) request: Request<BoxBody>,
    pub(crate) client: Client,
    /// The client's address as a field value, if the listener has made one.
    pub(crate) client_address: Option<HeaderValue>,
    /// The listener at which it arrived.
    pub(crate) listener: ListenerId,
    /// The requests that the client's connection has in flight, including this one.
    pub(crate) in_flight: usize,
    /// Fields that the listener has dropped.
    pub(crate) dropped: Dropped,
    /// Whether the listener rejects the request.
    pub(crate) refused: Refused,
    /// The request's record, if it is observed.
    pub(crate) record: Option<Arc<RequestRecord>>,
    /// What the client's connection provides if it may become a tunnel.
    pub(crate) tunnel: Option<Box<ClientSide>>,
    /// The queue for informational responses to the client, if the client understands them.
    pub(crate) interims: Option<Arc<Interims>>,
    /// How long the request may wait for an upstream that is at its limit, if the route has a queue.
    pub(crate) queue_timeout: Option<Duration>,
    /// Starts the tunnel if the request is granted. The request then ends with the tunnel.
    pub(crate) granted: Option<oneshot::Sender<Finish>>,
}

impl Inbound {
    pub(crate) fn new(request: Request<BoxBody>, client: Client) -> Self {
        let (dropped, refused) = (Dropped::default(), Refused::No);
        Self {
            request,
            client,
            client_address: None,
            listener: ListenerId::default(),
            in_flight: 1,
            dropped,
            refused,
            record: None,
            tunnel: None,
            interims: None,
            queue_timeout: None,
            granted: None,
        }
    }

    /// Whether the request is rejected before others when resources run short, because its connection has many requests
    /// in flight.
    pub(crate) fn is_sheddable(&self) -> bool {
        self.in_flight > FEW_REQUESTS
    }

    /// Lifts the listener's limit on the size of the request body and returns it, for a handler that enforces it on a
    /// part of the body.
    pub(crate) fn lift_body_limit(&self) -> Option<u64> {
        match &self.refused {
            Refused::Body(body) => body.lift_limit(),
            _ => None,
        }
    }

    /// Where the request arrived.
    pub(crate) fn arrival(&self) -> Arrival {
        Arrival { tls: self.client.tls, listener: self.listener }
    }

    /// Takes the request out, and leaves an empty one.
    pub(crate) fn take(&mut self) -> Request<BoxBody> {
        std::mem::replace(&mut self.request, Request::new(empty()))
    }
}

impl AsMut<Request<BoxBody>> for Inbound {
    fn as_mut(&mut self) -> &mut Request<BoxBody> {
        &mut self.request
    }
}

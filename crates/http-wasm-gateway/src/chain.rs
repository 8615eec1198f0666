//! The chain of guests in front of the backend.

use std::convert::Infallible;

use http::{Request, Response};
use http_wasm_tower::{Guest, HttpWasmLayer};
use tower::Layer as _;
use tower::util::BoxCloneSyncService;

use crate::backend::{Backend, PeerAddr};
use crate::body::BoxBody;

/// A handler of requests: the backend, or guests around it. Each guest answers for its own failures, so no error is
/// left.
pub(crate) type Handler = BoxCloneSyncService<Request<BoxBody>, Response<BoxBody>, Infallible>;

/// Puts the guests around the backend, the first outermost.
pub(crate) fn chain(guests: Vec<Guest>, backend: Backend) -> Handler {
    guests.into_iter().rev().fold(BoxCloneSyncService::new(backend), wrap)
}

fn wrap(next: Handler, guest: Guest) -> Handler {
    let layer =
        HttpWasmLayer::new(guest).source_addr(|extensions| extensions.get::<PeerAddr>().map(|peer| peer.0));
    BoxCloneSyncService::new(layer.layer(next))
}

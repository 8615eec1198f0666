//! What handles a route's requests: its guests, and what stands behind them.

use std::convert::Infallible;
use std::sync::Arc;

use http::{Request, Response};
use http_wasm_tower::{Guest, HttpWasmLayer};
use tower::Layer as _;
use tower::util::BoxCloneSyncService;

use super::answer::Answer;
use crate::backend::Backend;
use crate::body::BoxBody;
use crate::config;
use crate::listener::Client;
use crate::observe::{AroundGuest, BehindGuest};
use crate::proxy::Proxy;

/// A handler of requests. Each guest answers for its own failures, so no error is left.
pub(crate) type Handler = BoxCloneSyncService<Request<BoxBody>, Response<BoxBody>, Infallible>;

/// The guests around what answers, the first outermost. `upstream` is the one that the route names.
pub(crate) fn handler(route: &config::Route, guests: Vec<Guest>, upstream: Option<Arc<Proxy>>) -> Handler {
    let innermost = if let Some(proxy) = upstream {
        Handler::new(Backend::Proxy(proxy))
    } else if let Some(redirect) = &route.redirect {
        Handler::new(Answer::redirect(redirect))
    } else if let Some(respond) = &route.respond {
        Handler::new(Answer::fixed(respond))
    } else {
        Handler::new(match route.backend {
            Some(config::Backend::Hello) => Backend::Hello,
            Some(config::Backend::Echo) | None => Backend::Echo,
        })
    };
    guests.into_iter().rev().fold(innermost, wrap)
}

fn wrap(next: Handler, guest: Guest) -> Handler {
    let name: Arc<str> = guest.name().into();
    let layer = HttpWasmLayer::new(guest)
        .source_addr(|extensions| extensions.get::<Client>().map(|client| client.addr));
    Handler::new(AroundGuest::new(name, layer.layer(BehindGuest::new(next))))
}

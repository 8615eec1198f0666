//! The next handlers: upstreams, and backends inside the gateway.

mod echo;
mod ext_proc;
mod hello;

use std::sync::Arc;

use http::{Method, Response};

use crate::body::BoxBody;
use crate::exchange::{Inbound, no_tunnel};
use crate::proxy::Proxy;

pub use self::echo::respond as echo;
pub(crate) use self::ext_proc::ExtProc;

/// The innermost handler. Cheap to clone; all clones share the proxy's pool of connections.
#[derive(Debug, Clone)]
pub(crate) enum Backend {
    Echo,
    Hello,
    Proxy(Arc<Proxy>),
    ExtProc(ExtProc),
}

impl Backend {
    pub(crate) async fn respond(&self, inbound: &mut Inbound) -> Response<BoxBody> {
        if inbound.request.method() == Method::CONNECT {
            return no_tunnel();
        }
        match self {
            Self::Hello => hello::respond(),
            Self::Proxy(proxy) => proxy.respond(inbound).await,
            // The futures of the others are large, and would make the future of every request equally large.
            Self::Echo => Box::pin(echo::respond(inbound.take())).await,
            Self::ExtProc(ext_proc) => Box::pin(ext_proc.respond(inbound)).await,
        }
    }
}

//! A chain: its guests and settings.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{Extensions, Request};
use http_body::Body as HttpBody;
use http_wasm_host::{Body, BoxError, HttpHost};

use super::guest::ChainGuest;
use crate::addr::FindAddr;
use crate::failure::{FailurePolicy, HideDetails, Policy};

/// Guests in front of a handler: the first sees a request first, and its response last.
///
/// [`Chain::call`] passes one request through them. Each guest that lets the request proceed keeps its instance until
/// it has handled the response. If a guest fails, the guests in front of it get a response made by the
/// [`FailurePolicy`](crate::FailurePolicy). [`HttpWasmLayer`](crate::HttpWasmLayer) is a chain of one guest for tower.
/// A program with its own way to call handlers, such as a gateway, calls a chain directly.
///
/// Cheap to clone; all clones share the guests.
///
/// ```
/// use http::{Request, Response};
/// use http_wasm_tower::{Body, Chain, Engine, Guest};
///
/// # fn main() -> Result<(), http_wasm_tower::BoxError> {
/// let guest = Guest::load(&Engine::new()?, br#"(module
///     (memory (export "memory") 1)
///     (func (export "handle_request") (result i64) (i64.const 1))
///     (func (export "handle_response") (param i32 i32)))"#)?;
/// let chain = Chain::new([guest]);
///
/// # futures_executor::block_on(async {
/// let request = Request::get("/").body(Body::empty())?;
/// let response = chain.call(request, async |request: Request<Body>| {
///     assert_eq!(request.uri(), "/");
///     Ok::<_, std::io::Error>(Response::new(Body::empty()))
/// });
/// assert_eq!(response.await?.status(), 200);
/// # Ok(())
/// # })
/// # }
/// ```
#[derive(Clone)]
pub struct Chain(Arc<Settings>);

/// In one allocation: a service is cloned for every request.
#[derive(Clone)]
struct Settings {
    guests: Box<[ChainGuest]>,
    policy: Policy,
    find_addr: FindAddr,
    folds_underscores: bool,
}

impl Chain {
    /// Creates a chain of these guests, outermost first, with default settings. Without guests, requests go straight to
    /// the next handler.
    pub fn new<G: Into<ChainGuest>>(guests: impl IntoIterator<Item = G>) -> Self {
        Self(Arc::new(Settings {
            guests: guests.into_iter().map(Into::into).collect(),
            policy: Policy::new(HideDetails),
            find_addr: FindAddr::Extension,
            folds_underscores: false,
        }))
    }

    /// Sets what a client gets when a guest fails, unless it fails open. Defaults to [`HideDetails`].
    #[must_use]
    pub fn failure_policy(mut self, policy: impl FailurePolicy) -> Self {
        self.settings().policy = Policy::new(policy);
        self
    }

    /// Sets where [`call`](Self::call) finds the client's address. Defaults to the extension
    /// [`SourceAddr`](crate::SourceAddr).
    #[must_use]
    pub fn source_addr(
        mut self,
        find: impl Fn(&Extensions) -> Option<SocketAddr> + Send + Sync + 'static,
    ) -> Self {
        self.settings().find_addr = FindAddr::Other(Arc::new(find));
        self
    }

    /// Treats `_` as `-` in the names of request headers when a guest sets or removes one; see
    /// [`HttpHost::fold_underscores`].
    #[must_use]
    pub fn fold_underscores(mut self) -> Self {
        self.settings().folds_underscores = true;
        self
    }

    fn settings(&mut self) -> &mut Settings {
        Arc::make_mut(&mut self.0)
    }

    /// Returns whether the chain has no guests.
    pub fn is_empty(&self) -> bool {
        self.0.guests.is_empty()
    }

    /// Returns the guests, outermost first.
    pub fn guests(&self) -> &[ChainGuest] {
        &self.0.guests
    }

    #[inline]
    pub(super) fn host<B>(&self, request: Request<B>, source_addr: Option<SocketAddr>) -> HttpHost
    where
        B: HttpBody<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        self.set_up(HttpHost::new(request, source_addr))
    }

    /// The same for a request that is taken out of `request`.
    #[inline]
    pub(super) fn host_of(&self, request: &mut Request<Body>, source_addr: Option<SocketAddr>) -> HttpHost {
        self.set_up(HttpHost::take_from(request, source_addr))
    }

    #[inline]
    fn set_up(&self, host: HttpHost) -> HttpHost {
        if self.0.folds_underscores { host.fold_underscores() } else { host }
    }

    #[inline]
    pub(super) fn policy(&self) -> &Policy {
        &self.0.policy
    }

    #[inline]
    pub(crate) fn find_addr(&self, extensions: &Extensions) -> Option<SocketAddr> {
        self.0.find_addr.find(extensions)
    }
}

impl fmt::Debug for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chain").field("guests", &self.0.guests).finish_non_exhaustive()
    }
}

//! Guests in front of a handler.

mod call;
mod exchange;
mod guest;
mod observer;

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{Extensions, Request, Response};
use http_body::Body as HttpBody;
use http_wasm_host::{Body, BoxError, HttpHost};

pub use self::call::ChainFuture;
pub(crate) use self::exchange::{Exchange, Failures, Forwarded, Passed};
pub use self::guest::{ChainGuest, GuestCell};
pub use self::observer::{ChainObserver, GuestObserver};

use crate::addr::FindAddr;
use crate::failure::{FailurePolicy, HideDetails, Policy};

/// Guests in front of a handler: the first sees a request first, and its response last.
///
/// [`Chain::call`] takes one request through them. Each guest that lets the request pass keeps its instance until it
/// has handled the response; each answers for its own failures, so a failure of one is a response for those in front of
/// it.
/// [`HttpWasmLayer`](crate::HttpWasmLayer) is a chain of one guest for tower. A program that has its own way to call
/// handlers, as a gateway does, calls a chain itself.
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
    /// A chain of these guests, the first outermost, with default settings. Without any, requests go straight to the
    /// next handler.
    pub fn new<G: Into<ChainGuest>>(guests: impl IntoIterator<Item = G>) -> Self {
        Self(Arc::new(Settings {
            guests: guests.into_iter().map(Into::into).collect(),
            policy: Policy::new(HideDetails),
            find_addr: FindAddr::Extension,
            folds_underscores: false,
        }))
    }

    /// The response that a client gets when a guest fails closed. [`HideDetails`] by default.
    #[must_use]
    pub fn failure_policy(mut self, policy: impl FailurePolicy) -> Self {
        self.settings().policy = Policy::new(policy);
        self
    }

    /// Where [`call`](Self::call) finds the client's address. By default in the extension
    /// [`SourceAddr`](crate::SourceAddr).
    #[must_use]
    pub fn source_addr(
        mut self,
        find: impl Fn(&Extensions) -> Option<SocketAddr> + Send + Sync + 'static,
    ) -> Self {
        self.settings().find_addr = FindAddr::Other(Arc::new(find));
        self
    }

    /// Lets `_` in names of request headers count as `-` when a guest sets or removes one; see
    /// [`HttpHost::fold_underscores`].
    #[must_use]
    pub fn fold_underscores(mut self) -> Self {
        self.settings().folds_underscores = true;
        self
    }

    fn settings(&mut self) -> &mut Settings {
        Arc::make_mut(&mut self.0)
    }

    /// Whether it has no guests.
    pub fn is_empty(&self) -> bool {
        self.0.guests.is_empty()
    }

    /// The guests, the first outermost.
    pub fn guests(&self) -> &[ChainGuest] {
        &self.0.guests
    }

    /// Takes a request through the guests to `next`, and the response back through them.
    ///
    /// Guests that have nothing to wait for run within this call. `next` is called once, or not at all when a guest
    /// answers the request or fails. Its error passes through, and tells the guests that there is no response. Dropping
    /// the future ends the exchange: a guest that runs loses its instance, and the others clean up, the innermost
    /// first.
    ///
    /// # Errors
    /// The future gives the error of `next`. A guest that fails makes a response, see
    /// [`failure_policy`](Self::failure_policy).
    #[inline]
    pub fn call<B, N, F, R, E>(&self, request: Request<B>, next: N) -> ChainFuture<N, F, ()>
    where
        B: HttpBody<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
        N: FnOnce(Request<Body>) -> F,
        F: Future<Output = Result<Response<R>, E>>,
    {
        let source_addr = self.0.find_addr.find(request.extensions());
        self.call_observed(request, source_addr, (), next)
    }

    /// The same for a client whose address is known, with an observer of each guest's part in the exchange.
    ///
    /// # Errors
    /// As with [`call`](Self::call).
    #[inline]
    pub fn call_observed<B, N, F, R, E, O>(
        &self,
        request: Request<B>,
        source_addr: Option<SocketAddr>,
        mut observer: O,
        next: N,
    ) -> ChainFuture<N, F, O>
    where
        B: HttpBody<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
        N: FnOnce(Request<Body>) -> F,
        F: Future<Output = Result<Response<R>, E>>,
        O: ChainObserver,
    {
        if self.is_empty() {
            let response = next(request.map(Body::new));
            return ChainFuture::new(Exchange::passed(response, Passed::default(), self.failures::<B>(None)));
        }
        let failures = self.failures(Some(&request));
        let mut passed = Passed::default();
        let forwarded = self.enter(request, source_addr, &mut observer, &mut passed, &failures);
        ChainFuture::new(match forwarded {
            // Written out, as the handler's future may hold the request, and would be copied once more on its way.
            Forwarded::Passed => {
                let response = next(passed.take_request());
                Exchange::passed(response, passed, failures)
            }
            Forwarded::Answered(response) => Exchange::answered(response, passed, failures),
            Forwarded::Waiting(waiting) => {
                Exchange::waiting(waiting, self.clone(), observer, next, passed, failures)
            }
        })
    }

    /// Passes the request to the guests, of which there is at least one.
    #[inline]
    pub(crate) fn enter<B, O>(
        &self,
        request: Request<B>,
        source_addr: Option<SocketAddr>,
        observer: &mut O,
        passed: &mut Passed<O::Guest>,
        failures: &Failures,
    ) -> Forwarded<O::Guest>
    where
        B: HttpBody<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
        O: ChainObserver,
    {
        let host = self.host(request, source_addr);
        self.forward(0, host, source_addr, observer, passed, failures)
    }

    #[inline]
    fn host<B>(&self, request: Request<B>, source_addr: Option<SocketAddr>) -> HttpHost
    where
        B: HttpBody<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let host = HttpHost::new(request, source_addr);
        if self.0.folds_underscores { host.fold_underscores() } else { host }
    }

    /// What the future of an exchange needs when a guest fails. Only a policy that asks for it gets a copy of the
    /// request's head.
    #[inline]
    pub(crate) fn failures<B>(&self, request: Option<&Request<B>>) -> Failures {
        Failures::new(&self.0.policy, request)
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

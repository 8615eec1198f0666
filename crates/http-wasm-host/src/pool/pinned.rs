//! The instance that stays pinned to a request that its guest has passed on.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::abi::{BodyKind, Phase};
use crate::error::Error;
use crate::host::Host;
use crate::pool::PooledInstance;
use crate::pool::progress::Progress;
use crate::pool::streaming::{Handled, until_committed};
use crate::rule::Rule;
use crate::run::call::CallStatus;
use crate::run::compute::{ComputePermit, QueueKind};
use crate::run::pin::NextResult;
use crate::stats::DropReason;

/// How long a clean-up call may take, including its waits. Nobody waits for it, but it holds an instance.
const CLEAN_UP_LIMIT: Duration = Duration::from_secs(5);

/// The log's addition to the error of a call that was abandoned.
pub(crate) const ABANDONED: &str = "; its client had gone";

/// An instance that stays pinned to a request that it has passed on.
///
/// The guest may keep state for the request under `req_ctx`, so the same instance must handle the response. If this is
/// dropped without a response (because the client has disconnected, or the next handler panicked), `handle_response` is
/// still called with `is_error` = 1, off the request path, so that the guest can clean up.
///
/// ```
/// use http_wasm_host::{BoxError, Engine, Guest, InMemoryHost, Outcome};
///
/// // A guest that lets every request pass.
/// let guest = Guest::<InMemoryHost>::load(&Engine::new()?, br#"(module
///   (memory (export "memory") 1)
///   (func (export "handle_request") (result i64) i64.const 1)
///   (func (export "handle_response") (param i32 i32)))"#)?;
///
/// # futures_executor::block_on(async {
/// let outcome = guest.handle_request(InMemoryHost::new("GET", "/orders")).await?;
/// let Outcome::Next(mut pinned) = outcome else { panic!("the guest lets the request pass") };
///
/// // The next handler takes the request, which the guest may have changed, and responds.
/// let host = pinned.host_mut();
/// host.status = if host.uri == b"/orders" { 200 } else { 404 };
/// host.response.set_body("[]");
///
/// // If it failed instead: `pinned.handle_error().await`.
/// let mut host = pinned.handle_response().await?.host;
/// assert_eq!((host.status, host.response.take_body().0), (200, b"[]".to_vec()));
/// # Ok::<(), BoxError>(())
/// # })?;
/// # Ok::<(), BoxError>(())
/// ```
#[must_use = "dropping it reports to the guest that there was no response"]
pub struct Pinned<H: Host> {
    instance: Option<PooledInstance<H>>,
}

impl<H: Host> Pinned<H> {
    pub(crate) fn new(instance: PooledInstance<H>) -> Self {
        Self { instance: Some(instance) }
    }

    /// Returns the host, to take the request for the next handler out of it and to put the response into it.
    #[inline]
    pub fn host_mut(&mut self) -> &mut H {
        let instance = self.instance.as_mut().expect("taken only when it is consumed");
        instance.host_mut().expect("between the phases there is an exchange")
    }

    /// Returns whether the guest may read the request again in `handle_response`, so that its head must stay in the
    /// host.
    #[inline]
    pub fn reads_request(&self) -> bool {
        self.instance.as_ref().is_some_and(|instance| instance.shared().reads_request)
    }

    /// Runs `handle_response` on the response that was put into the host, and returns the response for the client. If
    /// the guest has nothing to wait for, it runs within this call, otherwise in the returned future.
    ///
    /// The instance is released as soon as that response is available, however long its body takes, unless the guest
    /// [streams](Handled::stream).
    ///
    /// # Errors
    /// If the guest fails, unless it [fails open](crate::OnFailure::Open). There is no response then.
    #[inline]
    pub fn handle_response(mut self) -> Progress<Result<Handled<H>, Error>> {
        let mut instance = self.take();
        let called = match instance.join(NextResult::Response) {
            Ok(()) => instance.call(Phase::Response),
            Err(error) => Some(Err(error)),
        };
        match called {
            Some(called) => Progress::of(handled(instance, called)),
            // If this is never polled, it is dropped like any other pinned instance.
            None => {
                let (call, shared) = (instance.call_status(), instance.shared().clone());
                let committed = instance.committed();
                let running = Self::new(instance).on_fiber(call.clone());
                let Some(committed) = committed else { return Progress::waiting(running, call, shared) };
                let running = Progress::waiting(running, call.clone(), shared.clone());
                let running = until_committed(running, committed, shared.clone());
                Progress::waiting(running, call, shared)
            }
        }
    }

    /// Runs `handle_response` with `is_error` = 1, because the next handler returned no response, and waits for the
    /// guest to clean up.
    ///
    /// # Errors
    /// If the guest fails, whether or not it fails open: there is no response to continue with.
    pub async fn handle_error(mut self) -> Result<H, Error> {
        let mut instance = self.take();
        instance.call_with_error().await?;
        let host = instance.end()?;
        instance.recycle();
        Ok(host)
    }

    async fn on_fiber(mut self, call: CallStatus) -> Result<Handled<H>, Error> {
        let turn = self.instance.as_ref().map(|instance| instance.permit(Phase::Response));
        let permit = match turn {
            Some(turn) => turn.await,
            None => None,
        };
        let mut instance = self.instance.take().expect("taken only when it is consumed");
        let called = instance.call_on_fiber(Phase::Response, permit).await;
        if call.is_abandoned() {
            instance.join_call(CallStatus::default());
            called.as_ref().err().inspect(|error| error.log(ABANDONED));
        }
        handled(instance, called)
    }

    /// The name of the guest.
    pub(crate) fn guest_name(&self) -> Arc<str> {
        let instance = self.instance.as_ref().expect("taken only when it is consumed");
        instance.shared().name.clone()
    }

    /// Lets the guest clean up after a request that was abandoned.
    pub(crate) async fn abandoned(mut self) {
        if let Some(mut instance) = self.instance.take() {
            instance.drop_as(DropReason::Unclean);
            clean_up(instance).await;
        }
    }

    #[inline]
    fn take(&mut self) -> PooledInstance<H> {
        let mut instance = self.instance.take().expect("taken only when it is consumed");
        if instance.shared().broken.is(Rule::SameInstance) {
            instance.swap();
        }
        instance
    }
}

/// Finishes an exchange once `handle_response` has returned or failed: returns the response, and releases the instance.
#[inline(always)]
fn handled<H: Host>(mut instance: PooledInstance<H>, called: Result<(), Error>) -> Result<Handled<H>, Error> {
    match called.and_then(|()| instance.end()) {
        Ok(host) => {
            instance.recycle();
            Ok(Handled { host, error: None, stream: None })
        }
        Err(error) => {
            instance.drop_as(DropReason::of(&error));
            match instance.undo(BodyKind::Response, &error) {
                Some(host) => Ok(Handled { host, error: Some(error), stream: None }),
                None => Err(error),
            }
        }
    }
}

impl<H: Host> PooledInstance<H> {
    /// Waits for a compute permit for a call of this instance, if the call needs one.
    pub(crate) fn permit(&self, phase: Phase) -> impl Future<Output = Option<ComputePermit>> + Send + use<H> {
        let shared = self.shared().clone();
        async move { shared.permit(phase, QueueKind::Pinned).await }
    }

    /// Calls `handle_response` for a request that got no response.
    async fn call_with_error(&mut self) -> Result<(), Error> {
        let called = match self.join(NextResult::Error) {
            Ok(()) => match self.call(Phase::Response) {
                Some(called) => called,
                None => {
                    let turn = self.permit(Phase::Response);
                    let permit = turn.await;
                    self.call_on_fiber(Phase::Response, permit).await
                }
            },
            Err(error) => Err(error),
        };
        called.inspect_err(|error| self.drop_as(DropReason::of(error)))
    }
}

impl<H: Host> Drop for Pinned<H> {
    fn drop(&mut self) {
        if let Some(mut instance) = self.instance.take() {
            // The reason if anything prevents the clean-up from finishing: a full queue, a time limit, a shutdown.
            instance.drop_as(DropReason::Unclean);
            if let Some(host) = instance.host_mut() {
                host.detach();
            }
            let background = instance.shared().engine.background().clone();
            background.spawn(Box::pin(clean_up(instance)));
        }
    }
}

async fn clean_up<H: Host>(mut instance: PooledInstance<H>) {
    let background = instance.shared().engine.background().clone();
    let cleaned = background.within(CLEAN_UP_LIMIT, instance.call_with_error()).await;
    match cleaned {
        Some(Ok(())) => {
            let _host = instance.end();
            instance.recycle();
        }
        Some(Err(error)) => error.log(""),
        None => tracing::warn!(guest = &*instance.shared().name, "clean-up took too long; instance dropped"),
    }
}

impl<H: Host> fmt::Debug for Pinned<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let req_ctx = self.instance.as_ref().map(|instance| instance.pin.req_ctx);
        f.debug_struct("Pinned").field("req_ctx", &req_ctx).finish_non_exhaustive()
    }
}

//! The first of a guest's two calls: gets an instance for a request, and handles the outcome.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use super::{Guest, Handle};
use crate::abi::{BodyKind, Phase};
use crate::engine::Scarce;
use crate::error::Error;
use crate::exchange::Committed;
use crate::failure::OnFailure;
use crate::host::Host;
use crate::message::{Outgoing, StreamWriter};
use crate::pool::PooledInstance;
use crate::pool::outcome::{Outcome, until_committed};
use crate::pool::pinned::{ABANDONED, Pinned};
use crate::pool::progress::Progress;
use crate::pool::start_queue::Acquired;
use crate::pool::streaming::poll_trailers;
use crate::run::call::{CallStatus, Stage};
use crate::run::compute::{ComputePermit, QueueKind};
use crate::run::pin::Next;
use crate::run::shared::Shared;
use crate::stats::DropReason;

impl<H: Host> Guest<H> {
    /// Runs `handle_request` on an idle or a new instance: within this call if the guest has nothing to wait for,
    /// otherwise in the returned future.
    ///
    /// Dropping the future abandons the call; see [`Progress::abandon`]. A guest that need not wait runs on the stack
    /// of the calling thread, of which it may use [`guest_stack_bytes`](crate::EngineBuilder::guest_stack_bytes): leave
    /// it that much.
    ///
    /// # Errors
    /// If no instance can be created or the guest fails, unless it [fails open](crate::OnFailure::Open). Other requests
    /// are not affected.
    #[inline]
    pub fn handle_request(&self, host: H) -> Progress<Result<Outcome<H>, Error>> {
        let Some(instance) = self.0.idle(host.is_sheddable()) else {
            return self.on_new_instance(host);
        };
        if instance.shared().needs_permit(Phase::Request) {
            return self.call_with_permit(instance, host);
        }
        self.on_instance(instance, host, None)
    }

    /// Calls an idle instance, with a permit if its guest is heavy.
    #[inline(always)]
    fn on_instance(
        &self,
        mut instance: PooledInstance<H>,
        host: H,
        permit: Option<ComputePermit>,
    ) -> Progress<Result<Outcome<H>, Error>> {
        instance.shared().checked_out(true);
        instance.begin(host);
        match instance.call(Phase::Request) {
            Some(called) => Progress::of(decided(instance, called)),
            None => {
                let (call, shared) = (instance.call_status(), instance.shared().clone());
                let committed = instance.committed();
                let running = on_fiber(Untouched(Some(instance)), call.clone(), permit);
                match committed {
                    None => Progress::waiting(running, call, shared),
                    Some(committed) => {
                        let streamed = streamed(running, committed, call.clone(), shared.clone());
                        Progress::waiting(streamed, call, shared)
                    }
                }
            }
        }
    }

    /// Calls an idle instance of a heavy guest if a permit is free. Otherwise returns it, since waiting requests hold
    /// no instance.
    #[cold]
    fn call_with_permit(&self, instance: PooledInstance<H>, host: H) -> Progress<Result<Outcome<H>, Error>> {
        match instance.shared().calls.compute.queue.try_acquire() {
            Some(permit) => self.on_instance(instance, host, Some(permit)),
            None => {
                instance.recycle();
                self.on_new_instance(host)
            }
        }
    }

    #[cold]
    fn on_new_instance(&self, host: H) -> Progress<Result<Outcome<H>, Error>> {
        let (call, shared) = (CallStatus::default(), self.0.factory.shared().clone());
        Progress::waiting(self.clone().find_instance(host, call.clone()), call, shared)
    }

    /// Waits for the request's permit, if the guest is heavy, and for an instance.
    async fn find_instance(self, mut host: H, call: CallStatus) -> Result<Outcome<H>, Error> {
        let shared = self.0.factory.shared();
        let is_heavy = shared.needs_permit(Phase::Request);
        if is_heavy || self.0.factory.startup().functions.any() {
            host.detach();
        }
        let permit = shared.permit(Phase::Request, QueueKind::New).await;
        let sheddable = host.is_sheddable();
        // Without a wait, no instance can have been returned since the last look.
        let idle = if is_heavy { self.0.idle(sheddable) } else { None };
        let obtained = match idle {
            Some(instance) => {
                shared.checked_out(true);
                Ok(instance)
            }
            None => self.0.acquire(sheddable, &call).await,
        };
        let mut instance = match obtained {
            Ok(instance) => instance,
            Err(error) => match shared.on_failure {
                OnFailure::Open => return Ok(Outcome::Bypassed { host, error }),
                OnFailure::Closed => return Err(error),
            },
        };
        if call.is_abandoned() {
            // The start-up was worth finishing: the instance is kept.
            instance.recycle();
            return Ok(Outcome::Respond(host));
        }
        instance.join_call(call.clone());
        instance.begin(host);
        match instance.call(Phase::Request) {
            Some(called) => decided(instance, called),
            None => {
                let committed = instance.committed();
                let running = on_fiber(Untouched(Some(instance)), call.clone(), permit);
                match committed {
                    None => running.await,
                    Some(committed) => streamed(running, committed, call, shared.clone()).await,
                }
            }
        }
    }
}

impl<H: Host> Handle<H> {
    /// An instance for a request that found none idle: a new one, or one that is returned before the request may create
    /// one.
    async fn acquire(&self, sheddable: bool, call: &CallStatus) -> Result<PooledInstance<H>, Error> {
        let Self { factory, pool, .. } = self;
        let shared = factory.shared();
        // Sheddable requests are rejected at once, since trying costs more.
        if sheddable {
            self.check_room_for_sheddable()?;
        }
        let made = if factory.startup().functions.any() {
            match pool.start_queue().wait(shared.engine.background(), sheddable, || pool.take()).await {
                Acquired::Returned(instance) => {
                    // Others may have taken the rest in the meantime.
                    if sheddable && let Err(error) = self.check_room_for_sheddable() {
                        instance.recycle();
                        return Err(error);
                    }
                    shared.checked_out(true);
                    return Ok(instance);
                }
                Acquired::Permit(permit) => {
                    shared.checked_out(false);
                    call.set_stage(Stage::Running);
                    let made = permit.run(factory.create(sheddable)).await;
                    call.set_stage(Stage::Outside);
                    made
                }
            }
        } else {
            shared.checked_out(false);
            factory.create(sheddable).await
        };
        made.map(|instance| pool.add(instance))
    }

    /// An idle instance for a request, if there is one.
    #[inline]
    fn idle(&self, sheddable: bool) -> Option<PooledInstance<H>> {
        if sheddable && self.room_for_sheddable().is_err() { None } else { self.pool.take() }
    }

    /// Whether a sheddable request may have an instance, and leaves enough for others. If not, says what is short.
    fn room_for_sheddable(&self) -> Result<(), Scarce> {
        let memory = self.factory.shared().engine.memory();
        memory.has_room_for_sheddable(self.facts.memory_bytes, || self.pool.idle())
    }

    /// The same, with the error for the request.
    fn check_room_for_sheddable(&self) -> Result<(), Error> {
        self.room_for_sheddable().map_err(|scarce| {
            let shared = self.factory.shared();
            let memory = shared.engine.memory();
            memory.fails(scarce);
            let message = "there is no memory for another instance".into();
            Error::unavailable(shared.name.clone(), message, Duration::ZERO).starved(&memory.shortage(scarce))
        })
    }
}

/// An instance whose guest hasn't seen the request yet. If the call is never polled, it returns to the pool unchanged.
struct Untouched<H: Host>(Option<PooledInstance<H>>);

impl<H: Host> Drop for Untouched<H> {
    fn drop(&mut self) {
        if let Some(mut instance) = self.0.take() {
            let _host = instance.end();
            instance.recycle();
        }
    }
}

/// Calls `handle_request` on a fiber. If the guest is heavy and has no `permit` yet, this waits for one.
async fn on_fiber<H: Host>(
    mut ready: Untouched<H>,
    call: CallStatus,
    mut permit: Option<ComputePermit>,
) -> Result<Outcome<H>, Error> {
    let turn = ready.0.as_ref().filter(|_| permit.is_none()).map(|instance| instance.permit(Phase::Request));
    if let Some(turn) = turn {
        permit = turn.await;
    }
    let mut instance = ready.0.take().expect("taken only here");
    let called = instance.call_on_fiber(Phase::Request, permit).await;
    if let Some(body) = instance.streamed_request() {
        // Without a receiver there is nothing to wait for.
        call.set_stage(Stage::Waiting);
        end_body(&mut instance, &body, &called).await;
        call.set_stage(Stage::Outside);
    }
    if !call.is_abandoned() {
        return decided(instance, called);
    }
    instance.join_call(CallStatus::default());
    match decided(instance, called) {
        Ok(Outcome::Next(pinned)) => {
            let name = pinned.guest_name();
            pinned.abandoned().await;
            Err(Error::unavailable(name, "its client had gone".into(), Duration::ZERO))
        }
        Ok(outcome) => {
            if let Outcome::Bypassed { error, .. } = &outcome {
                error.log(ABANDONED);
            }
            Ok(outcome)
        }
        Err(error) => {
            error.log(ABANDONED);
            Err(error)
        }
    }
}

/// The same for a guest that may write the request while it is sent.
fn streamed<H: Host>(
    running: impl Future<Output = Result<Outcome<H>, Error>> + Send + 'static,
    committed: Arc<Committed<H>>,
    call: CallStatus,
    shared: Arc<Shared>,
) -> impl Future<Output = Result<Outcome<H>, Error>> + Send {
    let running = Progress::waiting(running, call.clone(), shared.clone());
    until_committed(running, committed, call, shared)
}

/// Ends the body of a request that has been sent while the guest wrote it, once the guest has returned or failed.
async fn end_body<H: Host>(
    instance: &mut PooledInstance<H>,
    body: &StreamWriter,
    called: &Result<(), Error>,
) {
    let proceeds = instance.pin.next == Next::Proceed;
    let Some(host) = instance.host_mut() else { return };
    let end = match called {
        Ok(()) if proceeds => {
            let trailers = poll_fn(|cx| match body.is_closed() {
                true => Poll::Ready(Ok(None)),
                false => poll_trailers(host, BodyKind::Request, cx),
            });
            trailers.await
        }
        Ok(()) => Err("the guest that wrote this body has responded itself".into()),
        Err(_) => Err("the guest that wrote this body has failed".into()),
    };
    // Nothing of the original is wanted any more.
    host.set_body(BodyKind::Request, Outgoing::default());
    body.end(end);
}

/// Finishes the call of `handle_request` once it has returned or failed: returns its outcome, and keeps or drops the
/// instance.
#[inline(always)]
fn decided<H: Host>(mut instance: PooledInstance<H>, called: Result<(), Error>) -> Result<Outcome<H>, Error> {
    match called {
        Ok(()) if instance.pin.next == Next::Proceed => Ok(Outcome::Next(Pinned::new(instance))),
        Ok(()) => {
            let host = instance.end()?;
            instance.recycle();
            Ok(Outcome::Respond(host))
        }
        Err(error) => {
            instance.drop_as(DropReason::of(&error));
            match instance.undo(BodyKind::Request, &error) {
                Some(host) => Ok(Outcome::Bypassed { host, error }),
                None => Err(error),
            }
        }
    }
}

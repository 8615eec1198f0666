//! Follows the instances of a guest.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use http_wasm_tower::{Argument, CallResult, Phase, TraceEvent, TracedCall, Tracer};

use super::event::{CallEvent, Data, Event, Failure, Outcome};
use super::exchange::Exchange;
use super::log::{GuestOrigin, InstanceLog};
use super::recorder::Recorder;

/// Locks for the instances of one guest, so that requests seldom wait for each other.
const SHARDS: usize = 16;

/// Keeps the logs of a guest's instances.
pub(crate) struct GuestTracer {
    recorder: Arc<Recorder>,
    guest: Arc<GuestOrigin>,
    shards: [Mutex<HashMap<u64, Followed>>; SHARDS],
}

/// An instance.
struct Followed {
    log: Arc<InstanceLog>,
    /// The exchange that it serves, if that is recorded.
    exchange: Weak<Exchange>,
}

impl GuestTracer {
    pub(crate) fn new(recorder: Arc<Recorder>, guest: GuestOrigin) -> Self {
        Self { recorder, guest: Arc::new(guest), shards: Default::default() }
    }

    fn shard(&self, instance: u64) -> MutexGuard<'_, HashMap<u64, Followed>> {
        let shard = &self.shards[instance as usize % SHARDS];
        shard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn log(&self, instance: u64) -> Option<Arc<InstanceLog>> {
        self.shard(instance).get(&instance).map(|followed| followed.log.clone())
    }

    fn push(&self, instance: u64, event: Event) {
        if let Some(log) = self.log(instance) {
            log.push(event);
        }
    }

    /// The instance gets the request or the response of an exchange.
    fn entered(&self, instance: u64, trace_id: u64, event: Event) {
        let mut shard = self.shard(instance);
        let Some(followed) = shard.get_mut(&instance) else { return };
        let log = followed.log.clone();
        let at = log.push(event);
        if let Some(exchange) = self.recorder.exchange(trace_id) {
            followed.exchange = Arc::downgrade(&exchange);
            drop(shard);
            exchange.entered(&log, at);
        } else {
            followed.exchange = Weak::new();
        }
    }

    fn returned(&self, instance: u64, event: Event) {
        let (log, exchange) = match self.shard(instance).get(&instance) {
            Some(followed) => (followed.log.clone(), followed.exchange.upgrade()),
            None => return,
        };
        log.push(event);
        if let Some(exchange) = exchange {
            exchange.returned(&log);
        }
    }
}

impl Tracer for GuestTracer {
    fn event(&self, instance: u64, event: &TraceEvent<'_>) {
        match event {
            TraceEvent::Created => {
                let log = self.recorder.log(&self.guest);
                self.shard(instance).insert(instance, Followed { log, exchange: Weak::new() });
            }
            TraceEvent::Started { error } => {
                self.push(instance, Event::Started { failure: error.map(Failure::from) });
            }
            TraceEvent::Entered { phase, trace_id, req_ctx, is_error } => {
                let function = Cow::Borrowed(function(*phase));
                let (req_ctx, is_error) = (*req_ctx, *is_error);
                self.entered(
                    instance,
                    *trace_id,
                    Event::Entered { function, req_ctx, is_error, recorded: false },
                );
            }
            TraceEvent::HostCall(call) => {
                if let Some(call) = host_call(call) {
                    self.push(instance, Event::Call(Box::new(call)));
                }
            }
            TraceEvent::WasiCall(call) => {
                let Some(outcome) = outcome(&call.result) else { return };
                let written = call.written.iter().map(|(offset, bytes)| (*offset, Data::from(*bytes)));
                let passed = (!call.passed.is_empty()).then(|| Data::from(&*call.passed));
                self.push(
                    instance,
                    Event::Call(Box::new(CallEvent {
                        function: Cow::Borrowed(call.function),
                        args: call.args.to_vec(),
                        passed: passed.into_iter().collect(),
                        outcome,
                        written: written.collect(),
                        redacted: false,
                    })),
                );
            }
            TraceEvent::Growth(growth) => {
                let (table, granted) = (growth.is_table, growth.granted);
                self.push(instance, Event::Growth { table, from: growth.from, to: growth.to, granted });
            }
            TraceEvent::GrowthFailed => {
                if let Some(log) = self.log(instance) {
                    log.growth_failed();
                }
            }
            TraceEvent::Returned { proceeds, req_ctx, error, .. } => {
                let (proceeds, req_ctx) = (*proceeds, *req_ctx);
                self.returned(
                    instance,
                    Event::Returned { proceeds, req_ctx, failure: error.map(Failure::from) },
                );
            }
            TraceEvent::Dropped => {
                let dropped = self.shard(instance).remove(&instance);
                drop(dropped);
            }
            _ => {}
        }
    }

    fn is_done(&self, instance: u64) -> bool {
        self.log(instance).is_some_and(|log| log.is_full())
    }
}

fn function(phase: Phase) -> &'static str {
    match phase {
        Phase::Request => "handle_request",
        Phase::Response => "handle_response",
    }
}

/// A call of the ABI, unless the guest has to wait for its answer: then there will be another event.
fn host_call(call: &TracedCall<'_>) -> Option<CallEvent> {
    let outcome = outcome(&call.result)?;
    let passed = call.arguments().filter_map(|(_, argument)| match argument {
        Argument::Bytes(bytes) => Some(Data::from(bytes)),
        _ => None,
    });
    let passed = passed.collect();
    let written = match (call.argument("buf"), call.written()) {
        (Some(Argument::Buffer { offset, .. }), written) if !written.is_empty() => {
            vec![(offset, Data::from(written))]
        }
        _ => Vec::new(),
    };
    Some(CallEvent {
        function: Cow::Borrowed(call.function.name),
        args: call.args.iter().map(|arg| (*arg).into()).collect(),
        passed,
        outcome,
        written,
        redacted: false,
    })
}

fn outcome(result: &CallResult) -> Option<Outcome> {
    match result {
        CallResult::Returned(value) => Some(Outcome::Returned(*value)),
        CallResult::Trapped(reason) => Some(Outcome::Trapped(reason.clone())),
        CallResult::Waits => None,
    }
}

//! Traces the instances of a guest.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;

use http_wasm_tower::{Argument, CallResult, InstanceTracer, TraceEvent, TracedCall, TracedWasiCall, Tracer};

use super::encode::{CallEntry, Entry};
use super::event::Failure;
use super::exchange::Exchange;
use super::log::{GuestOrigin, InstanceLog};
use super::recorder::Recorder;
use crate::inspect::InstanceTracer as InspectedInstances;

/// Writes the logs of a guest's instances.
pub(crate) struct GuestTracer {
    recorder: Arc<Recorder>,
    guest: Arc<GuestOrigin>,
    /// The inspector, which traces them as well.
    inspected: Option<Arc<InspectedInstances>>,
}

/// An instance.
struct Followed {
    recorder: Arc<Recorder>,
    log: Arc<InstanceLog>,
    created: Instant,
    /// The recorded exchange that it serves.
    exchange: Mutex<Weak<Exchange>>,
    /// The inspector, and the instance's number there.
    inspected: Option<(Arc<InspectedInstances>, u64)>,
}

impl GuestTracer {
    pub(crate) fn new(
        recorder: Arc<Recorder>,
        guest: GuestOrigin,
        inspected: Option<InspectedInstances>,
    ) -> Self {
        Self { recorder, guest: Arc::new(guest), inspected: inspected.map(Arc::new) }
    }
}

impl Tracer for GuestTracer {
    fn event(&self, _: u64, _: &TraceEvent<'_>) {}

    fn follow(&self, instance: u64) -> Option<Box<dyn InstanceTracer>> {
        Some(Box::new(Followed {
            recorder: self.recorder.clone(),
            log: self.recorder.log(&self.guest, instance),
            created: Instant::now(),
            exchange: Mutex::default(),
            inspected: self.inspected.clone().map(|inspected| (inspected, instance)),
        }))
    }
}

impl Followed {
    fn exchange(&self) -> MutexGuard<'_, Weak<Exchange>> {
        self.exchange.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl InstanceTracer for Followed {
    fn event(&self, event: &TraceEvent<'_>) {
        let log = &self.log;
        if let Some((inspected, instance)) = &self.inspected {
            inspected.event(*instance, event);
        }
        match event {
            TraceEvent::Started { error } => {
                log.push(&Entry::Started { failure: error.map(Failure::from) });
                log.started(self.created.elapsed());
            }
            TraceEvent::Entered { phase, trace_id, req_ctx, is_error } => {
                let (phase, req_ctx, is_error) = (*phase, *req_ctx, *is_error);
                let at = log.push(&Entry::Entered { phase, req_ctx, is_error });
                let exchange = self.recorder.exchange(*trace_id);
                *self.exchange() = exchange.as_ref().map(Arc::downgrade).unwrap_or_default();
                if let Some(exchange) = exchange {
                    exchange.entered(log, at);
                }
            }
            TraceEvent::HostCall(call) => push_host_call(log, call),
            TraceEvent::WasiCall(call) => push_wasi_call(log, call),
            TraceEvent::Growth(growth) => {
                let (table, granted) = (growth.is_table, growth.granted);
                log.push(&Entry::Growth { table, from: growth.from, to: growth.to, granted });
            }
            TraceEvent::GrowthFailed => drop(log.push(&Entry::GrowthFailed)),
            TraceEvent::Returned { proceeds, req_ctx, error, .. } => {
                let (proceeds, req_ctx) = (*proceeds, *req_ctx);
                log.push(&Entry::Returned { proceeds, req_ctx, failure: error.map(Failure::from) });
                let exchange = self.exchange().upgrade();
                if let Some(exchange) = exchange {
                    exchange.returned(log, error.is_some());
                }
            }
            _ => {}
        }
    }

    fn is_done(&self) -> bool {
        self.log.is_done()
    }
}

/// The maximum number of parameters of a function of the ABI.
const PARAMS: usize = 8;

/// Adds a call of the ABI, unless the guest has to wait for its result: then there will be another event.
fn push_host_call(log: &InstanceLog, call: &TracedCall<'_>) {
    let Some(outcome) = outcome(&call.result) else { return };
    let mut args = [0; PARAMS];
    let args = &mut args[..call.args.len().min(PARAMS)];
    for (arg, its) in args.iter_mut().zip(call.args) {
        *arg = (*its).into();
    }
    let (mut passed, mut count, mut buffer) = ([&[][..]; PARAMS], 0, None);
    for (_, argument) in call.arguments() {
        match argument {
            Argument::Bytes(bytes) if count < PARAMS => {
                passed[count] = bytes;
                count += 1;
            }
            Argument::Buffer { offset, .. } => buffer = Some((offset, call.written())),
            _ => {}
        }
    }
    let written = buffer.as_ref().filter(|(_, bytes)| !bytes.is_empty());
    log.push(&Entry::Call(CallEntry {
        function: call.function.name,
        args,
        passed: &passed[..count],
        outcome,
        written: written.map(std::slice::from_ref).unwrap_or_default(),
    }));
}

fn push_wasi_call(log: &InstanceLog, call: &TracedWasiCall<'_>) {
    let Some(outcome) = outcome(&call.result) else { return };
    let passed = [&*call.passed];
    log.push(&Entry::Call(CallEntry {
        function: call.function,
        args: call.args,
        passed: if call.passed.is_empty() { &[] } else { &passed },
        outcome,
        written: &call.written,
    }));
}

fn outcome(result: &CallResult) -> Option<Result<u64, &str>> {
    match result {
        CallResult::Returned(value) => Some(Ok(*value)),
        CallResult::Trapped(reason) => Some(Err(reason)),
        CallResult::Waits => None,
    }
}

//! Traces host calls.

use std::task::Poll;
use std::time::Instant;

use wasmtime::Caller;

use super::effect;
use crate::abi::{FUNCTIONS, Features, HeaderKind, Phase};
use crate::error::Reason;
use crate::host::Host;
use crate::run::hook::Hook;
use crate::run::memory;
use crate::run::state::State;
use crate::trace::{CallResult, TraceEvent, TracedCall};

/// Observes a guest's host calls. For `()`, no code is generated.
pub(crate) trait OnHostCall: Clone + Send + Sync + 'static {
    /// State that is kept while the function runs.
    type Start;

    fn begin<H: Host>(
        &self,
        caller: &mut Caller<'_, State<H>>,
        function: &'static str,
        args: &[u32],
    ) -> Self::Start;

    fn end<H: Host>(
        &self,
        caller: &mut Caller<'_, State<H>>,
        start: Self::Start,
        function: &'static str,
        args: &[u32],
        answer: Result<Poll<u64>, &Reason>,
    );
}

impl OnHostCall for () {
    type Start = ();

    #[inline(always)]
    fn begin<H: Host>(&self, _: &mut Caller<'_, State<H>>, _: &'static str, _: &[u32]) {}

    #[inline(always)]
    fn end<H: Host>(
        &self,
        _: &mut Caller<'_, State<H>>,
        (): (),
        _: &'static str,
        _: &[u32],
        _: Result<Poll<u64>, &Reason>,
    ) {
    }
}

/// State of a call that is kept while its function runs.
pub(crate) struct CallStart {
    started: Instant,
    /// The argument `name`, if the function writes to memory and could overwrite it.
    name: Option<Vec<u8>>,
    /// Whether the header to remove exists.
    found: bool,
}

impl OnHostCall for Hook {
    type Start = CallStart;

    fn begin<H: Host>(
        &self,
        caller: &mut Caller<'_, State<H>>,
        function: &'static str,
        args: &[u32],
    ) -> CallStart {
        let (mut name, mut found) = (None, true);
        if let ("get_header_values" | "remove_header", &[kind, offset, len, ..]) = (function, args)
            && let Ok((memory, state)) = memory::split(caller)
        {
            name = memory::read(memory, "name", offset, len).map(<[u8]>::to_vec).ok();
            if function == "remove_header"
                && let (Some(name), Some(kind)) = (&name, HeaderKind::from_abi(kind))
                && let Some(exchange) = state.exchange.ongoing()
            {
                // Trailers may not have arrived yet.
                found = kind.is_trailers();
                exchange.header_names(kind, |its| found |= its.eq_ignore_ascii_case(name));
            }
        }
        CallStart { started: Instant::now(), name, found }
    }

    fn end<H: Host>(
        &self,
        caller: &mut Caller<'_, State<H>>,
        CallStart { started, name, found }: CallStart,
        function: &'static str,
        args: &[u32],
        answer: Result<Poll<u64>, &Reason>,
    ) {
        let took = started.elapsed();
        let Some(function) = FUNCTIONS.iter().find(|its| its.name == function) else { return };
        let result = match answer {
            Ok(Poll::Ready(value)) => CallResult::Returned(value),
            Ok(Poll::Pending) => CallResult::Waits,
            Err(reason) => CallResult::Trapped(reason.to_string()),
        };
        let (phase, features) = situation(caller.data());
        let traced = caller.data_mut().traced.take();
        let memory = memory::split(caller).map_or(&[][..], |(memory, _)| &*memory);
        let name = name.as_deref();
        let explain = effect::note;
        let call = TracedCall { function, args, phase, features, result, took, memory, name, found, explain };
        if let Some(traced) = &traced {
            traced.event(&TraceEvent::HostCall(call));
        }
        caller.data_mut().traced = traced;
    }
}

fn situation<H: Host>(state: &State<H>) -> (Option<Phase>, Features) {
    match state.exchange.ongoing() {
        Some(exchange) => (Some(exchange.phase()), exchange.features()),
        None => (None, state.features),
    }
}

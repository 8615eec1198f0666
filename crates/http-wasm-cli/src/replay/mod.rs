//! `http-wasm replay`: runs the guests of recorded exchanges again, on the recorded host calls.

mod answers;
mod args;
mod inputs;
mod report;
mod unrecorded;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http_wasm_gateway::recording::{Event, Failure as GuestFailure, GuestRecord, Har};
use http_wasm_host::{Engine, ReplayedInstance, ReplayedModule};

use self::answers::{END, Script};
use self::report::{Report, is_same_place};
use self::unrecorded::Messages;
use crate::args::ArgsError;
use crate::failure::{Failure, plain};
use crate::output::print;

pub(crate) use self::args::ReplayArgs;

/// The stack that guests run on: twice as large as the engine lets them use.
const STACK_BYTES: usize = 16 * 1024 * 1024;

/// Replays the recording, and prints the differences.
pub(crate) fn run(args: ReplayArgs) -> Result<(), Failure> {
    let refused = |reason: String| ArgsError::flag("FILE", args.file.display(), reason);
    let bytes = std::fs::read(&args.file).map_err(|error| refused(plain(&error)))?;
    let har = Har::read(&bytes).map_err(refused)?;
    let Some(recorded) = har.log.recorded else {
        let reason = "it contains no host calls to replay: it is a HAR file, but not a recording \
                      of this gateway. `http-wasm run GUEST --har FILE` runs a guest on its request";
        return Err(refused(reason.to_owned()).into());
    };
    recorded.check().map_err(refused)?;
    let mut guests = recorded.guests;
    if let Some(exchange) = args.exchange {
        guests.retain_mut(|guest| keep_only(&mut guest.events, exchange));
        if guests.is_empty() {
            return Err(
                ArgsError::flag("--exchange", exchange, "the recording doesn't have it".to_owned()).into()
            );
        }
    }
    let mut names: Vec<_> = guests.iter().map(|guest| guest.name.clone()).collect();
    names.sort();
    names.dedup();
    if let Some(unknown) = args.unknown_guest(&names) {
        let reason = format!("the recording has the guests {}; write NAME=FILE", names.join(", "));
        return Err(ArgsError::flag("--guest", unknown, reason).into());
    }
    let is_only = names.len() == 1;
    let messages = Arc::new(Messages::new(har.log.entries));
    let engine = Engine::builder().slots(0).build()?;
    let (mut modules, mut reports) = (HashMap::new(), Vec::new());
    for guest in guests {
        let module = match modules.entry((guest.name.clone(), guest.sha256.clone())) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                let other = args.guest(&guest.name, is_only);
                entry.insert(GuestModule::load(&engine, &guest, other)?)
            }
        };
        reports.push(replay(guest, module, args.trace, messages.clone())?);
    }
    let text = reports.iter().map(|report| match args.json {
        true => serde_json::to_string(report).unwrap_or_default() + "\n",
        false => report.text(),
    });
    print(&text.collect::<String>())?;
    let differing = reports.iter().filter(|report| !report.is_same()).count();
    match differing {
        0 => Ok(()),
        failed => Err(Failure::Replayed { failed, all: reports.len() }),
    }
}

/// Removes what comes after this exchange, and forgets the others. Returns whether the exchange is there.
fn keep_only(events: &mut Vec<Event>, number: u32) -> bool {
    let is_of = |event: &Event| matches!(event, Event::Entered { exchange, .. } if *exchange == Some(number));
    let Some(last) = events.iter().rposition(is_of) else { return false };
    let after = events[last..].iter().position(|event| matches!(event, Event::Returned { .. }));
    if let Some(after) = after {
        events.truncate(last + after + 1);
    }
    for event in events.iter_mut().filter(|event| !is_of(event)) {
        if let Event::Entered { exchange, .. } = event {
            *exchange = None;
        }
    }
    true
}

/// The module to replay a guest with: the recorded file, or another one.
struct GuestModule {
    module: ReplayedModule,
    is_recorded: bool,
}

impl GuestModule {
    fn load(engine: &Engine, guest: &GuestRecord, other: Option<PathBuf>) -> Result<Self, Failure> {
        let path = match (&other, &guest.file) {
            (Some(path), _) => path.clone(),
            (None, Some(path)) => PathBuf::from(path),
            (None, None) => {
                let reason = format!("guest {}: its file wasn't recorded; pass it with --guest", guest.name);
                return Err(Failure::Other(reason));
            }
        };
        let wrong =
            |reason: String| Failure::Other(format!("guest {}: {}: {reason}", guest.name, path.display()));
        let bytes = std::fs::read(&path).map_err(|error| wrong(plain(&error)))?;
        let is_recorded = guest.is_loaded_from(&bytes);
        if other.is_none() && !is_recorded {
            let reason = "the file has changed since the recording; name the recorded one with --guest, or this one \
                          to see what it does differently";
            return Err(wrong(reason.to_owned()));
        }
        let deadline = Duration::from_millis(guest.deadline_ms);
        let module = ReplayedModule::load(engine, &guest.name, &bytes, deadline)?;
        Ok(Self { module, is_recorded })
    }
}

/// Replays one instance.
fn replay(
    guest: GuestRecord,
    module: &GuestModule,
    trace: bool,
    messages: Arc<Messages>,
) -> Result<Report, Failure> {
    let number = |event: &Event| match event {
        Event::Entered { exchange, .. } => *exchange,
        _ => None,
    };
    let mut recorded: Vec<_> = guest.events.iter().filter_map(number).collect();
    recorded.sort_unstable();
    recorded.dedup();
    let mut report = Report::new(guest.name, guest.instance, module.is_recorded, recorded);
    if let Some(reason) = guest.not_replayable {
        report.not_replayed = Some(reason);
        return Ok(report);
    }
    let script = Script::new(guest.events.into(), module.is_recorded, trace, messages);
    // The main thread's stack may be too small for a guest.
    let result = std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(STACK_BYTES);
        let result = thread.spawn_scoped(scope, || play(report, &module.module, script));
        result.map(|thread| thread.join())
    });
    match result {
        Ok(Ok(report)) => report,
        Ok(Err(_)) => Err(Failure::Other("the replay failed for an unknown reason".to_owned())),
        Err(error) => Err(Failure::Other(format!("cannot start a thread: {}", plain(&error)))),
    }
}

fn play(mut report: Report, module: &ReplayedModule, script: Script) -> Result<Report, Failure> {
    let mut instance = module.instance(script)?;
    let mut failures = Failures::default();
    let started = instance.start().err();
    let goes_on = failures.add(&mut instance, started);
    if goes_on {
        exchanges(&mut instance, &mut failures);
    }
    let script = instance.answers();
    (report.exchanges, report.calls) = (script.exchange, script.all_calls);
    (report.recorded_failure, report.replayed_failure) = (failures.recorded, failures.replayed);
    report.redacted = std::mem::take(&mut script.redacted);
    report.differences = std::mem::take(&mut script.differences);
    report.trace = script.trace.take();
    Ok(report)
}

/// Plays the exchanges that follow the start-up.
fn exchanges(instance: &mut ReplayedInstance<'_, Script>, failures: &mut Failures) {
    let (mut proceeds, mut own_ctx) = (true, 0);
    while let Some(Event::Entered { function, req_ctx, is_error, exchange }) =
        instance.answers().next().cloned()
    {
        let is_response = function == "handle_response";
        if is_response && !proceeds {
            instance.answers().skip_response();
            continue;
        }
        instance.answers().begin(&function, exchange);
        let error = if is_response {
            if own_ctx != req_ctx {
                let text = format!("req_ctx is {own_ctx}, but {req_ctx} was recorded");
                instance.answers().differs(0, text);
            }
            instance.handle_response(own_ctx, is_error).err()
        } else {
            match instance.handle_request() {
                Ok(decided) => {
                    (proceeds, own_ctx) = decided;
                    None
                }
                Err(error) => Some(error),
            }
        };
        failures.decided = (!is_response).then_some(proceeds);
        if !failures.add(instance, error) {
            return;
        }
    }
}

/// The recorded and the replayed failure.
#[derive(Default)]
struct Failures {
    recorded: Option<GuestFailure>,
    replayed: Option<GuestFailure>,
    /// What `handle_request` has just decided.
    decided: Option<bool>,
}

impl Failures {
    /// Compares the end of a call of the guest with the recording. Returns whether the instance continues.
    fn add(
        &mut self,
        instance: &mut ReplayedInstance<'_, Script>,
        error: Option<http_wasm_host::Error>,
    ) -> bool {
        let script = instance.answers();
        let end = script.end(error.is_some());
        let (recorded, proceeded) = match end {
            Some(Event::Started { failure }) => (failure, None),
            Some(Event::Returned { failure, proceeds, .. }) => (failure, Some(proceeds)),
            // The instance was dropped during the call, or the recording ends: there is nothing to compare with.
            _ => return false,
        };
        let replayed = error.map(|mut error| {
            error.locate();
            GuestFailure::from(&error)
        });
        match (&recorded, &replayed) {
            (None, None) => {
                if let (Some(decided), Some(proceeded)) = (self.decided.take(), proceeded)
                    && decided != proceeded
                {
                    let word = |proceeds| if proceeds { "proceeds" } else { "stops" };
                    let text =
                        format!("the request {}, but the recorded one {}", word(decided), word(proceeded));
                    script.differs(0, text);
                }
            }
            (Some(recorded), None) => script.differs(0, format!("recorded a failure: {}", recorded.message)),
            (None, Some(replayed)) => script.differs(0, format!("the guest fails: {}", replayed.message)),
            (Some(recorded), Some(replayed)) => {
                // Where a deadline stops a loop is a matter of timing.
                let places = recorded.kind == "deadline"
                    || recorded.backtrace.is_none()
                    || is_same_place(recorded.backtrace.as_deref(), replayed.backtrace.as_deref());
                if recorded.reason != replayed.reason && replayed.reason != END {
                    let text = format!("the guest fails: {}; recorded: {}", replayed.reason, recorded.reason);
                    script.differs(0, text);
                } else if !places {
                    script.differs(0, "the guest fails as recorded, but in a different place".to_owned());
                }
            }
        }
        let goes_on = recorded.is_none() && replayed.is_none();
        (self.recorded, self.replayed) = (recorded, replayed);
        goes_on
    }
}

//! `http-wasm replay`: runs the guests of a recorded exchange again, on the recorded host calls.

mod answers;
mod args;
mod inputs;
mod report;
mod unrecorded;

use std::path::PathBuf;
use std::time::Duration;

use http_wasm_gateway::recording::{Event, Failure as GuestFailure, GuestRecord, Har, HarEntry};
use http_wasm_host::{Engine, ReplayedInstance, ReplayedModule};
use sha2::{Digest as _, Sha256};

use self::answers::{END, Script};
use self::report::{Report, offsets};
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
        let reason = "it holds no host calls, so there is nothing to replay: it is a HAR file, but not a recording \
                      of this gateway. `http-wasm run GUEST --har FILE` runs a guest on its request";
        return Err(refused(reason.to_owned()).into());
    };
    recorded.check().map_err(refused)?;
    let names: Vec<_> = recorded.guests.iter().map(|guest| &*guest.name).collect();
    if let Some(unknown) = args.unknown_guest(&names) {
        let reason = format!("the recording has the guests {}; write NAME=FILE", names.join(", "));
        return Err(ArgsError::flag("--guest", unknown, reason).into());
    }
    let (is_only, entries) = (recorded.guests.len() == 1, har.log.entries);
    let mut reports = Vec::new();
    for guest in recorded.guests {
        let other = args.guest(&guest.name, is_only);
        reports.push(replay(guest, other, args.trace, &entries)?);
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

/// Replays one guest: the recorded file, or another one.
fn replay(
    guest: GuestRecord,
    other: Option<PathBuf>,
    trace: bool,
    entries: &[HarEntry],
) -> Result<Report, Failure> {
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
    let same_guest = sha256(&bytes) == guest.sha256;
    if other.is_none() && !same_guest {
        let reason = "the file has changed since the recording; name the recorded one with --guest, or this one to \
                      see what it does differently";
        return Err(wrong(reason.to_owned()));
    }
    if let Some(reason) = guest.not_replayable {
        return Ok(Report {
            guest: guest.name,
            not_replayed: Some(reason),
            same_guest,
            exchanges: 0,
            calls: 0,
            recorded_failure: None,
            replayed_failure: None,
            redacted: Vec::new(),
            differences: Vec::new(),
            trace: None,
        });
    }
    let engine = Engine::builder().slots(0).build()?;
    let deadline = Duration::from_millis(guest.deadline_ms);
    let module = ReplayedModule::load(&engine, &guest.name, &bytes, deadline)?;
    let script = Script::new(guest.events.into(), same_guest, trace, entries);
    let name = guest.name;
    // The main thread's stack may be too small for a guest.
    let played = std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(STACK_BYTES);
        let played = thread.spawn_scoped(scope, || play(&name, &module, script, same_guest));
        played.map(|thread| thread.join())
    });
    match played {
        Ok(Ok(report)) => report,
        Ok(Err(_)) => Err(Failure::Other("the replay failed for an unknown reason".to_owned())),
        Err(error) => Err(Failure::Other(format!("cannot start a thread: {}", plain(&error)))),
    }
}

fn play(name: &str, module: &ReplayedModule, script: Script, same_guest: bool) -> Result<Report, Failure> {
    let mut instance = module.instance(script)?;
    let mut failures = Failures::default();
    let started = instance.start().err();
    let goes_on = failures.add(&mut instance, started);
    if goes_on {
        exchanges(&mut instance, &mut failures);
    }
    let script = instance.answers();
    Ok(Report {
        guest: name.to_owned(),
        not_replayed: None,
        same_guest,
        exchanges: script.exchange,
        calls: script.all_calls,
        recorded_failure: failures.recorded,
        replayed_failure: failures.replayed,
        redacted: std::mem::take(&mut script.redacted),
        differences: std::mem::take(&mut script.differences),
        trace: script.trace.take(),
    })
}

/// Plays the exchanges that follow the start-up.
fn exchanges(instance: &mut ReplayedInstance<'_, Script>, failures: &mut Failures) {
    let (mut proceeds, mut own_ctx) = (true, 0);
    while let Some(Event::Entered { function, req_ctx, is_error, recorded }) =
        instance.answers().next().cloned()
    {
        let is_response = function == "handle_response";
        if is_response && !proceeds {
            instance.answers().skip_response();
            continue;
        }
        instance.answers().begin(&function, recorded);
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
            GuestFailure {
                kind: error.kind().name().to_owned(),
                reason: error.reason().to_owned(),
                message: error.to_string(),
                backtrace: error.backtrace().map(str::to_owned),
            }
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
                    || offsets(recorded.backtrace.as_deref()) == offsets(replayed.backtrace.as_deref());
                if recorded.reason != replayed.reason && replayed.reason != END {
                    let text = format!("the guest fails: {}; recorded: {}", replayed.reason, recorded.reason);
                    script.differs(0, text);
                } else if !places {
                    script.differs(0, "the guest fails as recorded, but in another place".to_owned());
                }
            }
        }
        let goes_on = recorded.is_none() && replayed.is_none();
        (self.recorded, self.replayed) = (recorded, replayed);
        goes_on
    }
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

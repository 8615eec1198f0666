//! Notes on calls that had no effect, where this is only known later in the exchange.

use std::collections::HashMap;

use http_wasm_tower::Phase;

use super::entry::{Answer, CallEntry, EntryKind};
use super::played::Played;

/// Adds the notes that follow from the whole exchange.
pub(crate) fn add(played: &mut Played) {
    let outcome = outcome(played);
    let answered = answered_headers(played);
    let mut calls = 0;
    let mut replaced = Replaced::default();
    let writes_request = played.entries.iter().any(|entry| match &entry.kind {
        EntryKind::Call(call) => call.function == "write_body" && call.changes() == Some("request"),
        _ => false,
    });
    for entry in &mut played.entries {
        let note = match &entry.kind {
            EntryKind::Entered { .. } => {
                calls = 0;
                None
            }
            EntryKind::Call(call) => {
                calls += 1;
                if writes_request && entry.note.as_deref().is_some_and(|note| note.starts_with("consumed")) {
                    entry.note = None;
                }
                replaced.on(call).or_else(|| on_early_call(call, outcome, &answered))
            }
            EntryKind::Returned { phase, proceeds, req_ctx, error: None, .. } => {
                on_return(*phase, *proceeds, *req_ctx, calls)
            }
            _ => None,
        };
        if entry.note.is_none() {
            entry.note = note;
        }
    }
}

/// How `handle_request` ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Proceeds,
    Stops,
    Fails,
}

fn outcome(played: &Played) -> Outcome {
    let ended = played.entries.iter().find_map(|entry| match &entry.kind {
        EntryKind::Returned { phase: Phase::Request, proceeds, error, .. } => {
            Some((*proceeds, error.is_some()))
        }
        _ => None,
    });
    match ended {
        Some((_, true)) | None => Outcome::Fails,
        Some((true, false)) => Outcome::Proceeds,
        Some((false, false)) => Outcome::Stops,
    }
}

/// The headers of the next handler's response, by name, with their values as the client gets them.
fn answered_headers(played: &Played) -> HashMap<String, Vec<String>> {
    let headers = played.response.iter().flat_map(|response| {
        let names = response.content.headers.keys();
        names.map(|name| (name.as_str().to_owned(), response.content.values(name.as_str())))
    });
    headers.collect()
}

/// A note on a call that changes a message in `handle_request`.
fn on_early_call(
    call: &CallEntry,
    outcome: Outcome,
    answered: &HashMap<String, Vec<String>>,
) -> Option<String> {
    if call.phase != Some(Phase::Request) || !call.succeeded() {
        return None;
    }
    let text = match (outcome, call.changes()?, call.function) {
        (Outcome::Stops, "request", _) => {
            "no effect: the guest answers the request itself, so the next handler isn't called"
        }
        (Outcome::Fails, ..) => {
            "no effect: the guest fails before handle_request returns, so the client gets an error"
        }
        (Outcome::Proceeds, "response", "set_status_code") => {
            "no effect: the request proceeds, so the next handler's status counts; return 0 to stop it, or set the \
             status in handle_response"
        }
        (Outcome::Proceeds, "response", "write_body") => {
            "these bytes come before the next handler's body, because the request proceeds; return 0 to answer it here"
        }
        (Outcome::Proceeds, "response", "set_header_value" | "add_header_value") => {
            let name = String::from_utf8_lossy(call.bytes_of("name")?).to_ascii_lowercase();
            let value = String::from_utf8_lossy(call.bytes_of("value")?).into_owned();
            let others = answered.get(&name).filter(|values| !values.contains(&value))?;
            return Some(format!(
                "replaced: the next handler's response has {name} too ({:?}); set it in handle_response with \
                 buffer_response",
                others.join(", ")
            ));
        }
        _ => return None,
    };
    Some(text.to_owned())
}

/// Bodies that are replaced before they have been read to the end.
#[derive(Default)]
struct Replaced {
    read_to_end: Vec<(Option<Phase>, &'static str)>,
    written: Vec<(Option<Phase>, &'static str)>,
}

impl Replaced {
    fn on(&mut self, call: &CallEntry) -> Option<String> {
        let message = match call.word("kind")? {
            "request" => "request",
            "response" => "response",
            _ => return None,
        };
        let which = (call.phase, message);
        match (call.function, &call.answer) {
            ("read_body", Some(Answer::Body { eof: true, .. })) => self.read_to_end.push(which),
            ("write_body", _) if call.succeeded() && !self.written.contains(&which) => {
                self.written.push(which);
                let has_original = call.phase == Some(Phase::Response) || message == "request";
                if has_original && !self.read_to_end.contains(&which) {
                    return Some(format!(
                        "this starts a new {message} body; the unread rest of the original is dropped"
                    ));
                }
            }
            _ => {}
        }
        None
    }
}

fn on_return(phase: Phase, proceeds: bool, req_ctx: u32, calls: usize) -> Option<String> {
    let text = match (phase, proceeds) {
        (Phase::Request, false) if req_ctx != 0 => {
            "stopped with a req_ctx, which is ignored: the result's low 32 bits are `next`, the high 32 are req_ctx; \
             were they swapped?"
        }
        (Phase::Request, false) if calls == 0 => {
            "stopped without calling the host: the client gets an empty 200; return 1 in the low 32 bits to proceed"
        }
        (Phase::Request, true) if calls == 0 => "the guest called no host function",
        _ => return None,
    };
    Some(text.to_owned())
}

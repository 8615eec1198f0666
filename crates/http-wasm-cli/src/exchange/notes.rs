//! Notes on calls that had no effect, where this is only known later in the exchange.

use std::collections::HashMap;

use http_wasm_tower::Phase;

use super::entry::{Answer, CallEntry, EntryKind};
use super::result::ExchangeResult;
use super::seen::Content;

/// Adds the notes that follow from the whole exchange.
pub(crate) fn add(result: &mut ExchangeResult) {
    let outcome = outcome(result);
    let answered = answered_headers(result);
    let added = Added::of(result);
    let encodings = [
        encoding(result.request.as_ref().map(|request| &request.content)),
        encoding(result.response.as_ref().map(|response| &response.content)),
    ];
    let status = result.response.as_ref().map(|response| response.status);
    let mut answered_with = None;
    let mut calls = 0;
    let mut replaced = Replaced::default();
    let writes_request = result.entries.iter().any(|entry| match &entry.kind {
        EntryKind::Call(call) => call.function == "write_body" && call.changes() == Some("request"),
        _ => false,
    });
    for entry in &mut result.entries {
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
                let early = || on_early_call(call, outcome, &answered);
                let compressed = || on_compressed_body(call, &encodings);
                let bodiless = || on_body_of(status, call, outcome);
                let note = bodiless().or_else(|| replaced.on(call)).or_else(early);
                note.or_else(compressed).or_else(|| added.on(call))
            }
            EntryKind::Answered { status } => {
                answered_with = *status;
                None
            }
            EntryKind::Returned { phase: Phase::Response, error: None, .. } => {
                on_response_ignored(calls, answered_with)
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

fn outcome(result: &ExchangeResult) -> Outcome {
    let ended = result.entries.iter().find_map(|entry| match &entry.kind {
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
fn answered_headers(result: &ExchangeResult) -> HashMap<String, Vec<String>> {
    let headers = result.response.iter().flat_map(|response| {
        let names = response.content.headers.keys();
        names.map(|name| (name.as_str().to_owned(), response.content.values(name.as_str())))
    });
    headers.collect()
}

/// The values that the guest has added to headers that the next handler got with other values as well, by name.
struct Added(HashMap<String, Vec<String>>);

impl Added {
    /// Headers that every party on the way adds to.
    const USUAL: [&str; 3] = ["forwarded", "via", "x-forwarded-for"];

    fn of(result: &ExchangeResult) -> Self {
        let mut added = HashMap::<String, Vec<String>>::new();
        for entry in &result.entries {
            if let EntryKind::Call(call) = &entry.kind
                && call.changes() == Some("request")
                && let (Some(name), Some(value)) = (call.bytes_of("name"), call.bytes_of("value"))
            {
                let name = String::from_utf8_lossy(name).to_ascii_lowercase();
                added.entry(name).or_default().push(String::from_utf8_lossy(value).into_owned());
            }
        }
        let others = added.into_iter().filter_map(|(name, own)| {
            let mut others = result.request.as_ref()?.content.values(&name);
            others.retain(|value| !own.contains(value));
            (!others.is_empty() && !Self::USUAL.contains(&&*name)).then_some((name, others))
        });
        Self(others.collect())
    }

    fn on(&self, call: &CallEntry) -> Option<String> {
        if call.function != "add_header_value" || call.changes() != Some("request") || !call.succeeded() {
            return None;
        }
        let others = self.0.get(&String::from_utf8_lossy(call.bytes_of("name")?).to_ascii_lowercase())?;
        Some(format!(
            "the next handler gets the request's own value too ({:?}); set_header_value replaces it",
            others.join(", ")
        ))
    }
}

/// The encoding of a body, if it has one.
fn encoding(content: Option<&Content>) -> Option<String> {
    let encodings = content?.values("content-encoding").join(", ");
    (!encodings.is_empty() && encodings != "identity").then_some(encodings)
}

/// A note on reading a body whose content the guest can't see. `encodings` are those of the request and the response.
fn on_compressed_body(call: &CallEntry, encodings: &[Option<String>; 2]) -> Option<String> {
    let (encoding, advice) = match (call.function, call.word("kind")?, call.phase?) {
        ("read_body", "request", Phase::Request) => (&encodings[0], ""),
        ("read_body", "response", Phase::Response) => {
            (&encodings[1], "; remove accept-encoding from the request to get it uncompressed")
        }
        _ => return None,
    };
    let encoding = encoding.as_ref()?;
    let read = matches!(&call.answer, Some(Answer::Body { bytes, .. }) if !bytes.is_empty());
    read.then(|| format!("the body is compressed (content-encoding: {encoding}){advice}"))
}

/// A note on writing a body for a response that can't have one.
fn on_body_of(status: Option<u16>, call: &CallEntry, outcome: Outcome) -> Option<String> {
    let status = status.filter(|status| matches!(status, 204 | 304))?;
    let counts = call.phase == Some(Phase::Response) || outcome == Outcome::Stops;
    let writes = call.function == "write_body" && call.changes() == Some("response") && call.succeeded();
    (counts && writes).then(|| format!("no effect: a response with status {status} has no body"))
}

/// A note on a `handle_response` that did nothing about an error that the next handler responded with.
fn on_response_ignored(calls: usize, status: Option<u16>) -> Option<String> {
    let status = status.filter(|status| calls == 0 && *status >= 500)?;
    Some(format!(
        "nothing was done: is_error is only set if there is no response, and this one has status {status}"
    ))
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
            "no effect: the guest responds itself, so the next handler isn't called"
        }
        (Outcome::Fails, ..) => {
            "no effect: the guest fails before handle_request returns, so the client gets an error"
        }
        (Outcome::Proceeds, "response", "set_status_code") => {
            "no effect: the request proceeds, so the next handler's status counts; return 0 to stop it, or set the \
             status in handle_response"
        }
        (Outcome::Proceeds, "response", "write_body") => {
            "these bytes come before the next handler's body, because the request proceeds; return 0 to respond here"
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

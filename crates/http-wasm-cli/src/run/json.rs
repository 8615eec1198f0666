//! An exchange as JSON, one object per line.

use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::HeaderMap;
use http_wasm_tower::CallResult;
use serde_json::{Map, Value as Json, json};

use crate::exchange::{Answer, CallEntry, Content, Entry, EntryKind, ExchangeResult, Value};

/// The exchange: the entries if a trace is requested, then the request and the response.
pub(super) fn lines(result: &ExchangeResult, with_trace: bool) -> String {
    let mut out = if with_trace { entries(&result.entries) } else { String::new() };
    let request = result.request.as_ref().map(|request| {
        let head = json!({
            "event": "request", "method": request.method, "uri": request.uri, "version": request.version,
        });
        with_content(head, &request.content)
    });
    let response = match &result.response {
        Some(response) => {
            with_content(json!({ "event": "response", "status": response.status }), &response.content)
        }
        None => json!({ "event": "no_response", "reason": result.next_error }),
    };
    let error = result.error.as_ref().map(|error| {
        json!({
            "event": "error", "kind": error.kind().name(), "message": error.to_string(),
            "backtrace": error.backtrace(), "stderr": error.stderr(),
        })
    });
    for line in request.into_iter().chain([response]).chain(error) {
        out += &format!("{line}\n");
    }
    out
}

/// The entries.
pub(super) fn entries(entries: &[Entry]) -> String {
    entries.iter().map(|entry| format!("{}\n", object(entry))).collect()
}

fn object(entry: &Entry) -> Json {
    let mut object = match &entry.kind {
        EntryKind::Created => json!({ "event": "created" }),
        EntryKind::Started { error } => json!({ "event": "started", "error": error }),
        EntryKind::Entered { phase, req_ctx, is_error } => json!({
            "event": "entered", "function": phase.to_string(), "req_ctx": req_ctx, "is_error": is_error,
        }),
        EntryKind::Call(call) => of_call(call),
        EntryKind::Line { stream, text } => json!({ "event": "line", "stream": stream, "text": text }),
        EntryKind::Next => json!({ "event": "next" }),
        EntryKind::Answered { status } => json!({ "event": "answered", "status": status }),
        EntryKind::Returned { phase, proceeds, req_ctx, error, took } => json!({
            "event": "returned", "function": phase.to_string(), "proceeds": proceeds, "req_ctx": req_ctx,
            "error": error, "took_ns": nanos(*took),
        }),
    };
    object["at_ns"] = nanos(entry.at).into();
    if let Some(note) = &entry.note {
        object["note"] = note.as_str().into();
    }
    object
}

fn of_call(call: &CallEntry) -> Json {
    let arguments: Map<String, Json> = call
        .arguments
        .iter()
        .map(|(name, value)| {
            let value = match value {
                Value::Word(word) => word.as_str().into(),
                Value::Bytes(bytes) => text(bytes),
            };
            ((*name).to_owned(), value)
        })
        .collect();
    let mut object = json!({
        "event": "call", "function": call.function, "phase": call.phase.map(|phase| phase.to_string()),
        "arguments": arguments, "took_ns": nanos(call.took), "bytes": call.bytes,
    });
    match (&call.result, &call.answer) {
        (CallResult::Trapped(reason), _) => object["trapped"] = reason.as_str().into(),
        (CallResult::Waits, _) => object["waits"] = true.into(),
        (_, Some(answer)) => object["result"] = of_answer(answer),
        (_, None) => {}
    }
    if let Some(waited) = call.waited {
        object["waited_ns"] = nanos(waited).into();
    }
    object
}

fn of_answer(answer: &Answer) -> Json {
    match answer {
        Answer::Word(word) => word.as_str().into(),
        Answer::Value { len, bytes } => json!({ "len": len, "value": bytes.as_deref().map(text) }),
        Answer::Values { count, len, values } => {
            let values =
                values.as_ref().map(|values| values.iter().map(|value| text(value)).collect::<Vec<_>>());
            json!({ "count": count, "len": len, "values": values })
        }
        Answer::Body { eof, bytes } => json!({ "eof": eof, "len": bytes.len(), "value": text(bytes) }),
    }
}

fn with_content(mut object: Json, content: &Content) -> Json {
    object["headers"] = pairs(&content.headers);
    match std::str::from_utf8(&content.body) {
        Ok(body) => object["body"] = body.into(),
        Err(_) => object["body_base64"] = BASE64_STANDARD.encode(&content.body).into(),
    }
    object["trailers"] = pairs(&content.trailers);
    if let Some(broken) = &content.broken {
        object["broken"] = broken.as_str().into();
    }
    object
}

fn pairs(fields: &HeaderMap) -> Json {
    fields.iter().map(|(name, value)| json!([name.as_str(), text(value.as_bytes())])).collect()
}

/// Text as it is, other bytes as `{"base64": ".."}`.
fn text(bytes: &[u8]) -> Json {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.into(),
        Err(_) => json!({ "base64": BASE64_STANDARD.encode(bytes) }),
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

//! The JSON that the page requests.

use std::time::{Duration, SystemTime};

use http::HeaderMap;
use http_wasm_tower::CallResult;
use serde_json::{Value as Json, json};

use super::exchange::{BODY_BYTES, Body, Exchange, Messages, RequestHead, ResponseHead};
use super::store::{MAX_BYTES, MAX_EXCHANGES, Store};
use crate::exchange::{Entry, EntryKind, Paint, print_trace};

/// The guest's state and a list of the exchanges, the newest first.
pub(super) fn state(store: &Store) -> Json {
    // Read first, so that a change made meanwhile has a later version.
    let version = store.version();
    let guest = store.guest();
    let exchanges: Vec<_> = store.exchanges().iter().rev().map(|exchange| summary(exchange)).collect();
    json!({
        "version": version,
        "guest": {
            "phase": guest.phase.name(), "message": guest.message, "output": guest.output,
            "warnings": guest.warnings, "loaded": guest.loaded.map(millis), "name": guest.name, "url": guest.url,
        },
        "kept": {
            "exchanges": exchanges.len(), "max_exchanges": MAX_EXCHANGES,
            "bytes": store.bytes(), "max_bytes": MAX_BYTES,
        },
        "exchanges": exchanges,
    })
}

fn summary(exchange: &Exchange) -> Json {
    let summary = exchange.summary();
    json!({
        "id": exchange.id, "at": millis(exchange.began), "replay_of": exchange.replay_of,
        "method": summary.method.map(|method| method.to_string()), "target": summary.target,
        "status": summary.status, "next_status": summary.next_status, "passed_on": summary.was_passed_on,
        "failed": summary.has_failed, "took_ms": summary.took.map(in_ms),
    })
}

/// All data of an exchange.
pub(super) fn exchange(exchange: &Exchange) -> Json {
    let mut object = summary(exchange);
    let view = exchange.view();
    object["from"] = exchange.client.to_string().into();
    object["client"] = messages(&view.client);
    object["next"] = messages(&view.next);
    // The end of a successful start-up has no text.
    let entries = view.entries.iter().map(entry);
    object["trace"] = entries.filter(|entry| entry["text"] != "").collect();
    object["took_ms"] = view.took.map(in_ms).into();
    object["error"] = view.error.map_or(Json::Null, |error| {
        json!({
            "kind": error.kind().name(), "message": error.to_string(), "backtrace": error.backtrace(),
            "stderr": error.stderr(),
        })
    });
    object
}

fn messages(messages: &Messages) -> Json {
    let request = messages.request.as_ref().map(|head| {
        let RequestHead { method, version, headers, .. } = head;
        let line = format!("{method} {} {version:?}", head.target());
        message(&line, headers, &messages.request_body)
    });
    let response = messages.response.as_ref().map(|ResponseHead { status, headers }| {
        let line = format!("{} {}", status.as_u16(), status.canonical_reason().unwrap_or_default());
        message(line.trim_end(), headers, &messages.response_body)
    });
    json!({ "request": request, "response": response })
}

fn message(line: &str, headers: &HeaderMap, body: &Body) -> Json {
    json!({
        "line": line, "headers": pairs(headers), "body": text_of(&body.kept), "size": body.size,
        "shown": body.kept.len(), "max": BODY_BYTES, "complete": body.is_complete,
        "trailers": pairs(&body.trailers), "broken": body.broken,
    })
}

fn pairs(fields: &HeaderMap) -> Vec<[String; 2]> {
    fields.iter().map(|(name, value)| [name.as_str().to_owned(), text_of(value.as_bytes())]).collect()
}

/// Text as it is, other bytes with escapes. The end may have been cut within a character.
fn text_of(bytes: &[u8]) -> String {
    let is_text = |text: &str| !text.contains(|c: char| c.is_control() && !"\n\r\t".contains(c));
    match std::str::from_utf8(bytes) {
        Ok(text) if is_text(text) => text.to_owned(),
        Err(error) if error.error_len().is_none() && error.valid_up_to() > 0 => {
            text_of(&bytes[..error.valid_up_to()])
        }
        _ => bytes.escape_ascii().to_string(),
    }
}

fn entry(entry: &Entry) -> Json {
    let plain = Entry { note: None, ..entry.clone() };
    let mut text = String::new();
    print_trace(&mut text, &[plain], Paint::default());
    let (kind, has_failed) = match &entry.kind {
        EntryKind::Created | EntryKind::Entered { .. } | EntryKind::Next => ("title", false),
        EntryKind::Started { error } => ("result", error.is_some()),
        EntryKind::Call(call) => ("call", matches!(call.result, CallResult::Trapped(_))),
        EntryKind::Line { .. } => ("line", false),
        EntryKind::Answered { status } => ("result", status.is_none()),
        EntryKind::Returned { error, .. } => ("result", error.is_some()),
    };
    json!({ "kind": kind, "text": text.trim_end(), "note": entry.note, "failed": has_failed })
}

fn millis(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

fn in_ms(took: Duration) -> f64 {
    took.as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests {
    use super::text_of;

    #[test]
    fn truncated_text_is_still_shown_as_text_and_other_bytes_are_escaped() {
        assert_eq!(text_of("Grüße\n".as_bytes()), "Grüße\n");
        assert_eq!(text_of(&"Grü".as_bytes()[..3]), "Gr");
        assert_eq!(text_of(b"a\xffb"), "a\\xffb");
        assert_eq!(text_of(b"a\x1b[0m"), "a\\x1b[0m");
    }
}

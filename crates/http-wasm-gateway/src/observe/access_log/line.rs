//! The content of a line.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use http::{HeaderValue, Version};
use serde::Serialize;

use crate::exchange::{FinishedRequest, GuestFailure, GuestTimes};
use crate::time::rfc3339;

/// A line in JSON. Times of day are RFC 3339 in UTC, durations in seconds, sizes in bytes.
#[derive(Debug, Serialize)]
struct Line<'a> {
    #[serde(serialize_with = "rfc3339")]
    time: SystemTime,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_id: Option<String>,
    client: IpAddr,
    method: &'a str,
    target: &'a str,
    protocol: &'static str,
    host: Option<String>,
    status: Option<u16>,
    outcome: &'static str,
    duration: f64,
    request_bytes: u64,
    response_bytes: u64,
    route: Option<&'a str>,
    guests: Vec<GuestPart<'a>>,
    upstream: Option<UpstreamPart<'a>>,
    user_agent: Option<String>,
    referer: Option<String>,
}

#[derive(Debug, Serialize)]
struct GuestPart<'a> {
    name: &'a str,
    request: f64,
    response: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<&'static str>,
}

#[derive(Debug, Serialize)]
struct UpstreamPart<'a> {
    name: &'a str,
    /// The address of the last attempt.
    address: &'a str,
    /// The number of attempts.
    attempts: usize,
    /// The time until the head of the last response, or until the last failure.
    duration: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<&'static str>,
}

/// Formats the line as a JSON object.
pub(super) fn json(request: &FinishedRequest<'_>) -> Vec<u8> {
    let record = request.record;
    let last = request.attempts.last();
    let line = Line {
        time: record.started_at,
        request_id: record.request_id.as_ref().and_then(|id| id.to_str().ok()),
        trace_id: record.trace.as_ref().map(|trace| trace.trace_id().to_string()),
        client: record.client.addr.ip().to_canonical(),
        method: record.method.as_str(),
        target: &record.target,
        protocol: protocol(record.version),
        host: record.host.as_ref().map(text),
        status: record.status().map(|status| status.as_u16()),
        outcome: request.outcome(),
        duration: request.duration.as_secs_f64(),
        request_bytes: record.request_bytes(),
        response_bytes: request.response_bytes,
        route: record.route().map(|route| &**route),
        guests: request.guests.iter().map(GuestPart::of).collect(),
        upstream: last.map(|last| UpstreamPart {
            name: &last.upstream,
            address: &last.address,
            attempts: request.attempts.len(),
            duration: last.took.as_secs_f64(),
            failure: last.result.as_ref().err().map(|(failure, _)| failure.name()),
        }),
        user_agent: record.user_agent.as_ref().map(text),
        referer: record.referer.as_ref().map(text),
    };
    // Strings, numbers and lists can always be represented in JSON.
    serde_json::to_vec(&line).unwrap_or_default()
}

impl<'a> GuestPart<'a> {
    fn of(times: &'a GuestTimes) -> Self {
        Self {
            name: &times.guest,
            request: times.request.as_secs_f64(),
            response: times.response.as_ref().map(Duration::as_secs_f64),
            failure: times.failure.map(GuestFailure::name),
        }
    }
}

/// Formats the line in the combined log format.
pub(super) fn combined(request: &FinishedRequest<'_>) -> Vec<u8> {
    let record = request.record;
    let client = record.client.addr.ip().to_canonical();
    let time = day_and_time(record.started_at);
    // This is what nginx logs for a client that has disconnected before the response.
    let status = record.status().map_or(499, |status| status.as_u16());
    let mut line = format!("{client} - - [{time}] \"");
    escape(record.method.as_str().as_bytes(), &mut line);
    line.push(' ');
    escape(record.target.as_bytes(), &mut line);
    let _ = write!(line, " {}\" {status} {}", protocol(record.version), request.response_bytes);
    for field in [&record.referer, &record.user_agent] {
        line.push_str(" \"");
        escape(field.as_ref().map_or(b"-", HeaderValue::as_bytes), &mut line);
        line.push('"');
    }
    line.into_bytes()
}

/// Formats a time like "22/Nov/2026:23:59:59 +0000".
fn day_and_time(time: SystemTime) -> String {
    // An HTTP date has the same parts: "Sun, 22 Nov 2026 23:59:59 GMT".
    let date = httpdate::fmt_http_date(time);
    let parts: Vec<&str> = date.split(' ').collect();
    match parts.as_slice() {
        [_, day, month, year, clock, _] => format!("{day}/{month}/{year}:{clock} +0000"),
        _ => date,
    }
}

fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2.0",
        _ => "HTTP/1.1",
    }
}

fn text(value: &HeaderValue) -> String {
    String::from_utf8_lossy(value.as_bytes()).into_owned()
}

/// Escapes client-supplied text so that it can't end the quotes or the line.
fn escape(bytes: &[u8], to: &mut String) {
    for &byte in bytes {
        match byte {
            b'"' | b'\\' | 0..=0x1f | 0x7f.. => {
                let _ = write!(to, "\\x{byte:02X}");
            }
            _ => to.push(char::from(byte)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::{day_and_time, escape};

    #[test]
    fn the_time_has_the_format_of_apache() {
        assert_eq!(day_and_time(UNIX_EPOCH + Duration::from_secs(971_211_336)), "10/Oct/2000:20:55:36 +0000");
    }

    #[test]
    fn client_input_cannot_forge_a_log_line() {
        let mut line = String::new();
        escape("a\" 200\n\\ä".as_bytes(), &mut line);
        assert_eq!(line, r"a\x22 200\x0A\x5C\xC3\xA4");
    }
}

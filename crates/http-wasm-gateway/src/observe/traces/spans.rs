//! The spans of a completed request: the request itself, each guest's phases, each attempt to send it to an upstream.
//! Names follow OpenTelemetry's semantic conventions where they have one.

use std::borrow::Cow;
use std::time::Duration;

use http::{HeaderValue, Method, Version};
use opentelemetry::trace::{Event, SpanContext, SpanId, SpanKind, Status};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};

use crate::exchange::{FinishedRequest, GuestMessage, GuestTimes, TraceContext, UpstreamAttempt};

/// All spans of a request.
pub(super) fn spans(
    trace: &TraceContext,
    request: &FinishedRequest<'_>,
    scope: &InstrumentationScope,
) -> Vec<SpanData> {
    let make = Make { trace, finished: request, scope };
    let mut spans = vec![make.request()];
    for guest in request.guests {
        spans.extend(make.phases(guest));
    }
    spans.extend(request.attempts.iter().map(|attempt| make.attempt(attempt)));
    spans
}

struct Make<'a> {
    trace: &'a TraceContext,
    finished: &'a FinishedRequest<'a>,
    scope: &'a InstrumentationScope,
}

impl Make<'_> {
    fn request(&self) -> SpanData {
        let (finished, record) = (self.finished, self.finished.record);
        let mut attributes = vec![
            KeyValue::new("http.request.method", method(&record.method)),
            // The path without the query, since secrets in URLs are usually in the query.
            KeyValue::new("url.path", path(&record.target).to_owned()),
            KeyValue::new("network.protocol.version", version(record.version)),
            KeyValue::new("client.address", record.client.addr.ip().to_canonical().to_string()),
            KeyValue::new("http.request.body.size", size(record.request_bytes())),
            KeyValue::new("http.response.body.size", size(finished.response_bytes)),
            KeyValue::new("http_wasm.outcome", finished.outcome()),
        ];
        let texts = [
            ("server.address", &record.host),
            ("user_agent.original", &record.user_agent),
            ("http_wasm.request_id", &record.request_id),
        ];
        for (name, value) in texts {
            attributes.extend(value.as_ref().map(|value| KeyValue::new(name, text(value))));
        }
        attributes.extend(record.route().map(|route| KeyValue::new("http_wasm.route", route.to_string())));
        if let Some(status) = record.status() {
            attributes.push(KeyValue::new("http.response.status_code", i64::from(status.as_u16())));
        }
        let failed = match record.status() {
            None => Some("abandoned".to_owned()),
            Some(status) if status.is_server_error() => Some(status.as_str().to_owned()),
            Some(_) => None,
        };
        let name = match record.route() {
            Some(route) => format!("{} {route}", method(&record.method)),
            None => method(&record.method).to_owned(),
        };
        SpanData {
            span_context: self.trace.span.clone(),
            parent_span_id: self.trace.parent.unwrap_or(SpanId::INVALID),
            parent_span_is_remote: self.trace.parent.is_some(),
            ..self.span(name, SpanKind::Server, Duration::ZERO, finished.duration, attributes, failed)
        }
    }

    fn phases(&self, guest: &GuestTimes) -> impl Iterator<Item = SpanData> {
        let request = (guest.began, guest.request, "handle_request");
        let response =
            guest.resumed.zip(guest.response).map(|(began, took)| (began, took, "handle_response"));
        let last = response.map_or("handle_request", |_| "handle_response");
        [Some(request), response].into_iter().flatten().map(move |(began, took, phase)| {
            let attributes = vec![
                KeyValue::new("http_wasm.guest", guest.guest.to_string()),
                KeyValue::new("http_wasm.phase", phase),
            ];
            let failed = guest.failure.filter(|_| phase == last).map(|failure| failure.name().to_owned());
            let name = format!("{} {phase}", guest.guest);
            let mut span = self.span(name, SpanKind::Internal, began, took, attributes, failed);
            let within = |message: &&GuestMessage| {
                *message.guest == *guest.guest && (began..=began + took).contains(&message.at)
            };
            span.events.events =
                self.finished.messages.iter().filter(within).map(|message| self.event(message)).collect();
            span
        })
    }

    fn attempt(&self, attempt: &UpstreamAttempt) -> SpanData {
        let mut attributes = vec![
            KeyValue::new("http.request.method", method(&self.finished.record.method)),
            KeyValue::new("http_wasm.upstream", attempt.upstream.to_string()),
            KeyValue::new("http_wasm.upstream.address", attempt.address.to_string()),
        ];
        let failed = match &attempt.result {
            Ok(status) => {
                attributes.push(KeyValue::new("http.response.status_code", i64::from(status.as_u16())));
                (status.is_client_error() || status.is_server_error()).then(|| status.as_str().to_owned())
            }
            Err((failure, _)) => Some(failure.name().to_owned()),
        };
        let name = format!("{} {}", method(&self.finished.record.method), attempt.upstream);
        let span = self.span(name, SpanKind::Client, attempt.began, attempt.took, attributes, failed);
        match &attempt.span {
            Some(context) => SpanData { span_context: SpanContext::clone(context), ..span },
            None => span,
        }
    }

    /// Creates a child of the request's span.
    fn span(
        &self,
        name: impl Into<Cow<'static, str>>,
        span_kind: SpanKind,
        began: Duration,
        took: Duration,
        mut attributes: Vec<KeyValue>,
        failed: Option<String>,
    ) -> SpanData {
        let start_time = self.finished.record.started_at + began;
        let status = match failed {
            Some(failed) => {
                attributes.push(KeyValue::new("error.type", failed));
                Status::error("")
            }
            None => Status::Unset,
        };
        SpanData {
            span_context: self.trace.sibling(),
            parent_span_id: self.trace.span.span_id(),
            parent_span_is_remote: false,
            span_kind,
            name: name.into(),
            start_time,
            end_time: start_time + took,
            attributes,
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status,
            instrumentation_scope: self.scope.clone(),
        }
    }

    fn event(&self, message: &GuestMessage) -> Event {
        let level = KeyValue::new("level", message.level.as_str());
        Event::new(message.message.clone(), self.finished.record.started_at + message.at, vec![level], 0)
    }
}

/// The path of a target. A CONNECT request has none.
fn path(target: &str) -> &str {
    let path = target.split('?').next().unwrap_or_default();
    if path.starts_with('/') || path == "*" { path } else { "" }
}

/// The method for the span's name. Methods that clients invent must not appear in it.
fn method(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::HEAD => "HEAD",
        Method::OPTIONS => "OPTIONS",
        Method::CONNECT => "CONNECT",
        Method::PATCH => "PATCH",
        Method::TRACE => "TRACE",
        _ => "_OTHER",
    }
}

fn version(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "1.0",
        Version::HTTP_2 => "2",
        _ => "1.1",
    }
}

fn size(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

fn text(value: &HeaderValue) -> String {
    String::from_utf8_lossy(value.as_bytes()).into_owned()
}

//! The spans of a request that is over: itself, each guest's phases, each sending to an upstream. Names are those of
//! OpenTelemetry's semantic conventions where they have one.

use std::borrow::Cow;
use std::time::Duration;

use http::{HeaderValue, Method, Version};
use opentelemetry::trace::{Event, SpanContext, SpanId, SpanKind, Status};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};

use crate::exchange::{AttemptNote, GuestTimes, RequestOutcome, Said, TraceContext};

/// All spans of a request.
pub(super) fn spans(
    trace: &TraceContext,
    outcome: &RequestOutcome,
    scope: &InstrumentationScope,
) -> Vec<SpanData> {
    let make = Make { trace, outcome, scope };
    let mut spans = vec![make.request()];
    for guest in &outcome.guests {
        spans.extend(make.phases(guest));
    }
    spans.extend(outcome.attempts.iter().map(|attempt| make.attempt(attempt)));
    spans
}

struct Make<'a> {
    trace: &'a TraceContext,
    outcome: &'a RequestOutcome,
    scope: &'a InstrumentationScope,
}

impl Make<'_> {
    fn request(&self) -> SpanData {
        let outcome = self.outcome;
        let mut attributes = vec![
            KeyValue::new("http.request.method", method(&outcome.method)),
            // Without the query: what is secret in a URL is there, as a rule.
            KeyValue::new("url.path", outcome.target.split('?').next().unwrap_or_default().to_owned()),
            KeyValue::new("network.protocol.version", version(outcome.version)),
            KeyValue::new("client.address", outcome.client.ip().to_canonical().to_string()),
            KeyValue::new("http.request.body.size", size(outcome.request_bytes)),
            KeyValue::new("http.response.body.size", size(outcome.response_bytes)),
            KeyValue::new("http_wasm.outcome", outcome.word()),
        ];
        let texts = [
            ("server.address", &outcome.host),
            ("user_agent.original", &outcome.user_agent),
            ("http_wasm.request_id", &outcome.request_id),
        ];
        for (name, value) in texts {
            attributes.extend(value.as_ref().map(|value| KeyValue::new(name, text(value))));
        }
        attributes
            .extend(outcome.route.as_ref().map(|route| KeyValue::new("http_wasm.route", route.to_string())));
        if let Some(status) = outcome.status {
            attributes.push(KeyValue::new("http.response.status_code", i64::from(status.as_u16())));
        }
        let failed = match outcome.status {
            None => Some("abandoned".to_owned()),
            Some(status) if status.is_server_error() => Some(status.as_str().to_owned()),
            Some(_) => None,
        };
        let name = match &outcome.route {
            Some(route) => format!("{} {route}", method(&outcome.method)),
            None => method(&outcome.method).to_owned(),
        };
        SpanData {
            span_context: self.trace.span.clone(),
            parent_span_id: self.trace.parent.unwrap_or(SpanId::INVALID),
            parent_span_is_remote: self.trace.parent.is_some(),
            ..self.span(name, SpanKind::Server, Duration::ZERO, outcome.duration, attributes, failed)
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
            let failed = guest.failure.filter(|_| phase == last).map(str::to_owned);
            let name = format!("{} {phase}", guest.guest);
            let mut span = self.span(name, SpanKind::Internal, began, took, attributes, failed);
            let within =
                |said: &&Said| *said.guest == *guest.guest && (began..=began + took).contains(&said.at);
            span.events.events =
                self.outcome.said.iter().filter(within).map(|said| self.event(said)).collect();
            span
        })
    }

    fn attempt(&self, attempt: &AttemptNote) -> SpanData {
        let mut attributes = vec![
            KeyValue::new("http.request.method", method(&self.outcome.method)),
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
        let name = format!("{} {}", method(&self.outcome.method), attempt.upstream);
        let span = self.span(name, SpanKind::Client, attempt.began, attempt.took, attributes, failed);
        match &attempt.span {
            Some(context) => SpanData { span_context: SpanContext::clone(context), ..span },
            None => span,
        }
    }

    /// A span below the request's own.
    fn span(
        &self,
        name: impl Into<Cow<'static, str>>,
        span_kind: SpanKind,
        began: Duration,
        took: Duration,
        mut attributes: Vec<KeyValue>,
        failed: Option<String>,
    ) -> SpanData {
        let start_time = self.outcome.started + began;
        let status = match failed {
            Some(failed) => {
                attributes.push(KeyValue::new("error.type", failed));
                Status::error("")
            }
            None => Status::Unset,
        };
        SpanData {
            span_context: self.trace.beside(),
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

    fn event(&self, said: &Said) -> Event {
        let level = KeyValue::new("level", said.level.as_str());
        Event::new(said.message.clone(), self.outcome.started + said.at, vec![level], 0)
    }
}

/// Methods that clients make up must not make up names of spans.
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

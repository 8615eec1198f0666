//! A request's position in its trace: W3C Trace Context, <https://www.w3.org/TR/trace-context/>.

use http::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry::propagation::TextMapPropagator as _;
use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState};
use opentelemetry_http::HeaderExtractor;
use opentelemetry_sdk::propagation::TraceContextPropagator;

use crate::random::random;

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// The span of a request that isn't complete.
#[derive(Debug, Clone)]
pub(crate) struct TraceContext {
    /// The request's own span.
    pub(crate) span: SpanContext,
    /// The client's span, if it has one.
    pub(crate) parent: Option<SpanId>,
}

impl TraceContext {
    /// Continues the client's trace, or starts a new one, of which `sample_ratio` are sampled.
    pub(crate) fn begin(headers: &mut HeaderMap, sample_ratio: f64) -> Self {
        if !headers.get(TRACEPARENT).is_some_and(has_valid_lengths) {
            headers.remove(TRACEPARENT);
        }
        let context = TraceContextPropagator::new().extract(&HeaderExtractor(headers));
        let remote = context.span().span_context().clone();
        let own = if remote.is_valid() {
            let span = new_span(remote.trace_id(), remote.trace_flags(), remote.trace_state().clone());
            Self { span, parent: Some(remote.span_id()) }
        } else {
            // `tracestate` belongs to an invalid `traceparent`.
            headers.remove(TRACESTATE);
            let trace = TraceId::from_bytes(random(|bytes| bytes));
            let flags = TraceFlags::default().with_sampled(is_sampled(trace, sample_ratio));
            Self { span: new_span(trace, flags, TraceState::default()), parent: None }
        };
        write(&own.span, headers);
        own
    }

    /// Whether the trace is sent.
    pub(crate) fn is_sampled(&self) -> bool {
        self.span.is_sampled()
    }

    /// The trace ID, as in `traceparent`.
    pub(crate) fn trace_id(&self) -> TraceId {
        self.span.trace_id()
    }

    /// Creates a span in the same trace, and sets these header fields to it.
    pub(crate) fn child(&self, headers: &mut HeaderMap) -> SpanContext {
        let child = self.sibling();
        write(&child, headers);
        child
    }

    /// Creates another span in the same trace.
    pub(crate) fn sibling(&self) -> SpanContext {
        new_span(self.span.trace_id(), self.span.trace_flags(), self.span.trace_state().clone())
    }
}

fn new_span(trace: TraceId, flags: TraceFlags, state: TraceState) -> SpanContext {
    SpanContext::new(trace, SpanId::from_bytes(random(|bytes| bytes)), flags, false, state)
}

/// Whether a trace is sampled. Its ID determines this, so that everyone with the same ratio decides alike.
fn is_sampled(trace: TraceId, ratio: f64) -> bool {
    let [.., a, b, c, d, e, f, g, h] = trace.to_bytes();
    let name = u64::from_be_bytes([a, b, c, d, e, f, g, h]) >> 1;
    // A ratio of 1 is greater than any ID.
    name < (ratio * (1_u64 << 63) as f64) as u64
}

/// Whether the parts have the right lengths, which the propagator doesn't check: "00-" 32 digits "-" 16 digits "-" 2
/// digits. Future versions may add to that.
fn has_valid_lengths(traceparent: &HeaderValue) -> bool {
    let bytes = traceparent.as_bytes();
    let ends = bytes.len() == 55 || (bytes.len() > 55 && bytes[55] == b'-' && !bytes.starts_with(b"00"));
    ends && [2, 35, 52].iter().all(|&hyphen| bytes[hyphen] == b'-')
}

/// `tracestate` stays unchanged, since there is nothing to add to it.
fn write(span: &SpanContext, headers: &mut HeaderMap) {
    let (trace, id, flags) = (span.trace_id(), span.span_id(), span.trace_flags());
    let value = HeaderValue::try_from(format!("00-{trace}-{id}-{flags:02x}"));
    headers.insert(TRACEPARENT, value.expect("digits and hyphens are a legal value"));
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;
    use opentelemetry::trace::TraceId;

    use super::{TRACEPARENT, TRACESTATE, TraceContext, is_sampled};

    fn headers(traceparent: &'static str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(TRACEPARENT, traceparent.parse().unwrap());
        headers.insert(TRACESTATE, "vendor=1".parse().unwrap());
        headers
    }

    #[test]
    fn a_clients_trace_keeps_its_sampling_decision_and_state() {
        for (flags, sampled) in [("01", true), ("00", false)] {
            let given = format!("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-{flags}");
            let mut headers = headers(given.clone().leak());
            let context = TraceContext::begin(&mut headers, if sampled { 0.0 } else { 1.0 });
            assert_eq!(context.is_sampled(), sampled);
            let sent = headers[TRACEPARENT].to_str().unwrap();
            assert_eq!((&sent[..36], &sent[52..]), (&given[..36], &given[52..]));
            assert_ne!(sent, given, "it is the gateway's own span that comes before what is behind");
            assert_eq!(headers[TRACESTATE], "vendor=1");
        }
    }

    #[test]
    fn an_invalid_trace_context_is_replaced_by_a_new_one() {
        for given in ["", "x", "00-00000000000000000000000000000000-00f067aa0ba902b7-01", "00-4bf9-00f0-01"] {
            let mut headers = headers(given);
            let context = TraceContext::begin(&mut headers, 1.0);
            assert!(context.is_sampled() && context.parent.is_none(), "{given}");
            assert!(headers[TRACEPARENT].to_str().unwrap().ends_with("-01"), "{given}");
            assert!(!headers.contains_key(TRACESTATE), "{given}");
        }
    }

    #[test]
    fn the_configured_ratio_of_traces_is_sampled() {
        let trace = |byte| TraceId::from_bytes([byte; 16]);
        let sampled = |ratio| (0..=255).filter(|&byte| is_sampled(trace(byte), ratio)).count();
        assert_eq!([0.0, 0.25, 0.5, 1.0].map(sampled), [0, 64, 128, 256]);
    }
}

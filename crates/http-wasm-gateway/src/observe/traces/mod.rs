//! Traces, sent to a collector over OTLP.
//!
//! A request's spans are created when it is complete, from what was recorded. This costs little while the request is
//! handled, and the times agree with the access log and the metrics.

mod collector;
mod spans;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{BatchConfigBuilder, BatchSpanProcessor, SpanProcessor as _};

use self::collector::Collector;
use self::spans::spans;
use crate::config;
use crate::error::StartError;
use crate::exchange::{FinishedRequest, RequestObserver, TraceContext};

/// How long spans wait to be sent in a batch.
const DELAY: Duration = Duration::from_secs(1);

/// Timeout of the collector.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The path of OTLP over HTTP for traces.
const TRACES_PATH: &str = "/v1/traces";

/// Sends the spans of completed requests.
pub(crate) struct Traces {
    sample_ratio: f64,
    scope: InstrumentationScope,
    processor: Arc<BatchSpanProcessor>,
}

impl Traces {
    /// Starts to send to the collector, which need not be reachable: spans that can't be sent are dropped, which is
    /// logged.
    pub(crate) fn start(config: &config::Telemetry) -> Result<Arc<Self>, StartError> {
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(Collector::new(TIMEOUT))
            .with_endpoint(traces_url(&config.otlp_endpoint))
            .with_timeout(TIMEOUT)
            .build()
            .map_err(|error| StartError::System(format!("cannot send traces: {error}")))?;
        let batches = BatchConfigBuilder::default().with_scheduled_delay(DELAY).build();
        let mut processor = BatchSpanProcessor::builder(exporter).with_batch_config(batches).build();
        let version = env!("CARGO_PKG_VERSION");
        let resource = Resource::builder()
            .with_service_name(config.service_name.value.clone())
            .with_attribute(KeyValue::new("service.version", version))
            .build();
        processor.set_resource(&resource);
        let scope = InstrumentationScope::builder(env!("CARGO_PKG_NAME")).with_version(version).build();
        Ok(Arc::new(Self { sample_ratio: config.sample_ratio, scope, processor: Arc::new(processor) }))
    }

    /// Begins a trace context for the request, and adds it to the header fields.
    pub(super) fn begin(&self, headers: &mut HeaderMap) -> TraceContext {
        TraceContext::begin(headers, self.sample_ratio)
    }

    /// Completes when all spans so far have been sent, or the collector timed out.
    pub(super) async fn flush(&self) {
        let processor = self.processor.clone();
        // Failures to send are reported where they occur.
        let _ = tokio::task::spawn_blocking(move || processor.force_flush()).await;
    }
}

impl Drop for Traces {
    /// A separate thread sends the rest, since that takes as long as the collector does.
    fn drop(&mut self) {
        let processor = self.processor.clone();
        let sending = std::thread::Builder::new().name("last-traces".to_owned());
        // Failures to send are reported where they occur. Without a thread, there is nothing else to try.
        let _ = sending.spawn(move || processor.shutdown());
    }
}

impl RequestObserver for Traces {
    fn finished(&self, request: &FinishedRequest<'_>) {
        if let Some(trace) = request.record.trace.as_ref().filter(|trace| trace.is_sampled()) {
            for span in spans(trace, request, &self.scope) {
                self.processor.on_end(span);
            }
        }
    }
}

/// The URL for traces. The configured URL is that of the collector, unless it already has the path for traces.
fn traces_url(endpoint: &str) -> String {
    let endpoint = endpoint.trim_end_matches('/');
    if endpoint.ends_with(TRACES_PATH) { endpoint.to_owned() } else { format!("{endpoint}{TRACES_PATH}") }
}

impl fmt::Debug for Traces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Traces").field("sample_ratio", &self.sample_ratio).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::traces_url;

    #[test]
    fn the_traces_path_is_appended_once_to_a_collectors_url() {
        for endpoint in ["http://h:4318", "http://h:4318/", "http://h:4318/v1/traces"] {
            assert_eq!(traces_url(endpoint), "http://h:4318/v1/traces");
        }
    }
}

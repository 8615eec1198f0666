//! The connection to the collector. It uses the gateway's own client, so that no second HTTP stack is built in.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use tokio::runtime::Handle;

use crate::error_text::Causes;

/// The maximum length of a response. Collectors send short ones.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// Sends from the runtime's threads, since the exporter's thread isn't one of them.
#[derive(Debug)]
pub(super) struct Collector {
    runtime: Handle,
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    timeout: Duration,
    /// Whether a failure was reported and nothing has been delivered since.
    failing: Arc<AtomicBool>,
}

impl Collector {
    pub(super) fn new(timeout: Duration) -> Self {
        let connector = HttpsConnectorBuilder::new().with_webpki_roots().https_or_http();
        let client = Client::builder(TokioExecutor::new()).build(connector.enable_http1().build());
        Self { runtime: Handle::current(), client, timeout, failing: Arc::default() }
    }
}

/// Written out, to avoid a dependency on the trait's macro.
impl HttpClient for Collector {
    fn send_bytes<'a, 'b>(
        &'a self,
        request: Request<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'b>>
    where
        'a: 'b,
        Self: 'b,
    {
        let (client, timeout, failing) = (self.client.clone(), self.timeout, self.failing.clone());
        let sending = self.runtime.spawn(async move {
            let result = tokio::time::timeout(timeout, send(&client, request)).await;
            let result = result.unwrap_or_else(|_| Err("it didn't respond in time".into()));
            report(&result, &failing);
            result
        });
        Box::pin(async move { sending.await? })
    }
}

async fn send(
    client: &Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    request: Request<Bytes>,
) -> Result<Response<Bytes>, HttpError> {
    let (head, body) = client.request(request.map(Full::new)).await?.into_parts();
    let body = Limited::new(body, MAX_ANSWER_BYTES).collect().await?;
    Ok(Response::from_parts(head, body.to_bytes()))
}

/// Reports the first of consecutive failures.
fn report(result: &Result<Response<Bytes>, HttpError>, failing: &AtomicBool) {
    let fault = match result {
        Ok(response) if response.status().is_success() => None,
        Ok(response) => Some(format!("it responded with {}", response.status())),
        Err(error) => Some(Causes(&**error).to_string()),
    };
    let failed_before = failing.swap(fault.is_some(), Ordering::Relaxed);
    match fault {
        Some(fault) if !failed_before => {
            tracing::warn!(
                "the trace collector doesn't accept traces: {fault}; traces are lost until it does"
            );
        }
        None if failed_before => tracing::info!("the trace collector accepts traces again"),
        _ => {}
    }
}

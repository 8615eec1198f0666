//! Who wants to know of requests, and what is done to requests for their sake.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use tracing::Instrument as _;

use super::access_log::AccessLog;
use super::finish::received;
use super::request_id::RequestIds;
use super::traces::Traces;
use super::{Exchange, Monitor, Observe, observed};
use crate::body::BoxBody;
use crate::config::Config;
use crate::error::StartError;
use crate::listener::Client;

/// How long the process's end may be held up by what is left to write.
const FLUSH_LIMIT: Duration = Duration::from_secs(3);

/// All that watch requests. They outlive configurations, as the monitor does.
pub(crate) struct Watchers {
    observers: Arc<[Arc<dyn Observe>]>,
    request_ids: Option<RequestIds>,
    access_log: Option<Arc<AccessLog>>,
    traces: Option<Arc<Traces>>,
}

impl Watchers {
    /// What a configuration asks for, and these beside it.
    pub(crate) fn new(
        config: &Config,
        monitor: Option<&Arc<Monitor>>,
        mut observers: Vec<Arc<dyn Observe>>,
    ) -> Result<Arc<Self>, StartError> {
        let access_log = config.access_log.as_ref().map(AccessLog::open).transpose()?;
        observers.extend(monitor.cloned().map(|monitor| monitor as Arc<dyn Observe>));
        observers.extend(access_log.clone().map(|log| log as Arc<dyn Observe>));
        let traces = config.telemetry.as_ref().map(Traces::start).transpose()?;
        observers.extend(traces.clone().map(|traces| traces as Arc<dyn Observe>));
        // A log has a use for names even if nothing is said about them.
        let named = config.request_id.is_some() || config.access_log.is_some();
        let request_ids = named.then(|| RequestIds::new(&config.request_id.clone().unwrap_or_default()));
        Ok(Arc::new(Self { observers: observers.into(), request_ids, access_log, traces }))
    }

    /// Begins to watch a request. None when nobody wants to know.
    pub(crate) fn begin(&self, request: &mut Request<BoxBody>, client: Client) -> Option<Arc<Exchange>> {
        if self.observers.is_empty() && self.request_ids.is_none() {
            return None;
        }
        let id = self.request_ids.as_ref().map(|ids| ids.name(request.headers_mut()));
        let trace = self.traces.as_ref().map(|traces| traces.begin(request.headers_mut()));
        let exchange = Arc::new(Exchange::begin(request, client, id, trace));
        request.extensions_mut().insert(exchange.clone());
        let body = std::mem::take(request.body_mut());
        *request.body_mut() = received(&exchange, body);
        Some(exchange)
    }

    /// Watches until the response is over.
    pub(crate) async fn watch(
        &self,
        exchange: Arc<Exchange>,
        response: impl Future<Output = Response<BoxBody>>,
    ) -> Response<BoxBody> {
        let span = exchange.span().clone();
        let response = observed(exchange.clone(), self.observers.clone(), response.instrument(span));
        let mut response = response.await;
        if let (Some(ids), Some(id)) = (&self.request_ids, exchange.request_id()) {
            ids.tell(id, response.headers_mut());
        }
        response
    }

    /// Log files were moved away: opens new ones.
    pub(crate) fn reopen(&self) {
        if let Some(log) = &self.access_log {
            log.reopen();
        }
    }

    /// Ends when all that was noted until now is where it belongs, or that takes too long.
    pub(crate) async fn flush(&self) {
        if tokio::time::timeout(FLUSH_LIMIT, self.flush_all()).await.is_err() {
            tracing::warn!(
                "the end of the access log or of traces may be lost: it could not be written in time"
            );
        }
    }

    async fn flush_all(&self) {
        if let Some(log) = &self.access_log {
            log.flush().await;
        }
        if let Some(traces) = &self.traces {
            traces.flush().await;
        }
    }
}

impl fmt::Debug for Watchers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watchers").field("observers", &self.observers).finish_non_exhaustive()
    }
}

//! The observers of requests.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use http::{Response, StatusCode};
use serde::Serialize;
use tokio::sync::oneshot;
use tracing::Span;

use super::Monitor;
use super::access_log::AccessLog;
use super::request_id::RequestIds;
use super::traces::Traces;
use crate::body::BoxBody;
use crate::config::Config;
use crate::digest::{Digest, json};
use crate::error::StartError;
use crate::exchange::{Finish, Inbound, RequestObserver, RequestRecord, received};

/// How long pending writes may delay the exit of the process.
const FLUSH_LIMIT: Duration = Duration::from_secs(3);

/// All observers of the requests of one configuration. The next configuration reuses whatever hasn't changed.
pub(crate) struct Observers {
    pub(crate) monitor: Option<Arc<Monitor>>,
    /// Observers that don't depend on the configuration.
    embedder: Vec<Arc<dyn RequestObserver>>,
    observers: Arc<[Arc<dyn RequestObserver>]>,
    request_ids: Option<RequestIds>,
    access_log: Option<Built<AccessLog>>,
    traces: Option<Built<Traces>>,
}

/// A value, and the settings that it was built from.
type Built<T> = (Digest, Arc<T>);

impl Observers {
    /// Uses only these observers.
    pub(crate) fn with_embedder(embedder: Vec<Arc<dyn RequestObserver>>) -> Self {
        Self {
            monitor: None,
            observers: embedder.clone().into(),
            embedder,
            request_ids: None,
            access_log: None,
            traces: None,
        }
    }

    /// The observers for a configuration. Those of `earlier` that were built from the same settings are reused.
    pub(crate) fn next(
        config: &Config,
        monitor: Option<Arc<Monitor>>,
        earlier: &Self,
    ) -> Result<Self, StartError> {
        let access_log = reuse_or_build(config.access_log.as_ref(), &earlier.access_log, AccessLog::open)?;
        let traces = reuse_or_build(config.telemetry.as_ref(), &earlier.traces, Traces::start)?;
        let mut observers = earlier.embedder.clone();
        observers.extend(monitor.as_ref().map(|monitor| Arc::new(monitor.request_observer(config)) as _));
        observers.extend(access_log.iter().map(|(_, log)| log.clone() as Arc<dyn RequestObserver>));
        observers.extend(traces.iter().map(|(_, traces)| traces.clone() as Arc<dyn RequestObserver>));
        // The access log needs request IDs even if they aren't configured.
        let named = config.request_id.is_some() || config.access_log.is_some();
        let request_ids = named.then(|| RequestIds::new(&config.request_id.clone().unwrap_or_default()));
        let embedder = earlier.embedder.clone();
        Ok(Self { monitor, embedder, observers: observers.into(), request_ids, access_log, traces })
    }

    /// Starts to observe a request. Returns `None` if there are no observers.
    pub(crate) fn begin(&self, inbound: &mut Inbound) -> Option<ObservedRequest<'_>> {
        if self.observers.is_empty() && self.request_ids.is_none() {
            return None;
        }
        let request = &mut inbound.request;
        let id = self.request_ids.as_ref().map(|ids| ids.assign(request.headers_mut()));
        let trace = self.traces.as_ref().map(|(_, traces)| traces.begin(request.headers_mut()));
        let record = Arc::new(RequestRecord::begin(request, inbound.client, inbound.dropped, id, trace));
        let body = std::mem::take(request.body_mut());
        *request.body_mut() = received(&record, body);
        inbound.record = Some(record.clone());
        let finish = Finish::of(record, self.observers.clone());
        Some(ObservedRequest { finish, request_ids: self.request_ids.as_ref() })
    }

    /// Reopens log files that were moved away.
    pub(crate) fn reopen(&self) {
        if let Some((_, log)) = &self.access_log {
            log.reopen();
        }
    }

    /// The outputs to which completed requests are written.
    pub(crate) fn sinks(&self) -> Sinks {
        Sinks {
            access_log: self.access_log.as_ref().map(|(_, log)| log.clone()),
            traces: self.traces.as_ref().map(|(_, traces)| traces.clone()),
        }
    }
}

/// An observed request. If this is dropped, the request got no response.
pub(crate) struct ObservedRequest<'a> {
    finish: Finish,
    request_ids: Option<&'a RequestIds>,
}

impl ObservedRequest<'_> {
    /// The span for log messages about the request.
    pub(crate) fn span(&self) -> Span {
        self.finish.record.span().clone()
    }

    /// Observes the response until it is complete. A response that switches to another protocol is complete when its
    /// tunnel ends.
    pub(crate) fn answered(self, response: &mut Response<BoxBody>, tunnel: Option<oneshot::Sender<Finish>>) {
        if let (Some(ids), Some(id)) = (self.request_ids, &self.finish.record.request_id) {
            ids.add_to_response(id, response.headers_mut());
        }
        match tunnel.filter(|_| response.status() == StatusCode::SWITCHING_PROTOCOLS) {
            Some(tunnel) => self.finish.with_tunnel(response.status(), tunnel),
            None => self.finish.with(response),
        }
    }
}

fn reuse_or_build<S: Serialize, T>(
    settings: Option<&S>,
    earlier: &Option<Built<T>>,
    make: impl FnOnce(&S) -> Result<Arc<T>, StartError>,
) -> Result<Option<Built<T>>, StartError> {
    let Some(settings) = settings else { return Ok(None) };
    let settings_digest = Digest::of([&*json(settings)]);
    match earlier.as_ref().filter(|earlier| earlier.0 == settings_digest) {
        Some((_, same)) => Ok(Some((settings_digest, same.clone()))),
        None => Ok(Some((settings_digest, make(settings)?))),
    }
}

fn is_same<T>(one: &Arc<T>, other: Option<&Arc<T>>) -> bool {
    other.is_some_and(|other| Arc::ptr_eq(one, other))
}

/// The outputs to which completed requests are written. Those of earlier configurations are kept until the requests
/// that started with them have completed.
#[derive(Debug)]
pub(crate) struct Sinks {
    access_log: Option<Arc<AccessLog>>,
    traces: Option<Arc<Traces>>,
}

impl Sinks {
    /// Returns those outputs that the next configuration doesn't have.
    pub(crate) fn without(self, next: &Self) -> Self {
        Self {
            access_log: self.access_log.filter(|log| !is_same(log, next.access_log.as_ref())),
            traces: self.traces.filter(|traces| !is_same(traces, next.traces.as_ref())),
        }
    }

    /// Whether anything else can still write to them.
    pub(crate) fn are_used(&self) -> bool {
        let log = self.access_log.as_ref().is_some_and(|log| Arc::strong_count(log) > 1);
        log || self.traces.as_ref().is_some_and(|traces| Arc::strong_count(traces) > 1)
    }

    /// Completes when everything recorded so far has been written, or after a time limit.
    pub(crate) async fn flush(all: impl IntoIterator<Item = Self>) {
        let each = join_all(all.into_iter().map(async |sinks| sinks.flush_all().await));
        if tokio::time::timeout(FLUSH_LIMIT, each).await.is_err() {
            tracing::warn!(
                "the last access log lines or traces may be lost: they couldn't be written in time"
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

impl fmt::Debug for Observers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Observers").field("observers", &self.observers).finish_non_exhaustive()
    }
}

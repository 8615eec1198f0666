//! Selects the exchanges to record, and holds their shared state.

use std::collections::HashMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use http::Request;

use super::exchange::{Exchange, ExchangeRecorder, Registry, Settings};
use super::finished::Finished;
use super::log::{GuestOrigin, InstanceLog, Memory};
use super::redact::Secrets;
use super::writer::Writer;
use crate::body::BoxBody;
use crate::config::{self, RecordedExchanges};
use crate::digest::{Digest, json};
use crate::error::StartError;

/// The number of locks for exchanges in progress, so that requests rarely wait for each other.
const SHARDS: usize = 16;

/// Records the exchanges of a configuration.
pub(crate) struct Recorder {
    /// The digest of its settings.
    digest: Digest,
    sample: f64,
    only_failures: bool,
    body_bytes: usize,
    log_bytes: usize,
    memory: Arc<Memory>,
    next_id: AtomicU64,
    in_progress: [Mutex<HashMap<u64, Weak<Exchange>>>; SHARDS],
    writer: Writer,
}

impl Recorder {
    /// Returns the recorder of a configuration, or `earlier` if that has the same settings. Creates the directory.
    pub(crate) fn next(
        config: &config::Config,
        earlier: Option<&Arc<Self>>,
    ) -> Result<Option<Arc<Self>>, StartError> {
        let Some(settings) = &config.record else { return Ok(None) };
        let substituted = config.substituted.iter().map(|secret| secret.as_bytes());
        let settings_json = json(settings);
        let digest = Digest::of(std::iter::once(&*settings_json).chain(substituted));
        if let Some(same) = earlier.filter(|earlier| earlier.digest == digest) {
            return Ok(Some(same.clone()));
        }
        let secrets = (!settings.unredacted).then(|| Secrets::new(settings, &config.substituted));
        let memory = Memory::new(settings.memory.bytes());
        let writer = Writer::start(settings, secrets)?;
        Ok(Some(Arc::new(Self {
            digest,
            sample: settings.sample,
            only_failures: settings.exchanges == RecordedExchanges::Failures,
            body_bytes: settings.body_bytes.bytes(),
            log_bytes: settings.log_bytes.bytes(),
            memory,
            next_id: AtomicU64::new(1),
            in_progress: Default::default(),
            writer,
        })))
    }

    /// The digest that distinguishes it from a recorder with other settings.
    pub(crate) fn digest(&self) -> [u8; 32] {
        self.digest.bytes()
    }

    /// Starts to record the exchange of this request, if it is selected.
    pub(crate) fn begin(
        self: &Arc<Self>,
        request: &mut Request<BoxBody>,
        client_addr: SocketAddr,
        is_tls: bool,
    ) -> Option<ExchangeRecorder> {
        if self.sample < 1.0 && fastrand::f64() >= self.sample {
            return None;
        }
        let settings = Settings {
            registry: self.clone(),
            id: self.next_id.fetch_add(1, Ordering::Relaxed),
            body_bytes: self.body_bytes,
            memory: self.memory.clone(),
        };
        Some(ExchangeRecorder::begin(settings, request, client_addr, is_tls))
    }

    /// Creates the log of a new instance.
    pub(super) fn log(&self, guest: &Arc<GuestOrigin>, instance: u64) -> Arc<InstanceLog> {
        Arc::new(InstanceLog::new(guest.clone(), instance, self.memory.clone(), self.log_bytes))
    }

    /// The exchange with this number, if it is in progress.
    pub(super) fn exchange(&self, id: u64) -> Option<Arc<Exchange>> {
        self.shard(id).get(&id)?.upgrade()
    }

    /// Waits until all ended exchanges have been written.
    pub(crate) async fn flush(&self) {
        self.writer.flush().await;
    }

    fn shard(&self, id: u64) -> MutexGuard<'_, HashMap<u64, Weak<Exchange>>> {
        self.in_progress[id as usize % SHARDS].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Registry for Recorder {
    fn begins(&self, id: u64, exchange: Weak<Exchange>) {
        self.shard(id).insert(id, exchange);
    }

    fn ends(&self, id: u64, finished: Finished) {
        self.shard(id).remove(&id);
        if !self.only_failures || finished.is_failure() {
            self.writer.write(finished);
        }
    }
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorder").field("sample", &self.sample).finish_non_exhaustive()
    }
}

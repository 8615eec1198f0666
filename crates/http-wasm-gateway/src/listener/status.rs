//! The status of listeners, for operators.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::config::ListenHttp;
use crate::descriptors::Descriptors;
use crate::time::rfc3339;

/// One permit for each connection that a listener may have.
#[derive(Debug, Clone)]
pub(super) struct Permits {
    free: Arc<Semaphore>,
    max: usize,
    /// Whether one of the permits is taken for the next connection.
    waiting: Arc<AtomicBool>,
}

impl Permits {
    /// Creates this many permits, or as many as the limit on open files allows.
    pub(super) fn new(max: Option<NonZeroU32>) -> Self {
        let max = max.map_or_else(|| Descriptors::of_process().default_connections(), NonZeroU32::get);
        let max = max as usize;
        Self { free: Arc::new(Semaphore::new(max)), max, waiting: Arc::default() }
    }

    /// Waits for a permit for the next connection.
    pub(super) async fn acquire(&self) -> Option<OwnedSemaphorePermit> {
        let permit = self.free.clone().acquire_owned().await.ok()?;
        self.waiting.store(true, Ordering::Relaxed);
        Some(permit)
    }

    /// Called when the connection has been accepted.
    pub(super) fn accepted(&self) {
        self.waiting.store(false, Ordering::Relaxed);
    }

    fn connections(&self) -> usize {
        let taken = self.max - self.free.available_permits();
        taken.saturating_sub(self.waiting.load(Ordering::Relaxed).into())
    }
}

/// A listener, as `/status` shows it.
#[derive(Debug, Serialize)]
pub(crate) struct ListenerStatus {
    /// The address, with the port that the system chose for port 0.
    address: Option<SocketAddr>,
    tls: bool,
    /// Which versions of HTTP are accepted: "auto", "1" or "2".
    http: ListenHttp,
    /// The number of open connections, not counting those that were accepted with earlier settings.
    connections: usize,
    max_connections: usize,
    /// The certificates, in the order of the configuration.
    certificates: Vec<CertificateStatus>,
}

/// A certificate of a listener.
#[derive(Debug, Serialize)]
pub(crate) struct CertificateStatus {
    /// The DNS names and IP addresses that it is valid for.
    pub(super) names: Vec<String>,
    #[serde(serialize_with = "rfc3339")]
    pub(super) not_after: SystemTime,
}

impl ListenerStatus {
    /// The `certificates` of a listener with TLS.
    pub(super) fn new(
        address: Option<SocketAddr>,
        http: ListenHttp,
        permits: &Permits,
        certificates: Option<Vec<CertificateStatus>>,
    ) -> Self {
        Self {
            address,
            tls: certificates.is_some(),
            http,
            connections: permits.connections(),
            max_connections: permits.max,
            certificates: certificates.unwrap_or_default(),
        }
    }
}

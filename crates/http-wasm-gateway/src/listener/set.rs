//! All listeners. A reload may change them.

use std::io;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;

use super::certificates::{CertificateWatcher, Certificates};
use super::status::{ListenerStatus, Permits};
use super::{Endpoint, Inherited, Listener};
use crate::blocking::blocking;
use crate::config::{Address, ListenEntry, ListenHttp, Located};
use crate::digest::Digest;
use crate::error::StartError;
use crate::exchange::Answer;

/// How long aborted requests may take to end.
const ABORT_TIMEOUT: Duration = Duration::from_secs(1);

/// Listeners whose requests go to the same handler. They stop when this is dropped.
#[derive(Debug)]
pub(crate) struct Listeners<A> {
    answer: Arc<A>,
    active: Mutex<Active>,
    inherited: tokio::sync::Mutex<Inherited>,
    /// Whether everything that is still running is to be aborted.
    abort: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct Active {
    running: Vec<Running>,
    /// Listeners that are running, and listeners that are draining.
    tasks: JoinSet<()>,
    certificates: CertificateWatcher,
}

/// A listener that accepts connections.
#[derive(Debug)]
struct Running {
    id: Id,
    /// Its settings, and the certificates that they name.
    settings: Digest,
    socket: Arc<TcpListener>,
    tls: Option<Arc<Certificates>>,
    http: ListenHttp,
    permits: Permits,
    /// Dropping this stops the listener.
    _stop: oneshot::Sender<()>,
}

/// An address as written, and the number of equal ones before it: any number of listeners may use port 0.
type Id = (String, usize);

/// The next listener.
#[derive(Debug)]
pub(crate) struct Opened(Vec<(Id, Digest, Next)>);

#[derive(Debug)]
enum Next {
    /// The listener that is already running.
    Same,
    Other(Listener),
}

/// The result of changing the listeners.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Change {
    /// Addresses that were not listened on before.
    pub(crate) opened: usize,
    /// Addresses that are no longer listened on.
    pub(crate) closed: usize,
}

impl<A: Answer> Listeners<A> {
    pub(crate) fn new(answer: Arc<A>, inherited: Inherited) -> Self {
        Self {
            answer,
            active: Mutex::default(),
            inherited: inherited.into(),
            abort: watch::Sender::new(false),
        }
    }

    /// Opens all addresses of the next configuration, or none. Unchanged listeners continue, and those with new
    /// settings keep their sockets.
    pub(crate) async fn open(&self, listen: &[Located<ListenEntry>]) -> Result<Opened, StartError> {
        let mut inherited = self.inherited.lock().await;
        let mut opened: Vec<(Id, Digest, Next)> = Vec::with_capacity(listen.len());
        for listen in listen {
            let address = listen.address.to_string();
            let before = opened.iter().filter(|((same, _), ..)| *same == address).count();
            let id = (address, before);
            let entry = listen.value.clone();
            let settings = blocking(move || Digest::of_settings(&entry, entry.files())).await?;
            let next = match self.running(&id) {
                Some((same, _)) if same == settings => Next::Same,
                Some((_, socket)) => Next::Other(Listener::open(listen, Some(socket), &mut inherited).await?),
                None => Next::Other(Listener::open(listen, None, &mut inherited).await?),
            };
            opened.push((id, settings, next));
        }
        Ok(Opened(opened))
    }

    /// Switches to these listeners. Listeners that aren't among them accept no more connections, and let their requests
    /// finish.
    pub(crate) fn commit(&self, opened: Opened) -> Change {
        let mut active = self.active();
        // This removes those that have already ended.
        while active.tasks.try_join_next().is_some() {}
        let mut before = std::mem::take(&mut active.running);
        let known: Vec<Id> = before.iter().map(|running| running.id.clone()).collect();
        for (id, settings, next) in opened.0 {
            let running = match next {
                Next::Same => before.iter().position(|running| running.id == id).map(|at| before.remove(at)),
                Next::Other(listener) => {
                    if let Some(tls) = &listener.tls {
                        active.certificates.watch(tls.certificates());
                    }
                    Some(self.start(id, settings, listener, &mut active.tasks))
                }
            };
            active.running.extend(running);
        }
        let is_new = |running: &&Running| !known.contains(&running.id);
        let is_gone = |id: &&Id| !active.running.iter().any(|running| running.id == **id);
        Change {
            opened: active.running.iter().filter(is_new).count(),
            closed: known.iter().filter(is_gone).count(),
        }
    }

    /// Opens a socket for another purpose, or uses an inherited one if it fits.
    pub(crate) async fn claim_or_bind(&self, address: &Address) -> io::Result<TcpListener> {
        self.inherited.lock().await.claim_or_bind(address).await
    }

    /// The addresses, with the ports that the system chose for port 0.
    pub(crate) fn addresses(&self) -> io::Result<Vec<Endpoint>> {
        let endpoint = |running: &Running| {
            Ok(Endpoint { addr: running.socket.local_addr()?, tls: running.tls.is_some() })
        };
        self.active().running.iter().map(endpoint).collect()
    }

    /// The listeners, as operators see them.
    pub(crate) fn status(&self) -> Vec<ListenerStatus> {
        let status = |running: &Running| {
            let certificates = running.tls.as_ref().map(|certificates| certificates.status());
            let address = running.socket.local_addr().ok();
            ListenerStatus::new(address, running.http, &running.permits, certificates)
        };
        self.active().running.iter().map(status).collect()
    }

    /// The listening sockets.
    pub(crate) fn sockets(&self) -> Vec<Arc<TcpListener>> {
        self.active().running.iter().map(|running| running.socket.clone()).collect()
    }

    /// Accepts connections for another `delay`, then no more, and lets requests in flight finish, for at most `limit`.
    /// Both are cut short when `hurry` completes.
    pub(crate) async fn drain(&self, delay: Duration, limit: Duration, hurry: impl Future<Output = ()>) {
        let (mut hurry, mut is_hurried) = (pin!(hurry), false);
        if !delay.is_zero() {
            tracing::info!(
                ?delay,
                "shutting down: health checks fail, requests are accepted during the drain delay"
            );
            is_hurried = tokio::select! {
                () = tokio::time::sleep(delay) => false,
                () = &mut hurry => true,
            };
        }
        let Active { running, mut tasks, certificates } = std::mem::take(&mut *self.active());
        drop((running, certificates));
        if !is_hurried {
            tracing::info!("shutting down: no new connections, requests in flight finish");
            is_hurried = tokio::select! {
                () = join_all(&mut tasks) => return tracing::info!("stopped"),
                () = tokio::time::sleep(limit) => {
                    tracing::warn!(?limit, "stopped; requests that exceeded the drain timeout were aborted");
                    false
                }
                () = &mut hurry => true,
            };
        }
        if is_hurried {
            tracing::warn!("stopped by a second signal; requests in flight were aborted");
        }
        self.abort.send_replace(true);
        // This gives them time to write their records.
        let _ = tokio::time::timeout(ABORT_TIMEOUT, join_all(&mut tasks)).await;
    }

    fn start(&self, id: Id, settings: Digest, listener: Listener, tasks: &mut JoinSet<()>) -> Running {
        let (stop, stopped) = oneshot::channel();
        let (socket, http, permits) = (listener.socket.clone(), listener.http, listener.permits.clone());
        let tls = listener.tls.as_ref().map(|tls| tls.certificates().clone());
        let stopped = async move {
            // The sender can only be dropped.
            let _ = stopped.await;
        };
        tasks.spawn(listener.serve(self.answer.clone(), stopped, self.abort.subscribe()));
        Running { id, settings, socket, tls, http, permits, _stop: stop }
    }

    fn running(&self, id: &Id) -> Option<(Digest, Arc<TcpListener>)> {
        let active = self.active();
        let found = active.running.iter().find(|running| running.id == *id)?;
        Some((found.settings, found.socket.clone()))
    }

    fn active(&self) -> MutexGuard<'_, Active> {
        self.active.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn join_all(tasks: &mut JoinSet<()>) {
    while tasks.join_next().await.is_some() {}
}

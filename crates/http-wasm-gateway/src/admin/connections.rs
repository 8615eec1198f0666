//! The connections of the admin listener. Their number is small. One that waits for its client makes room for a new
//! one, so that silent clients can't lock out probes.

use std::collections::HashMap;
use std::convert::Infallible;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::task::{AbortHandle, Id, JoinSet};
use tokio::time::Instant;

use super::respond::respond;
use super::shared::Shared;

/// The most connections. Operators and their tools are few, and the rest of the process needs its file descriptors.
const MAX_CONNECTIONS: usize = 64;

/// How long a client may take to send a request head, and how long its connection may be idle afterwards.
const HEADER_READ_TIMEOUT: Duration = Duration::from_secs(10);

/// The open connections.
#[derive(Debug, Default)]
pub(super) struct Connections {
    tasks: JoinSet<()>,
    open: HashMap<Id, (AbortHandle, Turn)>,
}

impl Connections {
    /// Serves another connection. If there are too many, the one that has waited longest for its client is closed; if
    /// all of them are handling requests, this waits until one has finished.
    pub(super) async fn add<S>(&mut self, stream: S, shared: Arc<Shared>, stopped: watch::Receiver<()>)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        while let Some(ended) = self.tasks.try_join_next_with_id() {
            self.forget(ended);
        }
        while self.open.len() >= MAX_CONNECTIONS {
            if let Some((task, _)) = self
                .open
                .values()
                .filter(|(_, turn)| turn.since().is_some())
                .min_by_key(|(_, turn)| turn.since())
            {
                task.abort();
            }
            match self.tasks.join_next_with_id().await {
                Some(ended) => self.forget(ended),
                None => break,
            }
        }
        let turn = Turn::default();
        let task = self.tasks.spawn(serve(stream, shared, stopped, turn.clone()));
        self.open.insert(task.id(), (task, turn));
    }

    /// Completes when all connections have ended.
    pub(super) async fn finish(self) {
        // Aborted ones have ended too.
        let mut tasks = self.tasks;
        while tasks.join_next().await.is_some() {}
    }

    fn forget(&mut self, ended: Result<(Id, ()), tokio::task::JoinError>) {
        let id = ended.map_or_else(|error| error.id(), |(id, ())| id);
        self.open.remove(&id);
    }
}

/// Which side is expected to send next on a connection: the client, since this time, or the server if `None`.
#[derive(Debug, Clone)]
struct Turn(Arc<Mutex<Option<Instant>>>);

impl Default for Turn {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Some(Instant::now()))))
    }
}

impl Turn {
    fn since(&self) -> Option<Instant> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, since: Option<Instant>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = since;
    }
}

async fn serve<S>(stream: S, shared: Arc<Shared>, mut stopped: watch::Receiver<()>, turn: Turn)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let service = service_fn(|request| {
        let (shared, turn) = (&shared, &turn);
        async move {
            turn.set(None);
            let answer = respond(&request, shared).await;
            turn.set(Some(Instant::now()));
            Ok::<_, Infallible>(answer)
        }
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEADER_READ_TIMEOUT);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    let result = tokio::select! {
        result = connection.as_mut() => result,
        _ = stopped.changed() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = result {
        tracing::debug!(%error, "connection to the admin listener ended");
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
    use tokio::sync::watch;
    use tokio::time::sleep;

    use super::{Connections, HEADER_READ_TIMEOUT, MAX_CONNECTIONS, Shared};
    use crate::observe::Monitor;
    use crate::stage::CurrentStage;

    async fn ask(client: &mut DuplexStream) -> String {
        client.write_all(b"GET /livez HTTP/1.1\r\nHost: h\r\n\r\n").await.unwrap();
        let mut answer = vec![0; 15];
        client.read_exact(&mut answer).await.unwrap();
        String::from_utf8(answer).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn the_connection_waiting_longest_for_its_client_is_closed_to_make_room() {
        let shared = Shared::new(Monitor::new(SystemTime::now(), CurrentStage::starting()), Vec::new());
        let (_stop, stopped) = watch::channel(());
        let mut connections = Connections::default();
        let mut clients = Vec::new();
        for _ in 0..MAX_CONNECTIONS {
            let (client, server) = duplex(64 * 1024);
            connections.add(server, shared.clone(), stopped.clone()).await;
            clients.push(client);
            sleep(Duration::from_millis(1)).await;
        }
        // The first has just received a response, so the second has waited longer.
        assert_eq!(ask(&mut clients[0]).await, "HTTP/1.1 200 OK");
        let (mut late, server) = duplex(64 * 1024);
        connections.add(server, shared.clone(), stopped.clone()).await;
        assert_eq!(ask(&mut late).await, "HTTP/1.1 200 OK");
        assert_eq!(clients[1].read(&mut [0]).await.unwrap(), 0, "it was closed");
        let mut rest = vec![0; 4096];
        let _ = clients[0].read(&mut rest).await.unwrap();
        assert_eq!(ask(&mut clients[0]).await, "HTTP/1.1 200 OK");
        assert_eq!(ask(&mut clients[2]).await, "HTTP/1.1 200 OK");
        assert!(connections.open.len() <= MAX_CONNECTIONS);
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_without_a_request_head_is_closed_at_the_timeout() {
        let shared = Shared::new(Monitor::new(SystemTime::now(), CurrentStage::starting()), Vec::new());
        let (_stop, stopped) = watch::channel(());
        let mut connections = Connections::default();
        let (mut client, server) = duplex(1024);
        connections.add(server, shared, stopped).await;
        client.write_all(b"GET /livez HT").await.unwrap();
        let start = tokio::time::Instant::now();
        let mut rest = Vec::new();
        client.read_to_end(&mut rest).await.unwrap();
        assert!(start.elapsed() <= HEADER_READ_TIMEOUT + Duration::from_secs(1), "{:?}", start.elapsed());
    }
}

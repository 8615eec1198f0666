//! A gateway in this process, and clients that work on raw bytes.

use std::net::SocketAddr;
use std::time::Duration;

use http_wasm_gateway::Gateway;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::files::Files;

/// A timeout for everything in these tests: longer waits are failures.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(20);

/// A running gateway, which is stopped on drop.
pub(crate) struct Server {
    task: JoinHandle<()>,
    pub(crate) addr: SocketAddr,
    /// The files that its configuration refers to.
    pub(crate) files: Files,
}

impl Server {
    /// Starts with this configuration.
    pub(crate) async fn start(config: &str) -> Self {
        Self::start_with(Files::new(), config).await
    }

    /// Starts with this configuration, which refers to these files.
    pub(crate) async fn start_with(files: Files, config: &str) -> Self {
        let config = files.load(config).unwrap_or_else(|faults| panic!("{faults}"));
        let gateway = Gateway::build(config).await.expect("the gateway starts");
        let (ready, addresses) = oneshot::channel();
        let task = tokio::spawn(async move {
            let served =
                gateway.serve(move |addresses| ready.send(addresses[0].addr).expect("it is waited for"));
            served.await.expect("the gateway serves");
        });
        let addr = addresses.await.expect("the gateway says where it listens");
        Self { task, addr, files }
    }

    /// Starts an echo server, with these settings of its listener.
    pub(crate) async fn echo(listen: &str) -> Self {
        let listener = format!("[[listen]]\naddress = '127.0.0.1:0'\n{listen}\n");
        Self::start(&format!("{listener}[[routes]]\nbackend = 'echo'\n")).await
    }

    pub(crate) async fn connect(&self) -> Raw {
        Raw(TcpStream::connect(self.addr).await.expect("the server accepts"))
    }

    /// Sends these bytes, which must make the server close the connection, and returns everything that it sent.
    pub(crate) async fn exchange(&self, request: impl AsRef<[u8]>) -> String {
        let mut raw = self.connect().await;
        raw.send(request).await;
        raw.read_to_end().await
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Fails the test if this takes longer than the timeout.
pub(crate) async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(TIMEOUT, what).await.expect("this takes too long")
}

/// Repeats `ask` until there is a result.
pub(crate) async fn eventually<T>(mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    soon(async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
}

/// A connection on which tests send and receive raw bytes.
pub(crate) struct Raw(pub(crate) TcpStream);

impl Raw {
    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.write_all(bytes.as_ref()).await.expect("the peer reads");
    }

    /// Reads until this text has arrived, and returns everything that was read.
    pub(crate) async fn read_until(&mut self, text: &str) -> String {
        let mut all = Vec::new();
        while !all.windows(text.len()).any(|window| window == text.as_bytes()) {
            let read = soon(self.0.read_buf(&mut all)).await.expect("the peer sends");
            assert!(read > 0, "closed before {text:?}: {:?}", String::from_utf8_lossy(&all));
        }
        String::from_utf8_lossy(&all).into_owned()
    }

    pub(crate) async fn read_to_end(&mut self) -> String {
        String::from_utf8_lossy(&self.read_bytes_to_end().await).into_owned()
    }

    /// Everything that arrives until the server closes or resets the connection.
    pub(crate) async fn read_bytes_to_end(&mut self) -> Vec<u8> {
        let mut all = Vec::new();
        while let Ok(1..) = soon(self.0.read_buf(&mut all)).await {}
        all
    }
}

/// Starts an upstream that passes each connection to `serve`. Returns its URL.
pub(crate) async fn upstream<F>(serve: impl Fn(Raw) -> F + Send + 'static) -> String
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("there are ports");
    let url = format!("http://{}", listener.local_addr().expect("it is bound"));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(Raw(stream)));
        }
    });
    url
}

/// The entire response to a GET.
pub(crate) async fn get(addr: SocketAddr, path: &str) -> String {
    let mut raw = Raw(TcpStream::connect(addr).await.expect("the server accepts"));
    raw.send(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")).await;
    raw.read_to_end().await
}

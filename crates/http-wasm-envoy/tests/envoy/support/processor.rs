//! The gateway as Envoy's external processor.

use std::net::SocketAddr;
use std::sync::mpsc;

use http_wasm_gateway::config::Config;
use http_wasm_gateway::{Endpoint, Gateway};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::Wat;

/// A gateway that runs until it is dropped.
pub(crate) struct Processor {
    pub(crate) addr: SocketAddr,
    runtime: Option<Runtime>,
    /// Starts the drain.
    drain: Option<oneshot::Sender<()>>,
    serves: JoinHandle<()>,
    _files: TempDir,
}

impl Processor {
    /// Starts with these guests, of which the first is outermost. `more` are further settings of the route, and tables
    /// after it.
    pub(crate) fn start(guests: &[&Wat], more: &str) -> Self {
        Self::start_at("", guests, more)
    }

    /// The same, with these settings of its listener.
    pub(crate) fn start_at(listen: &str, guests: &[&Wat], more: &str) -> Self {
        let files = tempfile::tempdir().unwrap();
        let (mut tables, mut names) = (String::new(), Vec::new());
        for (at, wat) in guests.iter().enumerate() {
            std::fs::write(files.path().join(format!("{at}.wat")), wat.module()).unwrap();
            tables += &format!("[guests.g{at}]\npath = \"{at}.wat\"\n");
            names.push(format!("\"g{at}\""));
        }
        let guests = names.join(", ");
        let listen = format!("[[listen]]\naddress = \"127.0.0.1:0\"\n{listen}");
        let text = format!("{listen}\n{tables}[[routes]]\nguests = [{guests}]\n{more}");
        let config = Config::parse(&files.path().join("gateway.toml"), text)
            .unwrap_or_else(|faults| panic!("{faults}"));
        let runtime = Runtime::new().unwrap();
        let (tell, told) = mpsc::channel();
        let (drain, drains) = oneshot::channel();
        let serves = runtime.spawn(async move {
            let gateway = Gateway::build(config).await.unwrap();
            let ready = |addresses: &[Endpoint]| tell.send(addresses[0].addr).unwrap();
            let stop = async {
                let _dropped = drains.await;
            };
            gateway.serve_until(stop, ready).await.unwrap();
        });
        let addr = told.recv().unwrap();
        Self { addr, runtime: Some(runtime), drain: Some(drain), serves, _files: files }
    }

    /// Drains it, as on SIGTERM.
    pub(crate) fn drain(&mut self) {
        let (Some(runtime), Some(drain)) = (&self.runtime, self.drain.take()) else { return };
        drain.send(()).unwrap();
        runtime.block_on(&mut self.serves).unwrap();
    }

    /// Stops it immediately.
    pub(crate) fn stop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Drop for Processor {
    fn drop(&mut self) {
        self.stop();
    }
}

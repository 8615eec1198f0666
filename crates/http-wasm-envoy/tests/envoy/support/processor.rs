//! The gateway as Envoy's external processor.

use std::net::SocketAddr;
use std::sync::mpsc;

use http_wasm_gateway::Gateway;
use http_wasm_gateway::config::Config;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::Wat;

/// A gateway that serves until it is dropped.
pub(crate) struct Processor {
    pub(crate) addr: SocketAddr,
    runtime: Option<Runtime>,
    _files: TempDir,
}

impl Processor {
    /// With these guests, the first outermost; `more` are further settings of the route.
    pub(crate) fn start(guests: &[&Wat], more: &str) -> Self {
        let files = tempfile::tempdir().unwrap();
        let (mut tables, mut names) = (String::new(), Vec::new());
        for (at, wat) in guests.iter().enumerate() {
            std::fs::write(files.path().join(format!("{at}.wat")), wat.module()).unwrap();
            tables += &format!("[guests.g{at}]\npath = \"{at}.wat\"\n");
            names.push(format!("\"g{at}\""));
        }
        let guests = names.join(", ");
        let text = format!("listen = [\"127.0.0.1:0\"]\n{tables}[[routes]]\nguests = [{guests}]\n{more}");
        let config = Config::parse(&files.path().join("gateway.toml"), text)
            .unwrap_or_else(|faults| panic!("{faults}"));
        let runtime = Runtime::new().unwrap();
        let (tell, told) = mpsc::channel();
        runtime.spawn(async move {
            let gateway = Gateway::build(config).await.unwrap();
            gateway.serve(|addresses| tell.send(addresses[0].addr).unwrap()).await.unwrap();
        });
        Self { addr: told.recv().unwrap(), runtime: Some(runtime), _files: files }
    }

    /// It ends at once.
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

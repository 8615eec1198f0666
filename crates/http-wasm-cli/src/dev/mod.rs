//! `http-wasm dev`: serves a guest while its author writes it.
//!
//! The gateway serves the guest and reloads it after each build. Its inspector, the [`Store`], keeps the last
//! exchanges, which are shown in the terminal and on a page.

mod args;
mod build;
mod exchange;
mod json;
mod page;
mod replay;
mod signals;
mod store;
mod terminal;
mod watch;

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use http_wasm_gateway::{Bound, Gateway, Reloader, StartError};
use tokio::net::TcpListener;

use self::args::{Dev, shown};
use self::build::BuildResult;
use self::page::Page;
use self::signals::Signals;
use self::store::{GuestPhase, GuestState, Store};
use self::terminal::{Printer, duration};
use self::watch::{Change, Watcher};
use crate::failure::Failure;
use crate::logging::{self, escaped};
use crate::output::print;
use crate::runtime;

pub(crate) use self::args::DevArgs;

/// Builds and serves until a signal stops it.
pub(crate) fn run(args: DevArgs) -> Result<(), Failure> {
    let dev = Dev::resolve(args)?;
    logging::init(&dev.config.log)?;
    let builder = dev.builder.clone();
    let result = runtime::block_on(serve(dev));
    if let Some(builder) = builder {
        builder.stop();
    }
    result
}

async fn serve(dev: Dev) -> Result<(), Failure> {
    let store = Store::new(Printer::start()?);
    let mut signals = Signals::install().map_err(|error| system("cannot handle signals", &error))?;
    let listener = listen(dev.page).await?;
    let page =
        listener.local_addr().map_err(|error| system("cannot determine the page's address", &error))?;
    let token = page::token().map_err(|error| Failure::Other(format!("cannot create a token: {error}")))?;
    let page_server = tokio::spawn(Page::new(store.clone(), token).serve(listener));

    let mut session = Session::new(dev, store);
    let bound = tokio::select! {
        bound = session.start(page) => bound?,
        () = signals.recv() => return Ok(()),
    };
    let reloader = bound.reloader();
    tokio::select! {
        never = session.follow(&reloader) => match never {},
        () = signals.recv() => {}
    }
    if let Some(builder) = &session.dev.builder {
        builder.stop();
    }
    bound.close(signals.recv()).await;
    page_server.abort();
    Ok(())
}

async fn listen(addr: SocketAddr) -> Result<TcpListener, Failure> {
    let bound = TcpListener::bind(addr).await;
    Ok(bound.map_err(|source| StartError::Listen { address: format!("{addr} (--page)"), source })?)
}

fn system(what: &str, error: &io::Error) -> Failure {
    Failure::Other(format!("{what}: {}", crate::failure::plain(error)))
}

/// The guest under development.
struct Session {
    dev: Dev,
    store: Arc<Store>,
    watcher: Watcher,
}

impl Session {
    fn new(dev: Dev, store: Arc<Store>) -> Self {
        let watcher = Watcher::new(dev.source.clone(), dev.inputs.clone());
        Self { dev, store, watcher }
    }

    /// Builds and loads the guest, retrying after each change until that succeeds, and listens.
    async fn start(&mut self, page: SocketAddr) -> Result<Bound, Failure> {
        let page = page::url(page);
        print_status(&format!("what the guest does is shown here and at {page}"));
        loop {
            if self.build().await {
                match Gateway::build_inspected(self.dev.config.clone(), self.store.clone()).await {
                    Ok(gateway) => {
                        let bound = gateway.bind().await?;
                        self.announce(&bound, &page)?;
                        return Ok(bound);
                    }
                    Err(error @ StartError::Guests(_)) => self.failed(&error.to_string(), String::new()),
                    Err(error) => return Err(error.into()),
                }
            }
            print_status("not serving yet; waiting for a change");
            self.watcher.changed().await;
        }
    }

    fn announce(&self, bound: &Bound, page: &str) -> Result<(), Failure> {
        let addresses = bound.addresses()?;
        let Some(address) = addresses.first() else { return Ok(()) };
        self.loaded(&bound.reloader());
        self.store.change_guest(|guest| {
            guest.server = Some(address.addr);
            guest.url = Some(address.to_string());
        });
        let watched = match &self.dev.source {
            Some(directory) => {
                format!("the guest is rebuilt when files in {} change", directory.display())
            }
            None => format!("the guest is reloaded when {} changes", self.dev.guest.display()),
        };
        print(&format!("listening on {address}\npage at {page}\n{watched}\n"))
    }

    /// Builds and reloads after each change.
    async fn follow(&mut self, reloader: &Reloader) -> std::convert::Infallible {
        loop {
            let change = self.watcher.changed().await;
            if change == Change::Source && !self.build().await {
                print_status("the previous guest keeps running");
                continue;
            }
            let started = Instant::now();
            match reloader.reload().await {
                Ok(summary) if summary.guests_kept == summary.guests => {
                    print_status("the guest is unchanged");
                    self.settled();
                }
                Ok(_) => {
                    print_status(&format!(
                        "{} was reloaded in {}",
                        self.dev.name(),
                        duration(started.elapsed())
                    ));
                    self.loaded(reloader);
                }
                Err(error) => {
                    self.failed(&error.to_string(), String::new());
                    print_status("the previous guest keeps running");
                }
            }
        }
    }

    /// Runs the build command, if there is one. Returns whether the guest may be loaded.
    async fn build(&mut self) -> bool {
        let Some(builder) = self.dev.builder.clone() else { return true };
        self.store.change_guest(|guest| guest.phase = GuestPhase::Building);
        print_status(&format!("building: {}", builder.command()));
        let started = Instant::now();
        let built = tokio::task::spawn_blocking(move || builder.run()).await;
        let BuildResult { failure, output } = built.unwrap_or_else(|_| BuildResult {
            failure: Some("it failed for an unknown reason".to_owned()),
            output: String::new(),
        });
        self.watcher.built().await;
        if let Some(failure) = failure {
            self.failed(&format!("the build failed: {failure}"), output);
            return false;
        }
        if let Some(missing) = self.dev.missing() {
            self.failed(&missing, output);
            return false;
        }
        print_status(&format!("built in {}", duration(started.elapsed())));
        true
    }

    /// Records that the last change can't be used.
    fn failed(&self, message: &str, output: String) {
        print_status(message);
        self.store.change_guest(|guest| {
            guest.phase = GuestPhase::Failed;
            guest.message = message.to_owned();
            guest.output = output;
        });
    }

    /// Records that the last change made no difference.
    fn settled(&self) {
        self.store.change_guest(|guest| {
            let GuestState { phase, message, output, .. } = guest;
            *phase = GuestPhase::Running;
            message.clear();
            output.clear();
        });
    }

    /// Records that a new guest is loaded.
    fn loaded(&self, reloader: &Reloader) {
        self.settled();
        let warnings = reloader.guest_warnings();
        self.store.change_guest(|guest| {
            guest.name = shown(&self.dev.guest);
            guest.loaded = Some(SystemTime::now());
            guest.warnings =
                warnings.iter().map(|(_, warning)| format!("{warning} (`{}`)", warning.lint)).collect();
        });
    }
}

/// Writes a line to stderr.
fn print_status(text: &str) {
    // If the terminal is gone, there is nowhere to report that.
    let _ = writeln!(io::stderr().lock(), "dev: {}", escaped(text));
}

//! The last exchanges and the state of the guest, for the terminal and the page.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::SystemTime;

use http::{request, response};
use http_wasm_gateway::{BodyPart, InspectedExchange, Inspector, Message, Side};
use http_wasm_tower::{Phase, TraceEvent};

use super::exchange::Exchange;
use super::terminal::Printer;
use crate::exchange::Recorder;

/// How many exchanges are kept, and roughly how much memory they may take in total. The oldest are dropped first.
pub(super) const MAX_EXCHANGES: usize = 200;
pub(super) const MAX_BYTES: usize = 32 * 1024 * 1024;

/// Instances whose start-up is kept until they serve their first request.
const MAX_STARTUPS: usize = 32;

/// Memory of a start-up's record.
const STARTUP_BYTES: usize = 64 * 1024;

/// Maximum number of requests that are being sent again.
const MAX_REPLAYS: usize = 64;

/// The exchanges and the state of the guest.
pub(super) struct Store {
    this: Weak<Self>,
    /// Incremented with each change.
    version: AtomicU64,
    next_id: AtomicU64,
    /// Memory of the exchanges that are kept.
    bytes: AtomicI64,
    state: Mutex<State>,
    printer: Printer,
}

#[derive(Default)]
struct State {
    exchanges: VecDeque<Arc<Exchange>>,
    guest: GuestState,
    /// Start-ups of instances, oldest first.
    startups: VecDeque<(u64, Recorder)>,
    /// The addresses from which requests are sent again, with the exchanges that they repeat.
    replays: HashMap<SocketAddr, u64>,
}

/// The state of the guest.
#[derive(Debug, Clone, Default)]
pub(super) struct GuestState {
    pub(super) phase: GuestPhase,
    /// The result of the last attempt to load it.
    pub(super) message: String,
    /// The end of the last build's output, if the build failed.
    pub(super) output: String,
    pub(super) warnings: Vec<String>,
    /// When the running guest was loaded.
    pub(super) loaded: Option<SystemTime>,
    /// Its file.
    pub(super) name: String,
    /// Address and URL of the server, once it is serving.
    pub(super) server: Option<SocketAddr>,
    pub(super) url: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum GuestPhase {
    #[default]
    Building,
    Running,
    /// The last change couldn't be used.
    Failed,
}

impl GuestPhase {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Building => "building",
            Self::Running => "running",
            Self::Failed => "failed",
        }
    }
}

impl Store {
    pub(super) fn new(printer: Printer) -> Arc<Self> {
        Arc::new_cyclic(|this| Self {
            this: this.clone(),
            version: AtomicU64::new(1),
            next_id: AtomicU64::new(1),
            bytes: AtomicI64::new(0),
            state: Mutex::default(),
            printer,
        })
    }

    /// A number that is different after each change.
    pub(super) fn version(&self) -> u64 {
        self.version.load(Ordering::Relaxed)
    }

    /// The exchanges that are kept, oldest first.
    pub(super) fn exchanges(&self) -> Vec<Arc<Exchange>> {
        self.state().exchanges.iter().cloned().collect()
    }

    /// The exchange with this number, if it is kept.
    pub(super) fn exchange(&self, id: u64) -> Option<Arc<Exchange>> {
        self.state().exchanges.iter().find(|exchange| exchange.id == id).cloned()
    }

    /// Memory of the exchanges that are kept.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed).max(0).cast_unsigned()
    }

    pub(super) fn guest(&self) -> GuestState {
        self.state().guest.clone()
    }

    pub(super) fn change_guest(&self, change: impl FnOnce(&mut GuestState)) {
        change(&mut self.state().guest);
        self.changed();
    }

    /// Announces that the next request from this address repeats this exchange.
    pub(super) fn expect_replay(&self, from: SocketAddr, id: u64) {
        let mut state = self.state();
        // Some may never have reached the guest.
        if state.replays.len() >= MAX_REPLAYS {
            state.replays.clear();
        }
        state.replays.insert(from, id);
    }

    /// The last exchange with a request from this address.
    pub(super) fn exchange_from(&self, client: SocketAddr) -> Option<u64> {
        self.state()
            .exchanges
            .iter()
            .rev()
            .find(|exchange| exchange.client == client)
            .map(|exchange| exchange.id)
    }

    fn changed(&self) {
        self.version.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts the memory of the exchange, and drops the oldest exchanges if the total is too high.
    fn account(&self, exchange: &Exchange) {
        let bytes = exchange.unreported() as i64;
        let mut total = self.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        loop {
            let oldest = {
                let mut state = self.state();
                let count = state.exchanges.len();
                let is_full = count > MAX_EXCHANGES || (total > MAX_BYTES as i64 && count > 1);
                if is_full { state.exchanges.pop_front() } else { None }
            };
            let Some(oldest) = oldest else { break };
            let freed = oldest.forget() as i64;
            total = self.bytes.fetch_sub(freed, Ordering::Relaxed) - freed;
        }
        self.changed();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inspector for Store {
    fn begin(&self, client: SocketAddr) -> Arc<dyn InspectedExchange> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let exchange = {
            let mut state = self.state();
            let replay_of = state.replays.remove(&client);
            let exchange = Arc::new(Exchange::new(id, client, replay_of));
            state.exchanges.push_back(exchange.clone());
            exchange
        };
        self.account(&exchange);
        Arc::new(Followed { exchange, store: self.this.clone() })
    }

    fn outside(&self, instance: u64, event: &TraceEvent<'_>) {
        let recorder = {
            let mut state = self.state();
            if let TraceEvent::Created = event {
                if state.startups.len() >= MAX_STARTUPS {
                    state.startups.pop_front();
                }
                state.startups.push_back((instance, Recorder::with_room(STARTUP_BYTES)));
            }
            state
                .startups
                .iter()
                .find(|(number, _)| *number == instance)
                .map(|(_, recorder)| recorder.clone())
        };
        if let Some(recorder) = recorder {
            recorder.event(event);
        }
    }
}

/// An exchange in progress.
struct Followed {
    exchange: Arc<Exchange>,
    store: Weak<Store>,
}

impl Followed {
    fn account(&self) {
        if let Some(store) = self.store.upgrade() {
            store.account(&self.exchange);
        }
    }
}

impl InspectedExchange for Followed {
    fn request(&self, side: Side, head: &request::Parts) {
        if !self.exchange.is_forgotten() {
            self.exchange.request(side, head);
            self.account();
        }
    }

    fn response(&self, side: Side, head: &response::Parts) {
        if !self.exchange.is_forgotten() {
            self.exchange.response(side, head);
            self.account();
        }
    }

    fn body(&self, side: Side, message: Message, part: BodyPart<'_>) {
        self.exchange.body(side, message, part);
        self.account();
    }

    fn event(&self, instance: u64, event: &TraceEvent<'_>) {
        if self.exchange.is_forgotten() {
            return;
        }
        if let (TraceEvent::Entered { phase: Phase::Request, .. }, Some(store)) =
            (event, self.store.upgrade())
        {
            let mut state = store.state();
            let startup = state.startups.iter().position(|(number, _)| *number == instance);
            if let Some((_, startup)) = startup.and_then(|at| state.startups.remove(at)) {
                drop(state);
                self.exchange.recorder.begin_with(&startup);
            }
        }
        self.exchange.recorder.event(event);
        if let TraceEvent::Returned { .. } = event {
            self.account();
        }
    }

    fn line(&self, stream: Option<&str>, text: &str) {
        // Messages that a guest logs are already recorded as calls.
        if let Some(stream) = stream
            && !self.exchange.is_forgotten()
        {
            self.exchange.recorder.line(stream.to_owned(), text.to_owned());
        }
    }

    fn finished(&self) {
        if self.exchange.finish() {
            self.account();
            if let Some(store) = self.store.upgrade() {
                store.printer.print(&self.exchange);
            }
        }
    }
}

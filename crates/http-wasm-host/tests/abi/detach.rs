//! Hosts that are bound to their server's thread, and how they detach from it.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::thread;

use http_wasm_host::{
    BodyKind, BodyState, BoxError, Detach, Detachable, Engine, Frame, Guest, HeadChange, HeaderChange,
    InMemoryHost, LocalHost, Outcome, Outgoing, Refused,
};

use crate::support::{Probe, Wat, block_on, decode, eventually, guest, number, patient, proceeds, stops};

/// A server's state for one stream. It counts how often it is accessed.
#[derive(Default)]
struct Server {
    asked: Cell<usize>,
}

/// A host that refers to a server on the same thread.
pub(crate) struct RcHost {
    server: Rc<Server>,
    message: InMemoryHost,
}

impl RcHost {
    fn on(server: &Rc<Server>) -> Detachable<Self> {
        Detachable::new(Self { server: server.clone(), message: InMemoryHost::new("GET", "/live") })
    }

    fn asks(&self) -> &InMemoryHost {
        self.server.asked.set(self.server.asked.get() + 1);
        &self.message
    }
}

impl Detach for RcHost {
    type Detached = InMemoryHost;

    fn into_detached(self) -> InMemoryHost {
        self.message
    }
}

impl LocalHost for RcHost {
    type Head = <InMemoryHost as LocalHost>::Head;

    fn save_head(&self, message: BodyKind) -> Self::Head {
        self.asks().save_head(message)
    }

    fn restore_head(&mut self, head: Self::Head) {
        self.message.restore_head(head);
    }

    fn method(&self) -> &[u8] {
        self.asks().method()
    }

    fn uri(&self) -> &[u8] {
        self.asks().uri()
    }

    fn change_head(&mut self, change: HeadChange<'_>) -> Result<(), Refused> {
        self.message.change_head(change)
    }

    fn protocol_version(&self) -> &'static str {
        self.asks().protocol_version()
    }

    fn source_addr(&self) -> Option<SocketAddr> {
        self.asks().source_addr()
    }

    fn status(&self) -> u16 {
        self.asks().status()
    }

    fn header_names<'a>(&'a self, message: BodyKind, visit: impl FnMut(&'a [u8])) {
        self.asks().header_names(message, visit);
    }

    fn header_values<'a>(&'a self, message: BodyKind, name: &[u8], visit: impl FnMut(&'a [u8])) {
        self.asks().header_values(message, name, visit);
    }

    fn change_header(
        &mut self,
        message: BodyKind,
        name: &[u8],
        change: HeaderChange<'_>,
    ) -> Result<(), Refused> {
        self.message.change_header(message, name, change)
    }

    fn poll_body(
        &mut self,
        message: BodyKind,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame, BoxError>>> {
        self.message.poll_body(message, cx)
    }

    fn body_state(&self, message: BodyKind) -> BodyState {
        self.asks().body_state(message)
    }

    fn body_remaining(&self, message: BodyKind) -> Option<u64> {
        self.asks().body_remaining(message)
    }

    fn set_body(&mut self, message: BodyKind, body: Outgoing) {
        self.message.set_body(message, body);
    }
}

fn load(wat: &Wat) -> Probe<Detachable<RcHost>> {
    let guest: Guest<_> = wat.builder(&Engine::new().unwrap()).load(wat.text().as_bytes()).unwrap();
    Probe::new(guest)
}

/// Repeats an attempt until no guest was detached merely because the machine was busy: a guest that isn't scheduled for
/// longer than a slice seems to be computing for that long.
fn undisturbed<T>(mut attempt: impl FnMut() -> Option<T>) -> T {
    (0..1_000).find_map(|_| attempt()).expect("the machine isn't that busy")
}

/// Computes for several hundredths of a second.
const SPIN: &str = "(loop $l (global.set $n (i32.add (global.get $n) 1))
                      (br_if $l (i32.rem_u (global.get $n) (i32.const 50000000))))";

#[test]
fn a_guest_runs_on_a_thread_bound_host_which_is_returned_to_its_owner() {
    let server = Rc::new(Server::default());
    let probe = load(&stops("(call $set_status_code (i32.const 418))"));
    let host = undisturbed(|| {
        server.asked.set(0);
        probe.respond(RcHost::on(&server)).into_inner().ok()
    });
    assert!(host.server.asked.get() > 0);
    assert_eq!(host.message.status, 418);
    assert_eq!(Rc::strong_count(&server), 2);
}

#[test]
fn a_long_computation_detaches_from_the_server_and_moves_to_another_thread() {
    let server = Rc::new(Server::default());
    let wat = proceeds(SPIN)
        .item("(global $n (mut i32) (i32.const 0))")
        .on_response("(call $note (local.get $is_error))")
        .limits(patient());
    let probe = load(&wat);
    let mut call = probe.0.handle_request(RcHost::on(&server));
    let waker = std::task::Waker::noop();
    assert!(std::pin::Pin::new(&mut call).poll(&mut Context::from_waker(waker)).is_pending());
    assert_eq!(Rc::strong_count(&server), 1, "nothing refers to the server any more");
    let path = thread::spawn(move || {
        let Ok(Outcome::Next(mut pinned)) = block_on(call) else { panic!("the guest proceeds") };
        let host = pinned.host_mut();
        let path = host.uri().to_vec();
        host.detached_mut().expect("it is detached").status = 204;
        let handled = block_on(pinned.handle_response()).unwrap();
        assert_eq!(handled.host.status(), 204);
        path
    });
    assert_eq!(path.join().unwrap(), b"/live", "it has its copies");
    assert_eq!(probe.stats().idle, 1);
}

#[test]
fn a_request_without_a_response_detaches_from_the_server_before_its_clean_up_call() {
    let server = Rc::new(Server::default());
    let probe = load(&guest().on_response("(call $note (local.get $is_error))"));
    drop(probe.next(RcHost::on(&server)));
    assert_eq!(Rc::strong_count(&server), 1);
    eventually("the clean-up", || probe.stats().idle == 1);
    let dump = RcHost { server, message: InMemoryHost::new("DUMP", "/") };
    let mut notes = match probe.respond(Detachable::new(dump)).into_inner() {
        Ok(attached) => attached.message,
        Err(detached) => detached,
    };
    assert_eq!(decode(&notes.response.take_body().0), [number(1)]);
}

#[test]
fn an_instance_with_start_up_code_is_created_for_a_detached_host() {
    let server = Rc::new(Server::default());
    let wat = guest().item("(func (export \"_initialize\"))");
    let probe = load(&wat);
    // One instance is idle, so the second request needs a new one.
    let first = undisturbed(|| {
        eventually("an idle instance", || probe.stats().idle == 1);
        let first = probe.next(RcHost::on(&server));
        (Rc::strong_count(&server) == 2).then_some(first)
    });
    assert_eq!(probe.stats().idle, 0);
    let second = probe.next(RcHost::on(&server));
    assert_eq!(Rc::strong_count(&server), 2, "the second has let go");
    drop((first, second));
}

#[test]
fn a_thread_bound_host_dropped_on_another_thread_is_leaked_without_a_panic() {
    let server = Rc::new(Server::default());
    let host = RcHost::on(&server);
    thread::spawn(move || drop(host)).join().expect("no panic");
    assert_eq!(Rc::strong_count(&server), 2);
}

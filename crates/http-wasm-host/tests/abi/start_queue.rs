//! Requests that find no idle instance of a guest with a slow start-up.

use std::sync::{Arc, Mutex};
use std::thread::available_parallelism;
use std::time::Duration;

use http_wasm_host::{Body, Error, Guest, HttpHost, InMemoryHost, Observer, Outcome, Pinned};

use crate::support::{ByHand, Probe, block_on, engine, eventually, get, within};

/// A guest that sleeps for 300 ms at start-up.
fn sleeps_at_start() -> Probe<InMemoryHost> {
    Probe::new(Guest::load(engine(), SLEEPS.as_bytes()).unwrap())
}

const SLEEPS: &str = r#"(module
      (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
      (memory (export "memory") 1)
      (data (i32.const 16) "\01\00\00\00\00\00\00\00\00\a3\e1\11")
      (func (export "_initialize")
        (drop (call $poll (i32.const 0) (i32.const 100) (i32.const 1) (i32.const 200))))
      (func (export "handle_request") (result i64) (i64.const 1))
      (func (export "handle_response") (param i32 i32)))"#;

/// How long a request waits for its turn.
const TIMEOUT: Duration = Duration::from_secs(1);

/// As many requests as may run start-ups at once, all of which are in progress.
fn starting(probe: &Probe<InMemoryHost>) -> Vec<ByHand<impl Future<Output = Answer>>> {
    let mut starting: Vec<_> = (0..available_parallelism().unwrap().get()).map(|_| request(probe)).collect();
    starting.iter_mut().for_each(ByHand::waits);
    starting
}

type Answer = Result<Outcome<InMemoryHost>, Error>;

fn request(probe: &Probe<InMemoryHost>) -> ByHand<impl Future<Output = Answer>> {
    ByHand::new(probe.0.handle_request(get()))
}

fn passed_on(answer: Answer) -> Pinned<InMemoryHost> {
    match answer {
        Ok(Outcome::Next(pinned)) => pinned,
        _ => panic!("the guest proceeds"),
    }
}

/// Polls whenever it is woken.
fn finish(mut call: ByHand<impl Future<Output = Answer>>) -> Pinned<InMemoryHost> {
    let mut answer = None;
    eventually("the request is served", || match call.poll() {
        std::task::Poll::Ready(ready) => {
            answer = Some(ready);
            true
        }
        std::task::Poll::Pending => false,
    });
    passed_on(answer.unwrap())
}

#[test]
fn at_most_one_start_up_per_thread_runs_at_a_time() {
    within(TIMEOUT, || {
        let probe = sleeps_at_start();
        let busy = probe.next(get());
        let mut starting = starting(&probe);
        let running = probe.stats().created;
        let mut next = request(&probe);
        next.waits();
        assert_eq!(probe.stats().created, running);
        let other = finish(starting.pop().unwrap());
        assert!(next.wakes() > 0);
        next.waits();
        assert_eq!(probe.stats().created, running + 1);
        for pinned in [busy, other, finish(next)] {
            block_on(pinned.handle_response()).unwrap();
        }
    });
}

#[test]
fn a_returned_instance_goes_to_the_longest_waiting_request() {
    within(TIMEOUT, || {
        let probe = sleeps_at_start();
        let busy = probe.next(get());
        let _starting = starting(&probe);
        let created = probe.stats().created;
        let (mut first, mut second) = (request(&probe), request(&probe));
        first.waits();
        second.waits();
        block_on(busy.handle_response()).unwrap();
        assert_eq!((first.wakes(), second.wakes(), probe.stats().idle), (1, 0, 0));
        second.waits();
        // This request isn't answered, but its instance is returned nevertheless.
        drop(passed_on(first.ends()));
        eventually("the clean-up call has been made", || second.wakes() > 0);
        drop(passed_on(second.ends()));
        assert_eq!(probe.stats().created, created);
    });
}

#[test]
fn sheddable_requests_wait_behind_all_others() {
    within(TIMEOUT, || {
        let probe = Probe::new(Guest::<HttpHost>::load(engine(), SLEEPS.as_bytes()).unwrap());
        let host = || HttpHost::new(http::Request::new(Body::empty()), None);
        let busy = probe.next(host());
        let mut starting: Vec<_> = (0..available_parallelism().unwrap().get())
            .map(|_| ByHand::new(probe.0.handle_request(host())))
            .collect();
        starting.iter_mut().for_each(ByHand::waits);
        let mut shed = ByHand::new(probe.0.handle_request(host().sheddable()));
        shed.waits();
        let mut other = ByHand::new(probe.0.handle_request(host()));
        other.waits();
        block_on(busy.handle_response()).unwrap();
        assert_eq!((shed.wakes(), other.wakes()), (0, 1));
        assert!(matches!(other.ends(), Ok(Outcome::Next(_))));
    });
}

#[test]
fn a_dropped_request_passes_on_its_instance_or_start_up_permit() {
    within(TIMEOUT, || {
        let probe = sleeps_at_start();
        let busy = probe.next(get());
        let mut starting = starting(&probe);
        let [mut first, mut second, mut third] = [(); 3].map(|()| request(&probe));
        first.waits();
        second.waits();
        third.waits();
        // An instance.
        block_on(busy.handle_response()).unwrap();
        drop(first);
        let busy = passed_on(second.ends());
        // A turn.
        drop(starting.pop());
        let made = probe.stats().created;
        drop(third);
        let mut fourth = request(&probe);
        fourth.waits();
        assert_eq!(probe.stats().created, made + 1);
        // And an instance again, with no other request waiting.
        let mut last = request(&probe);
        last.waits();
        block_on(busy.handle_response()).unwrap();
        assert_eq!(probe.stats().idle, 0);
        drop(last);
        assert_eq!(probe.stats().idle, 1);
    });
}

#[test]
fn stalled_start_ups_do_not_block_other_requests() {
    let probe = sleeps_at_start();
    let busy = probe.next(get());
    // These are never polled again.
    let _starting = starting(&probe);
    let made = probe.stats().created;
    let last = finish(request(&probe));
    assert_eq!(probe.stats().created, made + 1);
    for pinned in [busy, last] {
        block_on(pinned.handle_response()).unwrap();
    }
}

#[derive(Default)]
struct Checkouts(Mutex<Vec<bool>>);

impl Observer for Checkouts {
    fn checked_out(&self, _: &str, hit: bool) {
        self.0.lock().unwrap().push(hit);
    }
}

#[test]
fn a_waiting_request_that_gets_a_returned_instance_counts_as_a_hit() {
    within(TIMEOUT, || {
        let checkouts = Arc::new(Checkouts::default());
        let builder = Guest::<InMemoryHost>::builder(engine()).observer(checkouts.clone());
        let probe = Probe::new(builder.load(SLEEPS.as_bytes()).unwrap());
        let busy = probe.next(get());
        let _starting = starting(&probe);
        let mut waiting = request(&probe);
        waiting.waits();
        block_on(busy.handle_response()).unwrap();
        drop(passed_on(waiting.ends()));
        let checkouts = checkouts.0.lock().unwrap();
        assert_eq!((checkouts.first(), checkouts.last()), (Some(&true), Some(&true)));
        assert!(checkouts[1..checkouts.len() - 1].iter().all(|hit| !hit));
    });
}

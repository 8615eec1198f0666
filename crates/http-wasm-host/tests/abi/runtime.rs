//! The `Runtime` hook: what the core needs from an executor, if there is one.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http_wasm_host::{Engine, Guest, InMemoryHost, Runtime, Task};

use crate::support::{
    ByHand, Probe, Wat, block_on, eventually, get, guest, number, patient, proceeds, stops,
};

/// An executor that doesn't run tasks by itself, and counts calls.
#[derive(Clone, Default)]
struct Recorder(Arc<Recorded>);

#[derive(Default)]
struct Recorded {
    tasks: Mutex<Vec<Task>>,
    yields: AtomicUsize,
    declines: bool,
}

impl Runtime for Recorder {
    fn spawn(&self, task: Task) -> Result<(), Task> {
        if self.0.declines {
            return Err(task);
        }
        self.0.tasks.lock().unwrap().push(task);
        Ok(())
    }

    fn sleep(&self, _: Duration) -> Option<Task> {
        None
    }

    fn yield_now(&self) -> Task {
        self.0.yields.fetch_add(1, Ordering::Relaxed);
        Box::pin(std::future::ready(()))
    }
}

fn load(wat: &Wat, runtime: impl Runtime) -> Probe<InMemoryHost> {
    let engine = Engine::builder().runtime(runtime).build().unwrap();
    let guest: Guest<InMemoryHost> = wat.builder(&engine).load(wat.text().as_bytes()).unwrap();
    Probe::new(guest)
}

fn notes_end() -> Wat {
    guest().on_response("(call $note (local.get $is_error))")
}

#[test]
fn only_a_function_that_ends_after_few_instructions_runs_at_once_from_the_first_call_on() {
    let brief = "(drop (call $get_status_code))";
    let reads = "(drop (call $read_body (i32.const 0) (i32.const 16384) (i32.const 1)))";
    for yields_always in [false, true] {
        let engine = Engine::builder().yields_always(yields_always).build().unwrap();
        for (calls, at_once) in [(brief, true), ("(loop)", false), (reads, true)] {
            let wat = stops(calls);
            let guest: Guest<InMemoryHost> = wat.builder(&engine).load(wat.text().as_bytes()).unwrap();
            assert_eq!(guest.handle_request(get()).done().is_ok(), at_once, "{calls}, {yields_always}");
        }
        // What it reads has yet to arrive.
        let wat = stops(reads);
        let guest: Guest<InMemoryHost> = wat.builder(&engine).load(wat.text().as_bytes()).unwrap();
        let mut host = get();
        let _feed = host.request.feed_body();
        assert!(guest.handle_request(host).done().is_err());
    }
}

#[test]
fn clean_up_calls_are_spawned_on_the_runtime() {
    let runtime = Recorder::default();
    let probe = load(&notes_end(), runtime.clone());
    drop(probe.next(get()));
    let task = runtime.0.tasks.lock().unwrap().pop().expect("a task was spawned");
    assert_eq!((probe.stats().live, probe.stats().idle), (1, 0), "not yet: the task decides when");
    block_on(task);
    assert_eq!((probe.stats().live, probe.stats().idle), (1, 1));
    assert_eq!(probe.notes(), [number(1)]);
}

#[test]
fn a_clean_up_that_the_runtime_drops_drops_the_instance_and_is_counted() {
    let runtime = Recorder::default();
    let probe = load(&notes_end(), runtime.clone());
    drop(probe.next(get()));
    runtime.0.tasks.lock().unwrap().clear();
    let stats = probe.stats();
    assert_eq!((stats.live, stats.idle, stats.dropped_unclean), (0, 0, 1));
    assert_eq!(probe.noted(get()), [number(0)]);
}

#[test]
fn clean_ups_that_a_runtime_declines_run_on_the_housekeeping_thread() {
    let runtime = Recorder(Arc::new(Recorded { declines: true, ..Recorded::default() }));
    let probe = load(&notes_end(), runtime);
    drop(probe.next(get()));
    eventually("the clean-up", || probe.stats().idle == 1);
    assert_eq!(probe.notes(), [number(1)]);
}

#[test]
fn a_completed_request_does_not_use_the_runtime() {
    let runtime = Recorder::default();
    let probe = load(&notes_end(), runtime.clone());
    for _ in 0..3 {
        probe.run(get(), |_| {});
    }
    assert!(runtime.0.tasks.lock().unwrap().is_empty());
}

#[test]
fn a_guest_known_to_compute_for_long_yields_through_the_runtime() {
    let spin = "(loop $l (global.set $n (i32.add (global.get $n) 1))
                  (br_if $l (i32.rem_u (global.get $n) (i32.const 50000000))))";
    let wat = stops(spin).item("(global $n (mut i32) (i32.const 0))").limits(patient());
    let runtime = Recorder::default();
    let probe = load(&wat, runtime.clone());
    // The first call may block its thread. It classifies the guest as slow.
    probe.respond(get());
    let before = runtime.0.yields.load(Ordering::Relaxed);
    probe.respond(get());
    assert!(runtime.0.yields.load(Ordering::Relaxed) > before);
}

/// An executor whose yields never complete.
struct Stuck;

impl Runtime for Stuck {
    fn spawn(&self, task: Task) -> Result<(), Task> {
        Err(task)
    }

    fn sleep(&self, _: Duration) -> Option<Task> {
        None
    }

    fn yield_now(&self) -> Task {
        Box::pin(std::future::pending())
    }
}

#[test]
fn dropping_a_call_that_has_yielded_drops_the_instance() {
    let wat = stops("(loop $l (br $l))").limits(patient());
    let probe = load(&wat, Stuck);
    let mut host = get();
    // A call that may have to wait runs on a fiber, where it can be suspended.
    let _feed = host.request.feed_body();
    let mut call = ByHand::new(probe.0.handle_request(host));
    call.waits();
    drop(call);
    let stats = probe.stats();
    assert_eq!((stats.live, stats.idle, stats.dropped_cancelled), (0, 0, 1));
}

#[test]
fn a_quick_guest_never_yields() {
    let runtime = Recorder::default();
    let probe = load(&proceeds("(drop (call $get_method BUF LIMIT))"), runtime.clone());
    for _ in 0..100 {
        probe.run(get(), |_| {});
    }
    // A thread that isn't scheduled for a while may look slow once.
    assert!(runtime.0.yields.load(Ordering::Relaxed) < 50);
}

#[test]
fn an_engine_and_its_queue_are_dropped_with_its_last_guest() {
    let probe = load(&notes_end(), Recorder(Arc::new(Recorded { declines: true, ..Recorded::default() })));
    for _ in 0..10 {
        drop(probe.next(get()));
    }
    drop(probe);
    // There is nothing to assert: no thread panics, and nothing hangs.
}

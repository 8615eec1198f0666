//! Where instances come from, how many are kept, and how much memory they may use together.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use http_wasm_host::{
    Body, Call, DropReason, Engine, EngineBuilder, Error, ErrorKind, HttpHost, InMemoryHost, Limits,
    LoadError, Observer, Outcome, Phase, Pinned, PoolSettings,
};

use crate::support::{
    BUFFER_REQUEST, Probe, Wat, block_on, eventually, get, guest, post, proceeds, stops, with_subscriber,
    within,
};

const PAGE: usize = 64 * 1024;

fn load(engine: &Engine, wat: &Wat) -> Probe<InMemoryHost> {
    Probe::new(wat.builder(engine).load(wat.text().as_bytes()).unwrap())
}

fn engine(change: impl FnOnce(EngineBuilder) -> EngineBuilder) -> Engine {
    change(Engine::builder()).build().unwrap()
}

fn settle(pinned: Vec<Pinned<InMemoryHost>>) {
    for pinned in pinned {
        block_on(pinned.handle_response()).unwrap();
    }
}

fn with_pool(settings: PoolSettings) -> Probe<InMemoryHost> {
    let wat = guest();
    Probe::new(wat.builder(crate::support::engine()).pool(settings).load(wat.text().as_bytes()).unwrap())
}

#[test]
fn instances_beyond_the_slots_are_created_outside_them() {
    let engine = engine(|builder| builder.slots(2));
    // A start function, a fiber and a table show that the instance is complete.
    let wat = proceeds("(call $read_all 0 64) (drop (table.grow $t (ref.null func) 1))")
        .item("(table $t 1 funcref)")
        .features(BUFFER_REQUEST)
        .pages(2);
    let probe = load(&engine, &wat);
    for _ in 0..2 {
        let busy: Vec<_> = (0..7).map(|_| probe.next(post(b"hello"))).collect();
        assert_eq!(probe.stats().live, 7);
        settle(busy);
        assert_eq!((probe.stats().idle, probe.stats().created), (7, 7));
    }
}

#[test]
fn warm_instances_dropped_by_failures_are_replaced() {
    let settings = PoolSettings { min_warm: 3, max_idle: None, idle_ttl: Duration::from_millis(40) };
    let wat = stops("unreachable");
    let builder = wat.builder(crate::support::engine()).pool(settings);
    let probe = Probe::<InMemoryHost>::new(builder.load(wat.text().as_bytes()).unwrap());
    assert_eq!(probe.stats().idle, 3);
    for failed in 1..=2 {
        for _ in 0..3 {
            assert_eq!(probe.error(get()).kind(), ErrorKind::Trap);
        }
        eventually("three are idle again", || probe.stats().idle == 3 && probe.stats().live == 3);
        assert!(probe.stats().dropped_failed >= 3 * failed);
    }
}

#[test]
fn an_engine_without_slots_serves_requests() {
    let probe = load(&engine(|builder| builder.slots(0)), &guest());
    settle((0..3).map(|_| probe.next(get())).collect());
    assert_eq!(probe.stats().idle, 3);
}

#[test]
fn a_module_too_large_for_any_slot_serves_requests() {
    let engine = engine(|builder| builder.slots(4));
    for item in ["(memory $second 1)", "(table 1 funcref) (table 1 funcref) (table 1 funcref)"] {
        let probe = load(&engine, &guest().item(item));
        settle((0..6).map(|_| probe.next(get())).collect());
        assert_eq!(probe.stats().idle, 6, "{item}");
    }
}

#[test]
fn a_table_may_grow_to_its_limit_whatever_the_slot_size() {
    let limits = Limits { table_elements: 300_000, ..Limits::default() };
    let grow = "(if (i32.eq (table.grow $t (ref.null func) (i32.const 250000)) -1) (then unreachable))";
    let probe = stops(grow).item("(table $t 1 funcref)").limits(limits).load();
    probe.respond(get());
}

#[test]
fn guests_with_the_same_bytes_share_only_their_code() {
    let engine = engine(|builder| builder);
    let wat = stops("(if (call $get_config BUF LIMIT) (then unreachable))");
    let configured = stops("(if (call $get_config BUF LIMIT) (then unreachable))").config(b"x");
    let (first, second) = (load(&engine, &wat), load(&engine, &wat));
    first.respond(get());
    assert_eq!((first.stats().created, second.stats().created), (1, 1));
    assert_eq!(load(&engine, &configured).error(get()).kind(), ErrorKind::Trap);
    drop(first);
    second.respond(get());
    // Code that was no longer used is compiled again.
    drop(second);
    load(&engine, &wat).respond(get());
}

#[test]
fn warm_instances_are_created_at_load_and_kept() {
    let settings =
        PoolSettings { min_warm: 5, idle_ttl: Duration::from_millis(20), ..PoolSettings::default() };
    let probe = with_pool(settings);
    assert_eq!((probe.stats().idle, probe.stats().created), (5, 5));
    let busy: Vec<_> = (0..12).map(|_| probe.next(get())).collect();
    settle(busy);
    eventually("the burst's instances are gone", || probe.stats().live == 5);
    let stats = probe.stats();
    assert_eq!((stats.created, stats.dropped_idle), (12, 7), "{stats:?}");
}

#[test]
fn instances_above_the_idle_limit_are_dropped_when_returned() {
    let probe = with_pool(PoolSettings { max_idle: Some(2), ..PoolSettings::default() });
    for round in 1..=2 {
        settle((0..5).map(|_| probe.next(get())).collect());
        let stats = probe.stats();
        assert_eq!((stats.idle, stats.live, stats.dropped_idle), (2, 2, round * 3), "{stats:?}");
    }
}

#[test]
fn an_instance_in_constant_use_does_not_expire() {
    let settings = PoolSettings { min_warm: 0, idle_ttl: Duration::from_secs(1), ..PoolSettings::default() };
    let probe = with_pool(settings);
    let busy: Vec<_> = (0..3).map(|_| probe.next(get())).collect();
    settle(busy);
    let start = Instant::now();
    while probe.stats().live > 1 {
        settle(vec![probe.next(get())]);
        assert!(start.elapsed() < Duration::from_secs(30), "{:?}", probe.stats());
        std::thread::sleep(Duration::from_millis(1));
    }
    let created = probe.stats().created;
    assert_eq!(created, 3);
    eventually("the last one is gone, too", || probe.stats().live == 0);
    settle(vec![probe.next(get())]);
}

#[test]
fn dropping_the_guest_drops_idle_instances_at_once_and_busy_ones_when_returned() {
    let engine = engine(|builder| builder.memory_budget(usize::MAX));
    let probe = load(&engine, &guest());
    let mut busy: Vec<_> = (0..3).map(|_| probe.next(get())).collect();
    settle(vec![busy.pop().unwrap()]);
    assert_eq!(engine.memory_in_use(), 3 * PAGE);
    drop(probe);
    assert_eq!(engine.memory_in_use(), 2 * PAGE);
    settle(busy);
    assert_eq!(engine.memory_in_use(), 0);
}

#[test]
fn a_request_without_memory_for_an_instance_fails_alone_and_can_be_retried() {
    let engine = engine(|builder| builder.memory_budget(5 * PAGE));
    let (one, other) = (load(&engine, &guest()), load(&engine, &guest().pages(3)));
    let (busy, waiting) = (one.next(get()), other.next(get()));
    let last = one.next(get());
    assert_eq!(engine.memory_in_use(), 5 * PAGE);
    for probe in [&one, &other] {
        let error = probe.error(get());
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(error.retry_after().is_some());
        assert!(error.to_string().contains("the memory budget of 327680 bytes"), "{error}");
    }
    // Refused instances count neither as created nor as dropped.
    let counts = |probe: &Probe<_>| (probe.stats().created, probe.stats().dropped_failed);
    assert_eq!((counts(&one), counts(&other)), ((2, 0), (1, 0)));
    settle(vec![busy, waiting, last]);
    settle(vec![one.next(get()), other.next(get())]);
    drop((one, other));
    assert_eq!(engine.memory_in_use(), 0);
}

fn http(sheddable: bool) -> HttpHost {
    let host = HttpHost::new(http::Request::new(Body::empty()), None);
    if sheddable { host.sheddable() } else { host }
}

#[test]
fn sheddable_requests_leave_a_quarter_of_the_memory_to_others() {
    let engine = engine(|builder| builder.memory_budget(8 * PAGE));
    let wat = guest();
    let probe = Probe::<HttpHost>::new(wat.builder(&engine).load(wat.text().as_bytes()).unwrap());
    let mut shed: Vec<_> = (0..6).map(|_| probe.next(http(true))).collect();
    let error = probe.error(http(true));
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("memory budget"), "{error}");
    assert_eq!(error.response().log_level, tracing::Level::DEBUG, "there may be very many of them");
    let kept: Vec<_> = (0..2).map(|_| probe.next(http(false))).collect();
    assert_eq!(probe.error(http(false)).kind(), ErrorKind::Unavailable);
    // Released memory goes to the requests that it is reserved for.
    for pinned in kept {
        block_on(pinned.handle_response()).unwrap();
    }
    assert_eq!((probe.stats().idle, probe.error(http(true)).kind()), (2, ErrorKind::Unavailable));
    let kept = probe.next(http(false));
    // But if many instances are idle, all requests may use them.
    for pinned in shed.drain(2..) {
        block_on(pinned.handle_response()).unwrap();
    }
    shed.extend((0..3).map(|_| probe.next(http(true))));
    assert_eq!(probe.error(http(true)).kind(), ErrorKind::Unavailable);
    assert_eq!(probe.stats().created, 8);
    drop((shed, kept));
}

#[test]
fn a_sheddable_request_cannot_grow_memory_into_the_reserved_quarter() {
    let engine = engine(|builder| builder.memory_budget(8 * PAGE));
    let grow = "(if (i32.eq (memory.grow (i32.const 6)) -1) (then unreachable))";
    let wat = stops(grow);
    let probe = Probe::<HttpHost>::new(wat.builder(&engine).load(wat.text().as_bytes()).unwrap());
    assert_eq!(probe.error(http(true)).kind(), ErrorKind::Unavailable);
    probe.respond(http(false));
}

#[test]
fn a_growth_refused_by_the_memory_budget_is_not_the_guests_failure() {
    let engine = engine(|builder| builder.memory_budget(3 * PAGE));
    let grow = "(if (i32.eq (memory.grow (i32.const 2)) -1) (then unreachable))";
    let probe = load(&engine, &stops(grow));
    let neighbour = load(&engine, &guest());
    let error = probe.error(get());
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert_eq!(error.phase(), Some(Phase::Request));
    drop(neighbour);
    probe.respond(get());
    // Exceeding the guest's own limit, however, is its failure.
    let limits = Limits { memory_bytes: PAGE, ..Limits::default() };
    assert_eq!(stops(grow).limits(limits).load().error(get()).kind(), ErrorKind::Trap);
}

#[test]
fn tables_count_against_the_memory_budget() {
    let engine = engine(|builder| builder.memory_budget(PAGE + 8 * 1000));
    let wat = stops("(if (i32.eq (table.grow $t (ref.null func) (i32.const 900)) -1) (then unreachable))")
        .item("(table $t 100 funcref)");
    let probe = load(&engine, &wat);
    probe.respond(get());
    assert_eq!(engine.memory_in_use(), PAGE + 8 * 1000);
    assert_eq!(probe.error(get()).kind(), ErrorKind::Unavailable);
}

#[test]
fn a_request_that_needs_an_instance_beyond_the_mapping_budget_is_unavailable() {
    let engine = engine(|builder| builder.mapping_budget(14));
    let probe = load(&engine, &guest());
    let [first, second] = [(); 2].map(|()| probe.next(get()));
    let error = probe.error(get());
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(error.to_string().contains("the maximum of 14 memory mappings"), "{error}");
    assert!(error.retry_after().is_some());
    settle(vec![first, second]);
    settle(vec![probe.next(get())]);
}

#[test]
fn a_guest_larger_than_the_memory_budget_cannot_be_loaded() {
    let engine = engine(|builder| builder.memory_budget(PAGE));
    let wat = guest().pages(2);
    match wat.builder(&engine).load::<InMemoryHost>(wat.text().as_bytes()) {
        Err(LoadError::Start(error)) => assert!(error.to_string().contains("memory budget"), "{error}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(engine.memory_in_use(), 0);
}

#[test]
fn the_memories_of_one_instance_share_its_limit() {
    let limits = Limits { memory_bytes: 3 * PAGE, ..Limits::default() };
    let grow = "(if (i32.ne (memory.grow $second (i32.const 1)) 1) (then unreachable))
                (if (i32.ne (memory.grow $second (i32.const 1)) -1) (then unreachable))";
    stops(grow).item("(memory $second 1)").limits(limits).load().respond(get());
}

#[test]
fn start_ups_of_a_failing_guest_are_paused_for_a_while_and_resume() {
    // During the pause after the third failure.
    let (probe, busy) = within(Duration::from_millis(100), || {
        // The guest starts only if its log messages are disabled.
        let probe = guest().on_start("(if (call $log_enabled 2) (then unreachable))").load();
        let busy = probe.next(get());
        let listening = tracing_subscriber::fmt().with_writer(std::io::sink).finish();
        let kinds: Vec<_> = with_subscriber(listening, || {
            (0..6).map(|_| probe.outcome(get()).expect_err("it can't start")).collect()
        });
        for error in &kinds[..3] {
            assert_eq!((error.kind(), error.phase()), (ErrorKind::Trap, None), "{error}");
        }
        for error in &kinds[3..] {
            assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
            assert!(error.retry_after().is_some_and(|wait| wait > Duration::ZERO), "{error}");
        }
        assert_eq!(probe.stats().created, 4, "nothing was tried for those turned away");
        (probe, busy)
    });
    eventually("one is let through again", || match probe.outcome(get()) {
        Ok(Outcome::Next(pinned)) => {
            settle(vec![pinned]);
            true
        }
        _ => false,
    });
    // The existing instance isn't affected, and the failures no longer count.
    settle(vec![busy, probe.next(get()), probe.next(get())]);
}

/// An observer that counts.
#[derive(Default)]
struct Counting {
    hits: AtomicUsize,
    misses: AtomicUsize,
    requests: AtomicUsize,
    responses: AtomicUsize,
    traps: AtomicUsize,
    replayed: AtomicUsize,
    created: AtomicUsize,
    dropped: AtomicUsize,
}

impl Observer for Counting {
    fn checked_out(&self, guest: &str, hit: bool) {
        assert_eq!(guest, "probe");
        if hit { &self.hits } else { &self.misses }.fetch_add(1, Ordering::Relaxed);
    }

    fn called(&self, guest: &str, call: &Call<'_>) {
        assert_eq!(guest, "probe");
        let calls = match call.phase {
            Phase::Request => &self.requests,
            _ => &self.responses,
        };
        calls.fetch_add(1, Ordering::Relaxed);
        self.replayed.fetch_add(call.replayed_bytes, Ordering::Relaxed);
        if call.error.is_some_and(|error| error.kind() == ErrorKind::Trap) {
            self.traps.fetch_add(1, Ordering::Relaxed);
        }
        assert!(call.took < Duration::from_secs(60));
    }

    fn created(&self, guest: &str, _: Duration, error: Option<&Error>) {
        assert_eq!(guest, "probe");
        assert!(error.is_none());
        self.created.fetch_add(1, Ordering::Relaxed);
    }

    fn dropped(&self, guest: &str, reason: DropReason) {
        assert_eq!(guest, "probe");
        assert_eq!(reason, DropReason::Failed);
        self.dropped.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn an_observer_receives_checkouts_calls_failures_replayed_bytes_and_instances() {
    let observer = Arc::new(Counting::default());
    let wat = proceeds("(call $read_all 0 2)")
        .features(BUFFER_REQUEST)
        .pages(2)
        .on_response("(if (i32.eq (call $get_status_code) 500) (then unreachable))");
    let builder = wat.builder(crate::support::engine()).observer(observer.clone());
    let probe = Probe::<InMemoryHost>::new(builder.load(wat.text().as_bytes()).unwrap());
    let (first, second) = (probe.next(post(b"hello")), probe.next(get()));
    settle(vec![first, second]);
    let Ok(Outcome::Next(mut failing)) = probe.outcome(get()) else { panic!("it should proceed") };
    failing.host_mut().status = 500;
    assert!(block_on(failing.handle_response()).is_err());

    let count = |counter: &AtomicUsize| counter.load(Ordering::Relaxed);
    assert_eq!((count(&observer.hits), count(&observer.misses)), (2, 1));
    assert_eq!((count(&observer.requests), count(&observer.responses)), (3, 3));
    assert_eq!((count(&observer.traps), count(&observer.replayed)), (1, 5));
    assert_eq!((count(&observer.created), count(&observer.dropped)), (2, 1));
}

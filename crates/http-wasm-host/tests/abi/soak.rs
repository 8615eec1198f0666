//! Guests that are replaced repeatedly under traffic, as by a gateway that reloads its configuration. This runs in a
//! separate process, so that the memory of other tests doesn't count.

#![expect(clippy::print_stdout, reason = "figures, for longer runs")]

use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use http_wasm_host::{Engine, Guest, InMemoryHost, Outcome};

use crate::support::{block_on, eventually};

/// How many guests are loaded at once.
const GUESTS: usize = 80;

/// How many are loaded and dropped in total: enough to detect a leak of an entire guest, within seconds.
const CYCLES: usize = 400;

/// The variable that sets it, for longer runs.
const CYCLES_VARIABLE: &str = "HTTP_WASM_SOAK_CYCLES";

/// Threads that send requests continuously.
const CLIENTS: usize = 2;

#[test]
fn guests_replaced_under_traffic_leak_nothing() {
    let this = std::env::current_exe().expect("a test has a binary");
    let arguments = ["soak::in_its_own_process", "--exact", "--ignored", "--nocapture"];
    let output = Command::new(this).args(arguments).output().expect("the binary starts");
    let printed = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && printed.contains("1 passed"), "{printed}");
    println!("{printed}");
}

#[test]
#[ignore = "started by the test above, in a separate process"]
fn in_its_own_process() {
    let cycles = std::env::var(CYCLES_VARIABLE).map_or(CYCLES, |cycles| cycles.parse().expect("a number"));
    let engine = Engine::new().expect("an engine can be made");
    // Threads set their name when they start. On some systems, they can't be listed at all.
    eventually("the engine's thread is seen", || threads() > 0 || resident().is_none());
    let guests: Vec<_> = (0..GUESTS).map(|slot| Mutex::new(load(&engine, slot))).collect();
    let answered = AtomicU64::new(0);
    let over = AtomicBool::new(false);
    let mut resident_then = None;
    std::thread::scope(|scope| {
        for client in 0..CLIENTS {
            let (guests, over, answered) = (&guests, &over, &answered);
            scope.spawn(move || {
                for request in client.. {
                    if over.load(Ordering::Relaxed) {
                        return;
                    }
                    exchange(&guests[request * 7 % GUESTS], request);
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for cycle in 0..cycles {
            if cycle == cycles / 2 {
                resident_then = resident();
            }
            let new = load(&engine, cycle);
            let old = std::mem::replace(&mut *lock(&guests[cycle % GUESTS]), new);
            // Once the requests that still use it have finished, all of its instances are idle and are dropped with it.
            eventually("no instance is in use", || old.stats().idle == old.stats().live);
        }
        over.store(true, Ordering::Relaxed);
    });
    let resident_now = resident();
    let answered = answered.into_inner();
    println!(
        "{cycles} loads, {answered} requests, KiB resident half-way and at the end: {resident_then:?}, {resident_now:?}"
    );
    assert!(answered > cycles as u64, "no traffic: {answered} requests");
    if let (Some(then), Some(now)) = (resident_then, resident_now) {
        // In a short run, fluctuations of the allocator are larger than any leak.
        let slack = if cycles < 1000 { 16 * 1024 } else { 4 * 1024 };
        assert!(now <= then + then / 10 + slack, "{now} KiB are resident, {then} KiB were half-way");
    }
    // The ticker's thread ends with the last module and the last instance.
    drop((guests, engine));
    eventually("no thread of the engine is left", || threads() == 0);
}

/// A guest that differs from all others.
fn load(engine: &Engine, number: usize) -> Guest<InMemoryHost> {
    let wat = format!(
        r#"(module
            (import "http_handler" "set_header_value" (func $set (param i32 i32 i32 i32 i32)))
            (memory (export "memory") 2)
            (global $number i32 (i32.const {number}))
            (data (i32.const 0) "x-number{number}")
            (func (export "handle_request") (result i64)
              (memory.fill (i32.const 1024) (global.get $number) (i32.const 65536))
              (call $set (i32.const 0) (i32.const 0) (i32.const 8) (i32.const 8) (i32.const {len}))
              (i64.const 1))
            (func (export "handle_response") (param i32 i32)))"#,
        len = number.to_string().len()
    );
    Guest::load(engine, wat.as_bytes()).expect("it is a guest")
}

/// Sends a request through the guest that is in the slot. Every third client disconnects before the response.
fn exchange(slot: &Mutex<Guest<InMemoryHost>>, request: usize) {
    let guest = lock(slot).clone();
    match block_on(guest.handle_request(InMemoryHost::new("GET", "/"))) {
        Ok(Outcome::Next(mut pinned)) => {
            assert!(pinned.host_mut().request.headers.contains(b"x-number"));
            if request.is_multiple_of(3) {
                drop(pinned);
                // Clients that don't wait are faster than the clean-up thread, and would need more and more instances.
                eventually("most instances are cleaned up", || guest.stats().live <= guest.stats().idle + 4);
            } else {
                block_on(pinned.handle_response()).expect("it does nothing");
            }
        }
        other => panic!("{other:?}"),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Resident memory of this process in KiB, if the system reports it.
fn resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// The number of the core's threads, if the system reports it, without the compiler's threads, which stay.
fn threads() -> usize {
    let Ok(tasks) = std::fs::read_dir("/proc/self/task") else { return 0 };
    let names = tasks.flatten().filter_map(|task| std::fs::read_to_string(task.path().join("comm")).ok());
    names.filter(|name| name.starts_with("http-wasm-")).count()
}

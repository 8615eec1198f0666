//! Runs the rewritten code: a synchronous host function makes a guest wait.

use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use wasmtime::{AsContextMut, Caller, Config, Engine, Linker, Module, Store, UpdateDeadline};

use super::add_suspension_points;

/// Counts calls of the host function and suspensions.
#[derive(Default)]
struct Counts {
    calls: u64,
    pauses: u32,
}

#[derive(Default)]
struct PendingOnce(bool);

impl Future for PendingOnce {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        if std::mem::replace(&mut self.0, true) { Poll::Ready(()) } else { Poll::Pending }
    }
}

/// Runs the export `run` of a guest whose imports `h.wide` and `h.narrow` return their argument plus one, but only when
/// called for the third time. Returns the result and how often the call was pending.
fn run(guest: &str) -> (i64, u32, Counts) {
    let wasm = add_suspension_points(&wat::parse_str(guest).unwrap(), &[("h", "wide"), ("h", "narrow")])
        .unwrap()
        .wasm;
    let mut config = Config::new();
    config.epoch_interruption(true).wasm_function_references(true).wasm_gc(true);
    let engine = Engine::new(&config).unwrap();
    let mut linker = Linker::new(&engine);
    fn answers(caller: &mut Caller<'_, Counts>) -> bool {
        caller.data_mut().calls += 1;
        let ready = caller.data().calls.is_multiple_of(3);
        if !ready {
            caller.as_context_mut().set_epoch_deadline(0);
        }
        ready
    }
    linker
        .func_wrap(
            "h",
            "wide",
            |mut caller: Caller<'_, Counts>, x: i64| if answers(&mut caller) { x + 1 } else { -1 },
        )
        .unwrap();
    linker
        .func_wrap(
            "h",
            "narrow",
            |mut caller: Caller<'_, Counts>, x: i32| if answers(&mut caller) { x + 1 } else { -1 },
        )
        .unwrap();
    let mut store = Store::new(&engine, Counts::default());
    store.set_epoch_deadline(1);
    store.epoch_deadline_callback(|mut store| {
        store.data_mut().pauses += 1;
        Ok(UpdateDeadline::YieldCustom(1, Box::pin(PendingOnce::default())))
    });
    let module = Module::new(&engine, &wasm).unwrap();
    let (result, pending) = poll_to_end(async {
        let instance = linker.instantiate_async(&mut store, &module).await.unwrap();
        let run = instance.get_typed_func::<(), i64>(&mut store, "run").unwrap();
        run.call_async(&mut store, ()).await.unwrap()
    });
    (result, pending, store.into_data())
}

fn poll_to_end<T>(future: impl Future<Output = T>) -> (T, u32) {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    let mut pending = 0;
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(value) => return (value, pending),
            Poll::Pending => pending += 1,
        }
        assert!(pending < 100, "the guest never ends");
    }
}

#[track_caller]
fn assert_waits(guest: &str, result: i64, answers: u32) {
    let (got, pending, counts) = run(guest);
    assert_eq!(got, result);
    assert_eq!((pending, counts.pauses, counts.calls), (2 * answers, 2 * answers, 3 * u64::from(answers)));
}

#[test]
fn a_guest_waits_in_a_synchronous_host_function_until_it_has_a_result() {
    assert_waits(
        r#"(module
            (import "h" "wide" (func $wide (param i64) (result i64)))
            (import "h" "narrow" (func $narrow (param i32) (result i32)))
            (func (export "run") (result i64)
                (i64.add (call $wide (i64.const 40)) (i64.extend_i32_s (call $narrow (i32.const 1))))))"#,
        43,
        2,
    );
}

#[test]
fn a_guest_waits_in_calls_through_tables_references_and_tail_calls() {
    assert_waits(
        r#"(module
            (type $t (func (param i64) (result i64)))
            (import "h" "wide" (func $wide (type $t)))
            (table 1 funcref)
            (global $g (ref $t) (ref.func $wide))
            (elem (i32.const 0) $wide)
            (func $tail (param i64) (result i64) (return_call $wide (local.get 0)))
            (func (export "run") (result i64)
                (call_indirect (type $t) (i64.const 0) (i32.const 0))
                (call_ref $t (global.get $g))
                (call_ref $t (ref.func $wide))
                (call $tail)))"#,
        4,
        4,
    );
}

#[test]
fn an_exported_host_function_waits() {
    let guest = r#"(module
        (import "h" "wide" (func $wide (param i64) (result i64)))
        (func $f (result i64) (call $wide (i64.const 1)))
        (export "wide" (func $wide)) (export "run" (func $f)))"#;
    assert_waits(guest, 2, 1);
}

#[test]
fn a_guest_waits_in_its_start_function() {
    assert_waits(
        r#"(module
            (import "h" "wide" (func $wide (param i64) (result i64)))
            (global $g (mut i64) (i64.const 0))
            (func $start (global.set $g (call $wide (i64.const 6))))
            (start $start)
            (func (export "run") (result i64) (global.get $g)))"#,
        7,
        1,
    );
}

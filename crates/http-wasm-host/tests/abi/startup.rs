//! Start-up of instances: start functions, and guests that can't be loaded.

use std::time::Duration;

use http_wasm_host::{ErrorKind, Guest, InMemoryHost, Limits, LoadError, PoolSettings, PoolStats};

use crate::support::{Probe, Wat, engine, get, guest, number, stops, text, with_subscriber};

#[test]
fn start_function_initialize_and_start_run_once_per_instance_in_this_order() {
    let probe = guest()
        .on_start("(call $note 1)")
        .on_initialize("(call $note 2)")
        .on_command("(call $note 3)")
        .on_response("(call $note 4)")
        .load();
    // A second instance, while the first is busy.
    let (first, second) = (probe.next(get()), probe.next(get()));
    for pinned in [first, second] {
        crate::support::block_on(pinned.handle_response()).unwrap();
        assert_eq!(probe.notes(), [1, 2, 3, 4].map(number));
    }
    for _ in 0..2 {
        assert_eq!(probe.noted(get()), [number(4)]);
    }
    assert_eq!(probe.stats().created, 2);
}

#[test]
fn each_kind_of_start_up_code_runs_without_the_others() {
    for start in [Wat::on_start, Wat::on_initialize, Wat::on_command] {
        let probe = start(guest(), "(call $note 1)").load();
        assert_eq!(probe.noted(get()), [number(1)]);
    }
}

#[test]
fn host_functions_allowed_at_start_up_find_the_memory_even_in_a_start_section() {
    let guest = guest().config(b"settings").on_start("(call $note_text (call $get_config BUF LIMIT))");
    assert_eq!(guest.load().noted(get()), [text("settings")]);
}

#[test]
fn memory_out_of_bounds_traps_in_a_start_section() {
    match guest().on_start("(call $log 0 65536 1)").try_load::<InMemoryHost>() {
        Err(LoadError::Start(error)) => {
            assert_eq!((error.kind(), error.function()), (ErrorKind::HostCall, Some("log")));
        }
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("it was loaded"),
    }
}

#[test]
fn one_instance_is_created_when_the_guest_is_loaded() {
    let probe = guest().load();
    let stats = probe.stats();
    assert_eq!((stats.live, stats.idle, stats.created), (1, 1, 1));
}

#[test]
fn a_trap_at_start_up_is_a_load_error_that_names_guest_and_reason() {
    for start in [Wat::on_start, Wat::on_initialize, Wat::on_command] {
        let guest = start(guest().item("(func $boom unreachable)"), "(call $boom)");
        match guest.try_load::<InMemoryHost>() {
            Err(LoadError::Start(error)) => {
                assert_eq!((error.kind(), error.phase()), (ErrorKind::Trap, None), "{error}");
                assert!(error.backtrace().unwrap().contains("boom"));
                let message = LoadError::Start(error).to_string();
                assert!(message.contains("probe") && message.contains("unreachable"), "{message}");
            }
            Err(error) => panic!("{error}"),
            Ok(_) => panic!("it was loaded"),
        }
    }
}

#[test]
fn an_endless_loop_at_start_up_is_a_load_error() {
    for start in [Wat::on_start, Wat::on_initialize, Wat::on_command] {
        let limits = Limits { startup_deadline: Duration::from_millis(50), ..Limits::default() };
        match start(guest(), "(loop $l (br $l))").limits(limits).try_load::<InMemoryHost>() {
            Err(LoadError::Start(error)) => assert_eq!(error.kind(), ErrorKind::Deadline, "{error}"),
            Err(error) => panic!("{error}"),
            Ok(_) => panic!("it was loaded"),
        }
    }
}

#[test]
fn a_start_up_that_sleeps_forever_is_a_load_error() {
    // A clock subscription with a relative timeout of centuries.
    let wat = r#"(module
        (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
        (memory (export "memory") 1)
        (data (i32.const 16) "\01")
        (data (i32.const 24) "\ff\ff\ff\ff\ff\ff\ff\7f")
        (func (export "_initialize")
          (drop (call $poll (i32.const 0) (i32.const 100) (i32.const 1) (i32.const 200))))
        (func (export "handle_request") (result i64) (i64.const 1))
        (func (export "handle_response") (param i32 i32)))"#;
    let limits = Limits { startup_deadline: Duration::from_millis(50), ..Limits::default() };
    match Guest::<InMemoryHost>::builder(engine()).limits(limits).load::<InMemoryHost>(wat.as_bytes()) {
        Err(LoadError::Start(error)) => assert_eq!(error.kind(), ErrorKind::Deadline, "{error}"),
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("it was loaded"),
    }
}

#[test]
fn a_guest_whose_data_is_too_sparse_for_an_image_can_be_instantiated_at_any_time() {
    let wat = r#"(module
        (memory (export "memory") 513)
        (data (i32.const 0) "one") (data (i32.const 33554432) "other")
        (func (export "handle_request") (result i64) (i64.const 1))
        (func (export "handle_response") (param i32 i32)))"#;
    let pool = PoolSettings { max_idle: Some(0), ..PoolSettings::default() };
    let guest = Guest::<InMemoryHost>::builder(engine()).pool(pool).load(wat.as_bytes()).unwrap();
    let probe = Probe::new(guest);
    // During some of them, the epoch advances.
    for _ in 0..2_000 {
        crate::support::block_on(probe.next(get()).handle_response()).unwrap();
    }
    assert_eq!(probe.stats().created, 2_001);
}

/// If start-up was quick when the guest was loaded, later ones don't run on a fiber. If one of them takes longer, it is
/// restarted on a fiber: here it computes for about 100 ms once debug messages are enabled.
#[test]
fn a_slow_start_up_succeeds_even_if_the_first_was_quick() {
    for start in [Wat::on_start, Wat::on_initialize, Wat::on_command] {
        let compute = "(if (call $log_enabled -1) (then
            (loop $more
              (global.set $i (i32.add (global.get $i) 1))
              (br_if $more (i32.lt_u (global.get $i) 100000000)))))
            (i32.store (i32.const 0) (global.get $i))";
        let answers = "(if (i32.load (i32.const 0)) (then (call $set_status_code 201)))";
        let wat = start(stops(answers).item("(global $i (mut i32) (i32.const 0))"), compute);
        let pool = PoolSettings { max_idle: Some(0), ..PoolSettings::default() };
        let guest = wat.builder(engine()).pool(pool).load(wat.text().as_bytes()).unwrap();
        let probe = Probe::<InMemoryHost>::new(guest);
        assert_eq!(probe.respond(get()).status, 200);
        for _ in 0..2 {
            let debugging =
                tracing_subscriber::fmt().with_max_level(tracing::Level::DEBUG).with_writer(std::io::sink);
            let answer = with_subscriber(debugging.finish(), || probe.respond(get()));
            assert_eq!(answer.status, 201, "its start-up has run to its end");
        }
        let PoolStats { created, dropped_failed, .. } = probe.stats();
        assert_eq!((created, dropped_failed), (4, 0));
    }
}

#[test]
fn start_up_has_its_own_deadline() {
    let limits = Limits { deadline: Duration::from_millis(5), ..Limits::default() };
    // About 100 ms.
    let spin = "(loop $l (i32.store 0 (i32.add (i32.load 0) 1)) \
        (br_if $l (i32.lt_u (i32.load 0) (i32.const 50000000))))";
    for start in [Wat::on_start, Wat::on_initialize] {
        start(guest(), spin).limits(limits.clone()).load();
    }
}

#[test]
fn a_guest_reports_its_name_features_memory_and_imports() {
    let probe = guest().features(6).pages(3).load();
    let facts = probe.0.facts();
    assert_eq!(probe.0.name(), "probe");
    assert_eq!(facts.features.bits(), 6);
    assert_eq!(facts.memory_bytes, 3 * 65_536);
    assert_eq!(facts.inspection.imports().len(), 19);
}

/// Loads raw text. Returns the error message.
fn refused(wat: &str) -> String {
    match Guest::<InMemoryHost>::builder(engine()).name("probe").load::<InMemoryHost>(wat.as_bytes()) {
        Err(error) => error.to_string(),
        Ok(_) => panic!("it was loaded: {wat}"),
    }
}

const MEMORY: &str = "(memory (export \"memory\") 1)";
const REQUEST: &str = "(func (export \"handle_request\") (result i64) (i64.const 1))";
const RESPONSE: &str = "(func (export \"handle_response\") (param i32 i32))";

#[test]
fn a_guest_with_only_the_three_required_exports_is_valid() {
    let wat = format!("(module {MEMORY} {REQUEST} {RESPONSE})");
    Guest::<InMemoryHost>::load(engine(), wat.as_bytes()).unwrap();
    let wasm = wat::parse_str(&wat).unwrap();
    Guest::<InMemoryHost>::load(engine(), &wasm).unwrap();
}

#[test]
fn a_guest_may_import_a_function_twice() {
    let import =
        |id| format!("(import \"http_handler\" \"read_body\" (func ${id} (param i32 i32 i32) (result i64)))");
    let wat = format!(
        "(module {} {} {MEMORY} {RESPONSE} (func (export \"handle_request\") (result i64)
           (drop (call $one (i32.const 0) (i32.const 0) (i32.const 1)))
           (call $two (i32.const 0) (i32.const 0) (i32.const 1))))",
        import("one"),
        import("two")
    );
    let probe = Probe::new(Guest::<InMemoryHost>::load(engine(), wat.as_bytes()).unwrap());
    // The rest of "abc" shows that both have read: the low half of the second result is 1, so the guest proceeds.
    let mut pinned = probe.next(crate::support::post(b"abc"));
    assert_eq!(pinned.host_mut().request.take_body().0, b"c");
}

#[test]
fn a_guest_without_a_required_export_is_refused_with_an_error_that_names_it() {
    for (wat, missing) in [
        (format!("(module {REQUEST} {RESPONSE})"), "memory"),
        (format!("(module {MEMORY} {RESPONSE})"), "handle_request"),
        (format!("(module {MEMORY} {REQUEST})"), "handle_response"),
    ] {
        let message = refused(&wat);
        for part in ["probe", missing, "missing"] {
            assert!(message.contains(part), "{message}");
        }
    }
}

#[test]
fn a_guest_with_a_wrong_signature_is_refused_with_an_error_that_names_it() {
    let request = "(func (export \"handle_request\") (result i32) (i32.const 1))";
    let message = refused(&format!("(module {MEMORY} {request} {RESPONSE})"));
    assert!(message.contains("handle_request") && message.contains("i64"), "{message}");
    let response = "(func (export \"handle_response\") (param i32))";
    let message = refused(&format!("(module {MEMORY} {REQUEST} {response})"));
    assert!(message.contains("handle_response") && message.contains("i32"), "{message}");
}

#[test]
fn an_import_unknown_to_the_abi_is_refused_with_an_error_that_names_it() {
    for (module, name, ty) in [
        ("env", "abort", "(param i32 i32 i32 i32)"),
        ("http_handler", "get_weather", "(result i32)"),
        ("http_handler", "get_method", "(param i32) (result i32)"),
        ("wasi_snapshot_preview2", "fd_write", ""),
    ] {
        let import = format!("(import \"{module}\" \"{name}\" (func {ty}))");
        let message = refused(&format!("(module {import} {MEMORY} {REQUEST} {RESPONSE})"));
        assert!(message.contains("probe") && message.contains(name), "{message}");
    }
}

#[test]
fn bytes_that_are_not_a_module_are_refused() {
    for bytes in ["", "\0asm", "\0asm\x01\0\0\0", "#!/bin/sh", "(module", "(component)"] {
        assert!(refused(bytes).contains("probe"));
    }
}

#[test]
fn a_missing_guest_file_is_refused_with_its_name() {
    let error = Guest::<InMemoryHost>::builder(engine())
        .load_file::<InMemoryHost>("/no/such/guest.wasm")
        .unwrap_err();
    assert!(matches!(error, LoadError::Read { .. }));
    assert!(error.to_string().contains("/no/such/guest.wasm"), "{error}");
}

#[test]
fn a_guest_is_named_after_its_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("router.wat");
    std::fs::write(&path, format!("(module {MEMORY} {REQUEST} {RESPONSE})")).unwrap();
    let load = |builder: http_wasm_host::GuestBuilder| builder.load_file::<InMemoryHost>(&path).unwrap();
    assert_eq!(load(Guest::<InMemoryHost>::builder(engine())).name(), "router");
    assert_eq!(load(Guest::<InMemoryHost>::builder(engine()).name("other")).name(), "other");
}

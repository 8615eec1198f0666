//! Which WASI functions a guest may call while its snapshot is taken.

use http_wasm_host::{InMemoryHost, LoadError, Mount, Snapshot};

use super::{DRAW, RANDOM, builder, load, refusal, refusal_of, shown, shows};
use crate::support::Probe;

fn import(name: &str, signature: &str) -> String {
    format!("(import \"wasi_snapshot_preview1\" \"{name}\" (func $f {signature}))")
}

const CLOCK: &str = "(param i32 i64 i32) (result i32)";
const READ_CLOCK: &str = "(drop (call $f (i32.const 1) (i64.const 0) (i32.const 0)))";

/// Waits for 20 ms on the monotonic clock.
fn sleeps() -> String {
    let subscription = r#"(data (i32.const 128)
        "\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00"
        "\01\00\00\00\00\00\00\00\00\2d\31\01")"#;
    let import = import("poll_oneoff", "(param i32 i32 i32 i32) (result i32)").replace("$f", "$poll");
    let sleep = "(drop (call $poll (i32.const 128) (i32.const 256) (i32.const 1) (i32.const 512)))";
    shows(&import, subscription, sleep)
}

#[test]
fn random_bytes_clocks_and_waiting_require_a_shared_seed() {
    for (text, function) in [
        (shows(RANDOM, "", DRAW), "random_get"),
        (shows(&import("clock_time_get", CLOCK), "", READ_CLOCK), "clock_time_get"),
        (sleeps(), "poll_oneoff"),
    ] {
        let message = refusal(&text, Snapshot::On);
        assert!(message.contains(&format!("it called `{function}` during initialisation")), "{message}");
        assert!(message.contains("`shared-seed`"), "{message}");
        let probe = load(&text, Snapshot::SharedSeed);
        let seen = shown(&probe, 2);
        assert_eq!(seen[0], seen[1]);
    }
}

#[test]
fn a_refusal_names_the_calling_function() {
    let Err(LoadError::Snapshot { backtrace, .. }) =
        builder(Snapshot::On).load::<InMemoryHost>(shows(RANDOM, "", DRAW).as_bytes())
    else {
        panic!("it should have been refused");
    };
    assert!(backtrace.unwrap().contains(" - initialize"));
}

#[test]
fn functions_not_called_at_start_up_do_not_prevent_a_snapshot() {
    let text = shows(RANDOM, "", "").replace("(call $write_body", &format!("{DRAW} (call $write_body"));
    let seen = shown(&load(&text, Snapshot::On), 2);
    assert_ne!(seen[0], seen[1]);
}

#[test]
fn the_monotonic_clock_continues_from_the_snapshot() {
    let clock = import("clock_time_get", CLOCK);
    // Shows the time after the wait, and the time in the request.
    let text = sleeps()
        .replacen("(module", &format!("(module {clock}"), 1)
        .replace("(i32.const 512)))", &format!("(i32.const 512))) {READ_CLOCK}"))
        .replace(
            "(call $write_body",
            "(drop (call $f (i32.const 1) (i64.const 0) (i32.const 8))) (call $write_body",
        );
    for seen in shown(&load(&text, Snapshot::SharedSeed), 3) {
        let [then, now] = [0, 8].map(|at| u64::from_le_bytes(seen[at..at + 8].try_into().unwrap()));
        assert!(then >= 20_000_000 && now > then, "{then} {now}");
    }
}

#[test]
fn arguments_environment_and_output_are_allowed_in_a_snapshot() {
    let imports = [
        import("args_sizes_get", "(param i32 i32) (result i32)").replace("$f", "$args"),
        import("environ_sizes_get", "(param i32 i32) (result i32)").replace("$f", "$env"),
        import("fd_write", "(param i32 i32 i32 i32) (result i32)").replace("$f", "$write"),
    ];
    let calls = "(drop (call $args (i32.const 0) (i32.const 100)))
      (drop (call $env (i32.const 4) (i32.const 100)))
      (drop (call $write (i32.const 1) (i32.const 200) (i32.const 1) (i32.const 8)))";
    let text = shows(&imports.concat(), r#"(data (i32.const 200) "\d0\00\00\00\03\00\00\00hi\0a")"#, calls);
    let builder = builder(Snapshot::On).arg("a").arg("b").env("C", "d");
    let probe = Probe::new(builder.load(text.as_bytes()).unwrap());
    // The first argument is the guest's name.
    assert_eq!(shown(&probe, 2), vec![b"\x03\0\0\0\x01\0\0\0\x03\0\0\0\0\0\0\0".to_vec(); 2]);
}

const OPEN: &str = "(drop (call $f (i32.const 3) (i32.const 0) (i32.const 0) (i32.const 1)
  (i32.const 0) (i64.const 0) (i64.const 0) (i32.const 0) (i32.const 8)))";

#[test]
fn opening_files_prevents_a_snapshot_only_with_a_mounted_directory() {
    let open = import("path_open", "(param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)");
    let text = shows(&open, "", OPEN);
    load(&text, Snapshot::On);
    let dir = tempfile::tempdir().unwrap();
    for snapshot in [Snapshot::On, Snapshot::SharedSeed] {
        let mounted = builder(snapshot).mount(Mount::read_only(dir.path(), "/data"));
        let message = refusal_of(mounted, &text);
        assert!(message.contains("it called `path_open`") && message.contains("open file"), "{message}");
    }
}

#[test]
fn directories_found_at_start_can_be_used_in_requests() {
    let prestat = import("fd_prestat_get", "(param i32 i32) (result i32)");
    let find = "(i32.store (i32.const 0) (call $f (i32.const 3) (i32.const 4)))";
    let open = import("path_open", "(param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)")
        .replace("$f", "$open");
    let read = import("fd_read", "(param i32 i32 i32 i32) (result i32)").replace("$f", "$read");
    let request = "(i32.store (i32.const 300) (i32.const 0)) (i32.store (i32.const 304) (i32.const 4))
      (drop (call $open (i32.const 3) (i32.const 0) (i32.const 200) (i32.const 4)
        (i32.const 0) (i64.const 2) (i64.const 0) (i32.const 0) (i32.const 308)))
      (drop (call $read (i32.load (i32.const 308)) (i32.const 300) (i32.const 1) (i32.const 312)))
      (call $write_body";
    let text = shows(&[prestat, open, read].concat(), r#"(data (i32.const 200) "file")"#, find)
        .replace("(call $write_body", request);
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("file"), "text").unwrap();
    let mounted = builder(Snapshot::On).mount(Mount::read_only(dir.path(), "/data"));
    let probe = Probe::new(mounted.load(text.as_bytes()).unwrap());
    // The content of the file, and what was found at start-up: a directory whose path has five bytes.
    assert_eq!(shown(&probe, 2), vec![b"text\0\0\0\0\x05\0\0\0\0\0\0\0".to_vec(); 2]);
}

#[test]
fn a_command_that_exits_with_success_is_snapshotted_and_one_that_fails_is_not() {
    let exit = import("proc_exit", "(param i32)");
    let text = |code: u32| {
        shows(&exit, "", &format!("(i32.store8 (i32.const 0) (i32.const 5)) (call $f (i32.const {code}))"))
            .replace("_initialize", "_start")
    };
    assert_eq!(
        shown(&load(&text(0), Snapshot::On), 2).concat()[..17],
        [[5; 1].as_slice(), &[0; 15], &[5]].concat()
    );
    match builder(Snapshot::On).load::<InMemoryHost>(text(3).as_bytes()) {
        Err(LoadError::Start(error)) => assert_eq!(error.kind(), http_wasm_host::ErrorKind::Exit),
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("it was loaded"),
    }
}

//! Without mounts, everything is synchronous, and only three file descriptors exist.

use super::*;

const WRITE: (&str, &str) = ("fd_write", "i32 i32 i32 i32");

/// A function without parameters that writes `len` bytes at `at` to `fd`.
fn say(name: &str, fd: u32, at: u32, len: u32) -> String {
    format!(
        "(func ${name}
            (i32.store (i32.const 0) (i32.const {at})) (i32.store (i32.const 4) (i32.const {len}))
            (drop (call $fd_write (i32.const {fd}) (i32.const 0) (i32.const 1) (i32.const 8))))"
    )
}

/// The result of a guest's only call.
fn answer(name: &str, params: &str, arguments: &str) -> (i32, Guest) {
    let body = format!("(func (export \"run\") (result i32) (call ${name} {arguments}))");
    let mut guest = Guest::new(&WasiConfig::default(), &[(name, params)], &body);
    (guest.run(), guest)
}

#[test]
fn a_line_split_across_writes_comes_out_whole() {
    let body = [
        say("a", 1, 100, 3),
        say("b", 1, 103, 9),
        say("e", 2, 200, 4),
        r#"(data (i32.const 100) "one line\r\ntw") (data (i32.const 200) "err\n")
        (func (export "run") (result i32) (call $a) (call $e) (call $b) (i32.load (i32.const 8)))"#
            .into(),
    ];
    let mut guest = Guest::new(&WasiConfig::default(), &[WRITE], &body.concat());
    let lines = logged(|| assert_eq!(guest.run(), 9));
    assert_eq!(lines, ["example stderr: err", "example stdout: one line"]);
    assert_eq!(logged(|| guest.flush()), ["example stdout: tw"]);
    assert_eq!(logged(|| guest.flush()), [""; 0]);
}

#[test]
fn one_write_gathers_several_buffers() {
    let body = r#"(data (i32.const 0) "\64\00\00\00\04\00\00\00\69\00\00\00\03\00\00\00")
        (data (i32.const 100) "two ") (data (i32.const 105) "in\n")
        (func (export "run") (result i32)
            (call $fd_write (i32.const 1) (i32.const 0) (i32.const 2) (i32.const 16)))"#;
    let mut guest = Guest::new(&WasiConfig::default(), &[WRITE], body);
    assert_eq!(logged(|| assert_eq!(guest.run(), 0)), ["example stdout: two in"]);
    assert_eq!(guest.u32(16), 7);
}

#[test]
fn a_long_line_is_split_and_a_long_write_is_partial() {
    let body = [
        say("all", 1, 0, 65_536),
        say("more", 1, 0, 4),
        "(func (export \"run\") (result i32)
            (memory.fill (i32.const 16) (i32.const 120) (i32.const 1000))
            (i32.store8 (i32.const 1016) (i32.const 10)) (call $all) (i32.load (i32.const 8)))"
            .into(),
    ];
    let mut guest = Guest::new(&WasiConfig::default(), &[WRITE], &body.concat());
    let lines = logged(|| {
        assert_eq!(guest.run(), 65_536);
        guest.flush();
    });
    assert_eq!(lines.len(), 2);
    assert!(lines.iter().all(|line| line.ends_with("… (cut)")), "{lines:?}");
}

#[test]
fn only_standard_output_and_error_can_be_written() {
    for fd in [0, 3, -1] {
        let arguments = format!("(i32.const {fd}) (i32.const 0) (i32.const 0) (i32.const 8)");
        assert_eq!(answer(WRITE.0, WRITE.1, &arguments).0, 8, "{fd}");
    }
}

#[test]
fn standard_input_is_empty() {
    let arguments = "(i32.const 0) (i32.const 0) (i32.const 0) (i32.const 8)";
    let (errno, mut guest) = answer("fd_read", "i32 i32 i32 i32", arguments);
    assert_eq!((errno, guest.u32(8)), (0, 0));
}

#[test]
fn memory_out_of_bounds_is_a_fault_without_effect() {
    let fault = |name, params, arguments: &str| {
        let lines = logged(|| assert_eq!(answer(name, params, arguments).0, 21, "{name} {arguments}"));
        assert!(lines.is_empty(), "{lines:?}");
    };
    // The buffer, the array of buffers, and where the result goes.
    let body = r#"(data (i32.const 0) "\64\00\00\00\04\00\00\00\ff\ff\00\00\02\00\00\00")
        (data (i32.const 100) "ok\n\n")
        (func (export "run") (result i32)
            (call $fd_write (i32.const 1) (i32.const 0) (i32.const 2) (i32.const 16)))"#;
    let mut guest = Guest::new(&WasiConfig::default(), &[WRITE], body);
    assert!(logged(|| assert_eq!(guest.run(), 21)).is_empty());
    fault(WRITE.0, WRITE.1, "(i32.const 1) (i32.const 65532) (i32.const 1) (i32.const 8)");
    fault(WRITE.0, WRITE.1, "(i32.const 1) (i32.const 0) (i32.const 0) (i32.const 65533)");
    fault("random_get", "i32 i32", "(i32.const 65535) (i32.const 2)");
    fault("random_get", "i32 i32", "(i32.const -1) (i32.const 2)");
    fault("clock_time_get", "i32 i64 i32", "(i32.const 0) (i64.const 0) (i32.const 65529)");
    fault("environ_sizes_get", "i32 i32", "(i32.const 0) (i32.const 65535)");
    fault("fd_fdstat_get", "i32 i32", "(i32.const 1) (i32.const 65520)");
}

#[test]
fn arguments_and_environment_are_laid_out_as_c_libraries_read_them() {
    let config = WasiConfig {
        args: vec!["guest".into(), "-v".into()],
        env: vec![("A".into(), "1".into()), ("LONG".into(), "x=y".into())],
        ..WasiConfig::default()
    };
    let functions =
        ["args_sizes_get", "args_get", "environ_sizes_get", "environ_get"].map(|name| (name, "i32 i32"));
    let body = r#"(func (export "run") (result i32)
        (call $args_sizes_get (i32.const 0) (i32.const 4))
        (call $args_get (i32.const 100) (i32.const 200))
        (call $environ_sizes_get (i32.const 8) (i32.const 12))
        (call $environ_get (i32.const 300) (i32.const 400))
        (i32.or) (i32.or) (i32.or))"#;
    let mut guest = Guest::new(&config, &functions, body);
    assert_eq!(guest.run(), 0);
    assert_eq!([0, 4, 8, 12].map(|at| guest.u32(at)), [2, 9, 2, 13]);
    assert_eq!([100, 104, 300, 304].map(|at| guest.u32(at)), [200, 206, 400, 404]);
    assert_eq!(guest.bytes(200, 9), b"guest\0-v\0");
    assert_eq!(guest.bytes(400, 13), b"A=1\0LONG=x=y\0");
}

#[test]
fn random_bytes_differ() {
    let (errno, mut guest) = answer("random_get", "i32 i32", "(i32.const 16) (i32.const 32)");
    assert_eq!((errno, guest.u64(8), guest.u64(48)), (0, 0, 0));
    let first = guest.bytes(16, 32);
    assert_eq!(guest.run(), 0);
    assert_ne!(first, guest.bytes(16, 32));
}

#[test]
fn clocks_are_real_and_an_unknown_one_is_invalid() {
    let time = |id| {
        answer("clock_time_get", "i32 i64 i32", &format!("(i32.const {id}) (i64.const 0) (i32.const 0)"))
    };
    let (errno, mut guest) = time(0);
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap();
    assert!(errno == 0 && now.abs_diff(Duration::from_nanos(guest.u64(0))) < Duration::from_secs(60));
    let (errno, mut guest) = time(1);
    let first = guest.u64(0);
    std::thread::sleep(Duration::from_millis(2));
    guest.run();
    assert!(errno == 0 && first > 0 && guest.u64(0) >= first + 2_000_000);
    assert_eq!(time(4).0, 28);
    assert_eq!(answer("clock_res_get", "i32 i32", "(i32.const 1) (i32.const 0)").0, 0);
}

#[test]
fn the_scan_for_preopened_directories_ends_at_once() {
    assert_eq!(answer("fd_prestat_get", "i32 i32", "(i32.const 3) (i32.const 0)").0, 8);
}

#[test]
fn standard_streams_look_like_terminals_that_cannot_seek() {
    let (errno, mut guest) = answer("fd_fdstat_get", "i32 i32", "(i32.const 1) (i32.const 0)");
    assert_eq!((errno, guest.bytes(0, 1), guest.u64(8)), (0, vec![2], 1 << 6));
    let (errno, mut guest) = answer("fd_filestat_get", "i32 i32", "(i32.const 0) (i32.const 0)");
    assert_eq!((errno, guest.bytes(16, 1), guest.u64(32)), (0, vec![2], 0));
    let seek = |fd| {
        answer(
            "fd_seek",
            "i32 i64 i32 i32",
            &format!("(i32.const {fd}) (i64.const 0) (i32.const 0) (i32.const 0)"),
        )
    };
    assert_eq!((seek(1).0, seek(3).0), (70, 8));
    assert_eq!(answer("fd_fdstat_set_flags", "i32 i32", "(i32.const 2) (i32.const 4)").0, 0);
}

#[test]
fn the_exit_code_is_in_the_error() {
    let body = "(func (export \"run\") (result i32) (call $proc_exit (i32.const 7)) (i32.const 0))";
    let mut guest = Guest::new(&WasiConfig::default(), &[("proc_exit", "i32")], body);
    let error = guest.try_run().unwrap_err();
    let call = error.downcast_ref::<CallError>().unwrap();
    assert!(matches!(call, CallError { function: "proc_exit", reason: Reason::Exit(7) }));
}

#[test]
fn every_function_of_preview_1_has_the_signature_in_wasmtime() {
    let engine = Engine::new().unwrap();
    let wasmtime_wasi = {
        let mut linker = Linker::<wasmtime_wasi::p1::WasiP1Ctx>::new(engine.wasm());
        wasmtime_wasi::p1::add_to_linker_async(&mut linker, |ctx| ctx).unwrap();
        let mut store = Store::new(engine.wasm(), wasmtime_wasi::WasiCtxBuilder::new().build_p1());
        signatures(&linker, &mut store)
    };
    let mut guest = Guest::new(&WasiConfig::default(), &[], "");
    let mut linker = Linker::<Data>::new(engine.wasm());
    add_to_linker(&mut linker, &WasiConfig::default(), false).unwrap();
    guest.store = Store::new(engine.wasm(), guest.store.into_data());
    assert_eq!(signatures(&linker, &mut guest.store), wasmtime_wasi);
    assert_eq!(wasmtime_wasi.len(), 46);
}

fn signatures<T: 'static>(
    linker: &Linker<T>,
    store: &mut Store<T>,
) -> std::collections::BTreeMap<String, String> {
    let all: Vec<_> = linker.iter(&mut *store).map(|(_, name, item)| (name.to_owned(), item)).collect();
    all.into_iter().map(|(name, item)| (name, item.into_func().unwrap().ty(&*store).to_string())).collect()
}

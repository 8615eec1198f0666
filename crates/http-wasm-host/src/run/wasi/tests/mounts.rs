//! With mounts, wasmtime-wasi handles files, without a runtime being entered.

use super::*;

const OPEN: (&str, &str) = ("path_open", "i32 i32 i32 i32 i32 i64 i64 i32 i32");
const IO: &str = "i32 i32 i32 i32";
const FD_READ: i64 = 1 << 1;
const FD_WRITE: i64 = 1 << 6;
const CREATE: u32 = 1;

/// A guest that opens `path` below the first mount, stores the descriptor at 0, and continues with `then`.
fn opens(config: &WasiConfig, path: &str, flags: u32, rights: i64, then: &str) -> Guest {
    let len = path.len();
    let body = format!(
        "(data (i32.const 100) \"{path}\") (data (i32.const 200) \"\\2c\\01\\00\\00\\05\\00\\00\\00\")
        (data (i32.const 300) \"hello\")
        (func $open (result i32)
            (call $path_open (i32.const 3) (i32.const 1) (i32.const 100) (i32.const {len}) (i32.const {flags})
                (i64.const {rights}) (i64.const 0) (i32.const 0) (i32.const 0)))
        (func (export \"run\") (result i32) {then})"
    );
    Guest::new(config, &[OPEN, ("fd_read", IO), ("fd_write", IO)], &body)
}

/// Reads or writes five bytes at 300, after opening.
fn then(function: &str) -> String {
    format!(
        "(local $errno i32)
        (if (result i32) (local.tee $errno (call $open)) (then (local.get $errno))
            (else (call ${function} (i32.load (i32.const 0)) (i32.const 200) (i32.const 1) (i32.const 8))))"
    )
}

fn mounted(mount: Mount) -> WasiConfig {
    WasiConfig { mounts: vec![mount], ..WasiConfig::default() }
}

#[test]
fn a_file_is_read_outside_any_runtime() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("file"), "12345").unwrap();
    let config = mounted(Mount::read_only(dir.path(), "/data"));
    assert!(config.needs_async());
    let mut guest = opens(&config, "file", 0, FD_READ, &then("fd_read"));
    assert_eq!(block_on(guest.run_on_fiber()), 0);
    assert_eq!((guest.u32(8), guest.bytes(300, 5)), (5, b"12345".to_vec()));
}

#[test]
fn a_file_is_written_only_where_that_was_granted() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    let config = mounted(Mount::read_only(dir.path(), "/data"));
    let mut guest = opens(&config, "file", CREATE, FD_WRITE, &then("fd_write"));
    assert_ne!(block_on(guest.run_on_fiber()), 0);
    assert!(!file.exists());
    std::fs::write(&file, "12345").unwrap();
    let mut guest = opens(&config, "file", 0, FD_READ | FD_WRITE, &then("fd_write"));
    assert_ne!(block_on(guest.run_on_fiber()), 0);
    assert_eq!(std::fs::read(&file).unwrap(), b"12345");
    let config = mounted(Mount::read_write(dir.path(), "/data"));
    let mut guest = opens(&config, "file", CREATE, FD_WRITE, &then("fd_write"));
    assert_eq!(block_on(guest.run_on_fiber()), 0);
    assert_eq!(std::fs::read(&file).unwrap(), b"hello");
}

#[test]
fn nothing_outside_the_directory_is_reached() {
    let dir = tempfile::tempdir().unwrap();
    let inner = dir.path().join("inner");
    std::fs::create_dir(&inner).unwrap();
    std::fs::write(dir.path().join("secret"), "12345").unwrap();
    #[cfg(unix)]
    std::os::unix::fs::symlink("../secret", inner.join("link")).unwrap();
    let config = mounted(Mount::read_write(&inner, "/data"));
    for path in ["../secret", "link", "/etc/passwd", "../inner/../secret"] {
        let mut guest = opens(&config, path, 0, FD_READ, &then("fd_read"));
        assert_ne!(block_on(guest.run_on_fiber()), 0, "{path}");
        assert_eq!(guest.bytes(300, 5), b"hello", "{path}");
    }
}

#[test]
fn a_missing_directory_is_reported() {
    let config = mounted(Mount::read_only("/no/such/directory", "/data"));
    let threads = Engine::new().unwrap().file_threads(&"example".into()).unwrap();
    let refusal = WasiState::new(&config, Some(threads)).err().unwrap();
    assert!(refusal.starts_with("cannot mount /no/such/directory at /data: "), "{refusal}");
}

#[test]
fn with_mounts_output_goes_line_by_line_to_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let config = mounted(Mount::read_only(dir.path(), "/data"));
    let body = r#"(data (i32.const 0) "\64\00\00\00\07\00\00\00") (data (i32.const 100) "one\ntwo")
        (func (export "run") (result i32)
            (call $fd_write (i32.const 2) (i32.const 0) (i32.const 1) (i32.const 8)))"#;
    let mut guest = Guest::new(&config, &[("fd_write", IO)], body);
    let lines = logged(|| assert_eq!(block_on(guest.run_on_fiber()), 0));
    assert_eq!(lines, ["example stderr: one"]);
    assert_eq!(logged(|| guest.flush()), ["example stderr: two"]);
}

#[test]
fn with_mounts_randomness_arguments_and_exit_need_no_fiber() {
    let dir = tempfile::tempdir().unwrap();
    let config = WasiConfig { args: vec!["a".into()], ..mounted(Mount::read_only(dir.path(), "/data")) };
    let functions = [("args_get", "i32 i32"), ("random_get", "i32 i32"), ("proc_exit", "i32")];
    let body = r#"(func (export "run") (result i32)
        (drop (call $args_get (i32.const 0) (i32.const 8)))
        (drop (call $random_get (i32.const 16) (i32.const 8)))
        (call $proc_exit (i32.const 3)) (i32.const 0))"#;
    let mut guest = Guest::new(&config, &functions, body);
    // No fiber is needed for any of them.
    let error = guest.try_run().unwrap_err();
    assert!(matches!(error.downcast_ref(), Some(CallError { reason: Reason::Exit(3), .. })));
    assert_eq!((guest.u32(0), guest.bytes(8, 2)), (8, b"a\0".to_vec()));
    assert_ne!(guest.u64(16), 0);
}

/// The `errno` for a file that can't be opened because of its type.
#[cfg(target_os = "linux")]
const NOTSUP: i32 = 58;

#[cfg(target_os = "linux")]
#[test]
fn opening_anything_but_a_file_or_directory_is_refused_without_waiting() {
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    let dir = tempfile::tempdir().unwrap();
    let fifo = dir.path().join("fifo");
    mknodat(CWD, &fifo, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(dir.path().join("socket")).unwrap();
    std::os::unix::fs::symlink("fifo", dir.path().join("link")).unwrap();
    let config = mounted(Mount::read_write(dir.path(), "/data"));
    for path in ["fifo", "socket", "link"] {
        for (flags, rights) in [(0, FD_READ), (0, FD_WRITE), (0, FD_READ | FD_WRITE), (CREATE, FD_WRITE)] {
            let mut guest = opens(&config, path, flags, rights, &then("fd_read"));
            assert_eq!(block_on(guest.run_on_fiber()), NOTSUP, "{path} {flags} {rights}");
        }
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_device_is_not_opened() {
    // Mounted from where it is: only the superuser can create one.
    let config = mounted(Mount::read_only("/dev", "/data"));
    let mut guest = opens(&config, "zero", 0, FD_READ, &then("fd_read"));
    assert_eq!(block_on(guest.run_on_fiber()), NOTSUP);
    assert_eq!(guest.bytes(300, 5), b"hello");
}

#[test]
fn file_operations_run_on_the_guests_threads_without_a_runtime() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("file"), "12345").unwrap();
    let config = mounted(Mount::read_only(dir.path(), "/data"));
    // Its only blocking thread is taken.
    let runtime = tokio::runtime::Builder::new_current_thread().max_blocking_threads(1).build().unwrap();
    let (hanging, hangs) = std::sync::mpsc::channel::<()>();
    let _task = runtime.spawn_blocking(move || hangs.recv());
    let mut guest = opens(&config, "file", 0, FD_READ, &then("fd_read"));
    assert_eq!(runtime.block_on(guest.run_on_fiber()), 0);
    assert_eq!(guest.bytes(300, 5), b"12345");
    drop(hanging);
}

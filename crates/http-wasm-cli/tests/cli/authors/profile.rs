//! `http-wasm profile`.

use std::fs;

use crate::support::{guest, path, run};

#[test]
fn the_function_that_computes_has_the_most_samples() {
    let computes = guest(
        r#"(module
          (memory (export "memory") 1)
          (func $spin (param $n i32)
            (loop $again
              (local.set $n (i32.sub (local.get $n) (i32.const 1)))
              (br_if $again (local.get $n))))
          (func (export "handle_request") (result i64) (call $spin (i32.const 3000000)) (i64.const 0))
          (func (export "handle_response") (param i32 i32)))"#,
    );
    let directory = tempfile::tempdir().expect("there is room for files");
    let output = directory.path().to_str().expect("a path in UTF-8");
    let profiled = run(&["profile", path(&computes), "--duration", "1s", "--output", output]);
    let text = String::from_utf8(profiled.stdout).expect("reports are text");
    assert!(profiled.status.success(), "{}", String::from_utf8_lossy(&profiled.stderr));

    let mut lines = text.lines().skip_while(|line| !line.contains("function"));
    let first = lines.nth(1).unwrap_or_default();
    assert!(first.ends_with("  spin"), "{text}");
    assert!(text.contains("at the next loop head or function entry"), "it states its bias: {text}");

    let written = |extension: &str| {
        let mut files = fs::read_dir(directory.path()).expect("the directory is still there");
        let file = files.find_map(|file| {
            let path = file.ok()?.path();
            path.extension().is_some_and(|found| found == extension).then_some(path)
        });
        fs::read_to_string(file.unwrap_or_else(|| panic!("no file .{extension}: {text}")))
            .expect("a readable file")
    };
    assert!(written("folded").lines().any(|line| line.starts_with("handle_request;spin ")), "{text}");
    assert!(written("svg").contains("spin"), "{text}");
}

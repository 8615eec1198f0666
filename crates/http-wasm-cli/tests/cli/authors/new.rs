//! `new`, and the examples that it copies.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::{examples, output};

const CONFIG: &str = "s3cret ann ssn";

fn text(path: &Path) -> &str {
    path.to_str().expect("a path of ours is text")
}

/// Checks that `check --strict` and `test` accept the guest.
fn passes(guest: &Path, tests: &Path) {
    let (_, stderr, code) = output(&["check", "--strict", text(guest), "--guest-config", CONFIG]);
    assert_eq!((stderr.as_str(), code), ("", Some(0)), "{}", guest.display());
    let (stdout, stderr, code) = output(&["test", text(guest), text(tests)]);
    assert_eq!((stderr.as_str(), code), ("", Some(0)), "{}: {stdout}", guest.display());
}

#[test]
fn a_new_project_passes_check_and_test() {
    let folder = tempfile::tempdir().expect("a folder");
    let project = folder.path().join("my-guest");
    let (stdout, stderr, code) = output(&["new", text(&project), "--lang", "wat"]);
    assert_eq!((stderr.as_str(), code), ("", Some(0)));
    assert!(stdout.contains("http-wasm test guest.wat tests.toml"), "{stdout}");
    passes(&project.join("guest.wat"), &project.join("tests.toml"));
    let readme = fs::read_to_string(project.join("README.md")).expect("it is there");
    assert!(readme.starts_with("# my-guest\n") && readme.lines().count() <= 12, "{readme}");
    let workflow = fs::read_to_string(project.join(".github/workflows/guest.yml")).expect("it is there");
    assert!(workflow.contains("http-wasm check --strict guest.wat"), "{workflow}");
}

#[test]
fn a_new_c_guest_builds_and_passes_check_and_test() {
    let has = |tool: &str| Command::new(tool).arg("--version").output().is_ok();
    if !has("clang") || !has("wasm-ld") {
        // The harness shows this only if the test fails. CI reports skipped tests itself.
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let project = folder.path().join("guest-in-c");
    let (_, stderr, code) = output(&["new", text(&project), "--lang", "c"]);
    assert_eq!((stderr.as_str(), code), ("", Some(0)));
    let built = Command::new(project.join("build.sh")).output().expect("it runs");
    assert!(built.status.success() && built.stderr.is_empty(), "{}", String::from_utf8_lossy(&built.stderr));
    passes(&project.join("guest.wasm"), &project.join("tests.toml"));
}

#[test]
fn every_language_gets_all_files_of_its_example_under_its_own_name() {
    let (stdout, ..) = output(&["new", "--list"]);
    let languages: Vec<_> = stdout.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(languages, ["rust", "go", "c", "zig", "assemblyscript", "wat"]);
    let folder = tempfile::tempdir().expect("a folder");
    for language in languages {
        let project = folder.path().join(format!("in-{language}"));
        let (_, stderr, code) = output(&["new", text(&project), "--lang", language]);
        assert_eq!((stderr.as_str(), code), ("", Some(0)));
        for entry in fs::read_dir(examples().join(language)).expect("the example is there") {
            let name = entry.expect("it can be read").file_name();
            let name = name.to_str().expect("text");
            // Build outputs.
            if ["guest.wasm", "node_modules", "target"].contains(&name) {
                continue;
            }
            assert!(project.join(name).exists(), "{language}: {name}");
        }
        for file in ["Cargo.toml", "package.json"] {
            if let Ok(manifest) = fs::read_to_string(project.join(file)) {
                assert!(manifest.contains(&format!("\"in-{language}\"")), "{manifest}");
            }
        }
    }
}

#[test]
fn new_refuses_non_empty_directories_and_invalid_package_names() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("kept"), "x").expect("it is ours");
    let named = folder.path().join("a");
    fs::create_dir(&named).expect("it is ours");
    fs::write(named.join("kept"), "x").expect("it is ours");
    let (_, stderr, code) = output(&["new", text(&named), "--lang", "c"]);
    assert!(code == Some(2) && stderr.contains("the directory isn't empty; choose another name"), "{stderr}");
    let (_, stderr, code) = output(&["new", "Bad Name", "--lang", "c"]);
    assert!(code == Some(2) && stderr.contains("expected a name of lower-case letters"), "{stderr}");
}

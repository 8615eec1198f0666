//! `test`: passing cases, failing cases, and invalid files.

use std::fs;
use std::time::{Duration, Instant};

use super::{examples, file, of, output};
use crate::support::{http_wasm, path};

/// Sets `x-user: ann` on requests, logs `ann`, and lets them proceed.
const TAGS: &str = "(call $log (i32.const 1) (i32.const 32) (i32.const 3))
    (call $set (i32.const 0) (i32.const 0) (i32.const 6) (i32.const 32) (i32.const 3))
    i64.const 1";

const PASSES: &str = r#"
[[case]]
name = "the user is set"
request = { method = "POST", url = "/a", json = { a = 1 } }
next = { status = 201, headers = { x-b = ["1", "2"] }, body = "made" }
expect.next_called = true
expect.request = { method = "POST", uri = "/a", headers = { x-user = "ann", x-no = false }, json = { a = 1 } }
expect.response = { status = 201, headers = { x-b = ["1", "2"], content-length = true }, body_contains = "ad" }
expect.log = ["warn: ann"]
expect.no_log = ["error:"]
"#;

#[test]
fn cases_whose_expectations_are_met_pass() {
    let (guest, tests) = (of(TAGS, ""), file(".toml", PASSES));
    let (stdout, stderr, code) = output(&["test", path(&guest), path(&tests), "--verbose"]);
    assert_eq!((stderr.as_str(), code), ("", Some(0)), "{stdout}");
    assert!(stdout.starts_with("ok the user is set\n1 case passed in "), "{stdout}");
}

#[test]
fn each_expectation_fails_and_shows_a_diff_if_the_outcome_differs() {
    let guest = of(TAGS, "");
    for (right, wrong, difference) in [
        ("next_called = true", "next_called = false", "  next_called\n    - false\n    + true\n"),
        ("uri = \"/a\"", "uri = \"/b\"", "  request.uri\n    - /b\n    + /a\n"),
        ("x-user = \"ann\"", "x-user = \"bob\"", "  request.headers.x-user\n    - bob\n    + ann\n"),
        ("x-no = false", "x-no = true", "  request.headers.x-no\n    - any value\n    + none\n"),
        ("x-user = \"ann\"", "x-user = false", "  request.headers.x-user\n    - none\n    + ann\n"),
        ("json = { a = 1 } }\nexpect.response", "json = { a = 2 } }\nexpect.response", "    -   \"a\": 2\n"),
        (
            "{ status = 201, headers = { x-b = [\"1\", \"2\"], c",
            "{ status = 200, headers = { x-b = \"1\", c",
            "+ 201",
        ),
        ("{ x-b = [\"1\", \"2\"], c", "{ x-b = \"1\", c", "  response.headers.x-b\n      1\n    + 2\n"),
        ("body_contains = \"ad\"", "body = \"made!\"", "  response.body\n    - made!\n    + made\n"),
        ("log = [\"warn: ann\"]", "log = [\"bob\"]", "  log\n    - a line with \"bob\"\n    + warn: ann\n"),
        (
            "no_log = [\"error:\"]",
            "no_log = [\"ann\"]",
            "  no_log\n    - no line with \"ann\"\n    + warn: ann\n",
        ),
        (
            "expect.log",
            "expect.error = \"trap\"\nexpect.log",
            "  error\n    - an error with \"trap\"\n    + none\n",
        ),
    ] {
        assert!(PASSES.contains(right), "{right}");
        let tests = file(".toml", &PASSES.replacen(right, wrong, 1));
        let (stdout, stderr, code) = output(&["test", path(&guest), path(&tests)]);
        assert_eq!((stderr.as_str(), code), ("error: 1 of 1 cases failed\n", Some(1)), "{wrong}: {stdout}");
        let head = format!("FAILED the user is set ({}:3)\n", path(&tests));
        assert!(stdout.starts_with(&head) && stdout.contains(difference), "{wrong}: {stdout}");
        assert!(
            stdout.contains("    handle_request()\n      log(level: warn, message: \"ann\")"),
            "{stdout}"
        );
    }
}

#[test]
fn a_failing_guest_fails_its_case_unless_the_failure_is_expected() {
    let guest = of("unreachable", "");
    let plain = "[[case]]\nname = \"n\"\n";
    let (stdout, _, code) = output(&["test", path(&guest), path(&file(".toml", plain))]);
    assert!(code == Some(1) && stdout.contains("+ it fails: "), "{stdout}");
    let expected =
        file(".toml", &format!("{plain}expect = {{ error = \"unreachable\", response.status = 500 }}"));
    let (stdout, stderr, code) = output(&["test", path(&guest), path(&expected)]);
    assert_eq!(code, Some(0), "{stdout}{stderr}");
}

#[test]
fn update_rewrites_differing_expectations_and_keeps_the_rest() {
    let guest = of(TAGS, "");
    let wrong = PASSES.replace(
        "status = 201, headers = { x-b = [\"1\", \"2\"], c",
        "status = 500, headers = { x-b = false, c",
    );
    let tests = file(".toml", &format!("# Kept.\n{wrong}\n[[case]]\nname = \"new\"\n"));
    let (stdout, stderr, code) = output(&["test", path(&guest), path(&tests), "--update"]);
    assert_eq!(code, Some(1), "it tells what differed: {stdout}{stderr}");
    let text = fs::read_to_string(path(&tests)).expect("the file is there");
    let added =
        "expect.next_called = true\nexpect.response.status = 200\nexpect.response.body = \"hello world\"\n";
    assert_eq!(text, format!("# Kept.\n{PASSES}\n[[case]]\nname = \"new\"\n{added}"));
    let (stdout, stderr, code) = output(&["test", path(&guest), path(&tests)]);
    assert_eq!((stderr.as_str(), code), ("", Some(0)), "{stdout}");
}

#[test]
fn a_filter_selects_cases_by_name_and_junit_reports_them() {
    let guest = of(TAGS, "");
    let tests =
        file(".toml", &format!("{PASSES}\n[[case]]\nname = \"<other>\"\nexpect.response.status = 500\n"));
    let (stdout, _, code) = output(&["test", path(&guest), path(&tests), "--filter", "user"]);
    assert!(code == Some(0) && stdout.starts_with("1 case passed"), "{stdout}");
    let junit = file(".xml", "");
    let (_, stderr, code) = output(&["test", path(&guest), path(&tests), "--junit", path(&junit)]);
    assert_eq!((stderr.as_str(), code), ("error: 1 of 2 cases failed\n", Some(1)));
    let xml = fs::read_to_string(path(&junit)).expect("the file is there");
    for part in
        [" tests=\"2\" failures=\"1\"", "name=\"&lt;other&gt;\"", "<failure message=\"response.status\">"]
    {
        assert!(xml.contains(part), "{part}: {xml}");
    }
    let (_, stderr, code) = output(&["test", path(&guest), path(&tests), "--filter", "nothing"]);
    assert_eq!((stderr.as_str(), code), ("error: no case matches the filter\n", Some(70)));
}

#[test]
fn errors_in_the_test_file_name_their_place() {
    let guest = of(TAGS, "");
    for (text, expected) in [
        (
            "[[case]]\nname = 'n'\nrequest.path = '/'",
            "case 1 at line 1 (\"n\"): unknown field `path`, expected one of",
        ),
        ("[[case]]\nname = ", "line 2: "),
        ("", "the file has no [[case]]"),
        ("log_level = 'loud'\n[[case]]\nname = 'n'", "log_level: unknown level \"loud\""),
        (
            "config = 'a'\nconfig_file = 'b'\n[[case]]\nname = 'n'",
            "`config` and `config_file` are mutually exclusive",
        ),
    ] {
        let tests = file(".toml", text);
        let (_, stderr, code) = output(&["test", path(&guest), path(&tests)]);
        assert!(code == Some(2) && stderr.contains(expected), "{text:?}: {stderr}");
    }
    for (text, expected) in [
        ("request.method = 'B AD'", "request: invalid method \"B AD\""),
        ("request.headers = { 'a b' = 'c' }", "request: invalid header a b"),
        (
            "next = { fails = true, status = 200 }",
            "next: `fails`, `echo` and a response are mutually exclusive",
        ),
    ] {
        let tests = file(".toml", &format!("[[case]]\nname = 'n'\n{text}"));
        let (stdout, _, code) = output(&["test", path(&guest), path(&tests)]);
        assert!(code == Some(1) && stdout.contains(expected), "{text:?}: {stdout}");
    }
}

#[test]
fn a_thousand_cases_run_within_the_time_limit() {
    let guest = examples().join("wat/guest.wat");
    let case = "[[case]]\nname = 'denied'\nexpect = { next_called = false, response.status = 401 }\n";
    let tests = file(".toml", &format!("config = 'a b c'\n{}", case.repeat(1000)));
    let begun = Instant::now();
    let (stdout, stderr, code) = output(&["test", guest.to_str().expect("text"), path(&tests)]);
    assert_eq!((stderr.as_str(), code), ("", Some(0)));
    assert!(stdout.starts_with("1000 cases passed in "), "{stdout}");
    // A debug build on a busy machine gets more time.
    assert!(begun.elapsed() < Duration::from_secs(30), "{stdout}");
}

#[test]
fn the_schema_describes_the_file() {
    let (stdout, _, code) = output(&["test", "--schema"]);
    let schema: serde_json::Value = serde_json::from_str(&stdout).expect("JSON");
    assert_eq!(code, Some(0));
    assert_eq!(schema["properties"]["case"]["items"]["$ref"], "#/$defs/Case");
    let described = schema["$defs"]["ExpectResponse"]["properties"]["status"]["description"].as_str();
    assert_eq!(described, Some("Its status."));
}

#[test]
fn watch_runs_again_when_a_file_changes() {
    use std::io::{BufRead as _, BufReader};
    use std::process::Stdio;

    let (guest, tests) =
        (of(TAGS, ""), file(".toml", "[[case]]\nname = \"n\"\nexpect.response.status = 500\n"));
    let mut command = http_wasm();
    command.args(["test", path(&guest), path(&tests), "--watch"]).stdout(Stdio::piped());
    let mut child = command.spawn().expect("the binary starts");
    let mut lines = BufReader::new(child.stdout.take().expect("stdout is piped")).lines();
    let mut until = |part: &str| {
        let found = lines.by_ref().map(|line| line.expect("text")).find(|line| line.contains(part));
        assert!(found.is_some(), "no line with {part:?}");
    };
    until("1 of 1 cases failed");
    until("watching for changes");
    fs::write(path(&tests), "[[case]]\nname = \"n\"\nexpect.response.status = 200\n").expect("it is ours");
    until("1 case passed");
    child.kill().expect("it runs");
    child.wait().expect("it ends");
}

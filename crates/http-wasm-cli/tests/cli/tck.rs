//! The conformance kit against this host, and against misconfigured hosts.

use std::process::Output;

use http_wasm_tck::case::{Case, Exchange, Section};
use http_wasm_tck::guest::Function;
use http_wasm_tck::run::{LaunchCommand, Options, Verdict};
use http_wasm_tck::script::{Script, script};
use serde_json::Value;

use crate::support::{Server, http_wasm, run};

fn tck(args: &[&str]) -> Output {
    run(&[&["tck"], args].concat())
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Runs the whole kit against this host.
fn conforms(http: &str) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let junit = dir.path().join("junit.xml");
    // Some cases end at a deadline, which may be late on a busy machine.
    let args = ["run", "--self", "--http", http, "--timeout", "60s", "--json", "--junit"];
    let output = tck(&[&args[..], &[&junit.to_string_lossy()]].concat());
    let report: Value = serde_json::from_slice(&output.stdout).expect("the report is JSON");
    let cases = report["cases"].as_array().expect("cases are a list");
    let failed: Vec<String> = cases
        .iter()
        .filter(|case| case["result"] == "failed")
        .map(|case| format!("{}: {}: {}", case["id"], case["says"], case["seen"]))
        .collect();
    assert!(failed.is_empty(), "{failed:#?}");
    assert!(output.status.success(), "{}", text(&output.stderr));
    // Only cases for the other protocol version are skipped.
    assert!(report["skipped"].as_u64() < Some(10), "{}", report["skipped"]);

    let xml = std::fs::read_to_string(junit).expect("the JUnit file is there");
    assert_eq!(xml.matches("<testcase ").count(), cases.len());
    assert!(xml.contains("failures=\"0\""), "{xml}");
}

#[test]
fn this_host_conforms_over_http_1() {
    conforms("1.1");
}

#[test]
fn this_host_conforms_over_http_2() {
    conforms("2");
}

/// For a host that the kit doesn't start: guest, backend and runner are separate commands.
#[test]
fn a_running_host_is_tested_through_its_url() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let guest = dir.path().join("guest.wasm");
    let guest = guest.to_string_lossy();
    assert!(tck(&["guest", "-o", &guest]).status.success());
    let backend = Server::of(http_wasm().args(["tck", "backend", "--listen", "127.0.0.1:0"]));
    let host = Server::proxy_to(backend.addr, &["--guest", &guest]);

    let url = format!("http://{}", host.addr);
    let output = tck(&["run", "--url", &url, "--filter", "phases/*"]);
    let table = text(&output.stdout);
    assert!(output.status.success(), "{table}");
    assert!(table.contains("what the ABI says"), "{table}");
    let output = tck(&["run", "--url", &url, "--filter", "config/"]);
    assert!(output.status.success() && text(&output.stdout).contains("skip"), "{}", text(&output.stdout));
}

#[test]
fn a_host_without_the_conformance_guest_exits_with_70_and_a_hint() {
    let backend = Server::of(http_wasm().args(["tck", "backend", "--listen", "127.0.0.1:0"]));
    let output = tck(&["run", "--url", &format!("http://{}", backend.addr)]);
    assert_eq!(output.status.code(), Some(70));
    assert!(text(&output.stderr).contains("http-wasm tck guest"), "{}", text(&output.stderr));
}

#[test]
fn failing_cases_exit_with_1() {
    // The host doesn't get its configuration.
    let launch = format!(
        "{} serve --guest {{guest}} --upstream {{backend}} --listen {{listen}}",
        env!("CARGO_BIN_EXE_http-wasm")
    );
    let output = tck(&["run", "--launch", &launch, "--filter", "config/1/*"]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stdout));
    assert!(text(&output.stdout).contains("= 1: seen 0"), "{}", text(&output.stdout));
}

#[test]
fn the_conformance_guest_is_written_as_text_and_in_variants() {
    let output = tck(&["guest", "-o", "-", "--wat", "--variant", "start-section"]);
    assert!(output.status.success() && text(&output.stdout).contains("(start $boot)"));
    let output = tck(&["guest", "-o", "-", "--variant", "nonsense"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("early-get-method"), "{}", text(&output.stderr));
}

/// A guest other than the kit's, such as one for a language's binding.
#[test]
fn a_guest_is_tested_and_skips_what_it_is_not_capable_of() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let file = dir.path().join("guest.wat");
    let wat = text(&tck(&["guest", "-o", "-", "--wat"]).stdout);
    let tested = |wat: &str, filter: &str| {
        std::fs::write(&file, wat).expect("the file takes it");
        tck(&["run", "--self", "--guest", &file.to_string_lossy(), "--filter", filter])
    };
    let skipped =
        |output: &Output| text(&output.stdout).lines().filter(|line| line.starts_with("skip")).count();

    let output = tested(&wat, "limits/get-uri/*");
    assert!(output.status.success() && skipped(&output) == 0, "{}", text(&output.stdout));
    let incapable = wat.replace("(i64.const 31)", "(i64.const 29)");
    assert_ne!(wat, incapable);
    let output = tested(&incapable, "limits/get-uri/*");
    let table = text(&output.stdout);
    assert!(output.status.success() && skipped(&output) == 8, "{table}");
    assert!(
        table.contains("the guest doesn't support this: the case reads a value into a buffer"),
        "{table}"
    );
    // The variants have other exports, or do something at start-up.
    let table = text(&tested(&wat, "start/initialize/runs").stdout);
    assert!(table.contains("needs the variant `initialize` of the kit's own guest"), "{table}");

    // A guest that gets something wrong fails.
    let broken = wat.replace("(call $get_uri ", "(call $get_method ");
    assert_ne!(wat, broken);
    let output = tested(&broken, "uri/get/*");
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stdout));
}

#[test]
fn a_guest_that_is_not_a_conformance_guest_exits_with_70_and_says_so() {
    let guest = concat!(env!("CARGO_MANIFEST_DIR"), "/../../guests/examples/wat/guest.wat");
    let output = tck(&["run", "--self", "--guest", guest]);
    assert_eq!(output.status.code(), Some(70));
    let error = text(&output.stderr);
    assert!(error.contains("guest.wat can't be used as the conformance guest: "), "{error}");
    let output = tck(&["run", "--self", "--guest", "missing.wasm"]);
    assert_eq!(output.status.code(), Some(70));
    assert!(text(&output.stderr).contains("missing.wasm"), "{}", text(&output.stderr));
}

/// A kit that passes everything proves nothing, so each kind of expectation must be able to fail.
#[tokio::test]
async fn cases_with_wrong_expectations_fail() {
    let wrong = || script().reads(Function::GetMethod, "WRONG");
    let status = || script().call(Function::GetStatusCode, []).gives(404);
    let case =
        |id: &str, exchange: Exchange| Case::new(format!("wrong/{id}"), Section::Fields, "wrong", exchange);
    let with = |make: fn(Exchange, Script) -> Exchange, script: Script| make(Exchange::get("/"), script);
    let cases = [
        case("before", with(Exchange::before, wrong())),
        case("stop", Exchange::get("/").before(wrong()).stops()),
        case("after", with(Exchange::after, wrong())),
        case("after-value", with(Exchange::after, status())),
        case("after-buffered", Exchange::get("/").features(2).after(wrong())),
        case("right", Exchange::get("/").before(script().reads(Function::GetMethod, "GET"))),
    ];
    let words = [
        env!("CARGO_BIN_EXE_http-wasm"),
        "serve",
        "--guest",
        "{guest}",
        "--upstream",
        "{backend}",
        "--listen",
        "{listen}",
    ];
    let launch = LaunchCommand::new(words.map(str::to_owned).to_vec()).expect("a command");
    let options = Options { launch: Some(launch), ..Options::default() };
    let outcomes = http_wasm_tck::run::run(&cases, &options, |_| ()).await.expect("the kit runs");
    let passed: Vec<&str> = outcomes
        .iter()
        .filter(|outcome| outcome.verdict == Verdict::Passed)
        .map(|outcome| &outcome.id[..])
        .collect();
    assert_eq!(passed, ["wrong/right"], "{outcomes:#?}");
}

//! Flags, messages and exit codes.

use std::fs;
use std::io;
use std::net::TcpListener;
use std::process::Output;

use crate::support::{Server, exchange, guest, http_wasm, path, run};

/// The text on stderr, and the exit code. Nothing may be on stdout.
fn failure(output: &Output) -> (String, Option<i32>) {
    let stderr = String::from_utf8(output.stderr.clone()).expect("messages are text");
    assert!(output.stdout.is_empty(), "nothing on stdout: {:?}", output.stdout);
    assert!(!stderr.contains("os error") && !stderr.contains("panicked"), "{stderr}");
    (stderr, output.status.code())
}

fn one_line(output: &Output) -> (String, Option<i32>) {
    let (stderr, code) = failure(output);
    // There may be log lines: on a busy machine, about a guest that took a long time to load, and for root, that code
    // isn't cached.
    let is_error = |line: &&str| !line.contains(" INFO ");
    let stderr: String = stderr.split_inclusive('\n').filter(is_error).collect();
    let line =
        stderr.strip_prefix("error: ").and_then(|rest| rest.strip_suffix('\n')).expect("an error line");
    assert!(!line.contains('\n'), "{stderr}");
    (line.to_owned(), code)
}

#[test]
fn a_bad_flag_exits_with_2() {
    for args in [
        &["serve", "--no-such-flag"][..],
        &["serve", "--listen", "8080"],
        &["serve", "--listen", "127.0.0.1:http"],
        &["serve", "--upstream", "ftp://h"],
        &["serve", "--upstream", "http://h/?q"],
        &["serve", "--log", "xml"],
        &["serve", "--env", "novalue"],
        &["serve", "--mount", "/a:/b:/c"],
        &["serve", "--upstream-timeout", "0s"],
        &["serve", "--header-timeout", "30"],
        &["serve", "--on-failure", "opne"],
        &["check"],
        &["bench"],
        &["bench", "a.wasm", "--duration", "0s"],
        &["no-such-command"],
    ] {
        let (stderr, code) = failure(&run(args));
        assert_eq!(code, Some(2), "{args:?}");
        assert!(stderr.starts_with("error: "), "{args:?}: {stderr}");
    }
}

/// As with `| head`, which closes its end of the pipe when it has seen enough.
#[test]
fn a_command_whose_output_nobody_reads_ends_quietly() {
    let (reader, writer) = io::pipe().expect("a pipe");
    drop(reader);
    let guest = concat!(env!("CARGO_MANIFEST_DIR"), "/../../guests/welcome/welcome.wat");
    for args in [
        &["tck", "list"][..],
        &["tck", "guest", "-o", "-"],
        &["tck", "run", "--self"],
        &["config", "schema"],
        &["check", guest],
        &["new", "--list"],
        &["test", "--schema"],
    ] {
        let writer = writer.try_clone().expect("another end");
        let output = http_wasm().args(args).stdout(writer).output().expect("the binary runs");
        assert_eq!(failure(&output), (String::new(), Some(141)), "{args:?}");
    }
}

#[test]
fn more_configurations_than_guests_are_refused() {
    let output = run(&["serve", "--guest", "a.wasm", "--guest-config", "1", "--guest-config", "2"]);
    let (line, code) = one_line(&output);
    assert_eq!(code, Some(2));
    assert!(line.starts_with("2 --guest-config but only 1 --guest"), "{line}");
}

#[tokio::test]
async fn ext_proc_requires_a_guest_and_refuses_an_upstream() {
    for (args, expected) in [
        (&["ext-proc"][..], "no guest: use --guest FILE"),
        (&["ext-proc", "--guest", "a.wasm", "--upstream", "echo"], "--upstream can't be used with"),
    ] {
        let (line, code) = one_line(&run(args));
        assert_eq!(code, Some(2));
        assert!(line.starts_with(expected), "{line}");
    }
    let guest = guest(
        "(module (memory (export \"memory\") 1)
        (func (export \"handle_request\") (result i64) (i64.const 1))
        (func (export \"handle_response\") (param i32 i32)))",
    );
    let server =
        Server::of(http_wasm().args(["ext-proc", "--listen", "127.0.0.1:0", "--guest", path(&guest)]));
    let answer = exchange(server.addr, "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
    assert!(answer.contains("grpc-status: 12"), "it has Envoy's service and health checks alone: {answer}");
}

#[test]
fn a_configuration_file_that_cannot_be_read_is_named() {
    let output = run(&["serve", "--guest", "a.wasm", "--guest-config", "@/no/such/file"]);
    assert_eq!(
        one_line(&output),
        ("--guest-config @/no/such/file: no such file or directory".to_owned(), Some(2))
    );
}

#[test]
fn a_mounted_directory_must_exist() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().to_str().unwrap();
    let (line, code) = one_line(&run(&["serve", "--mount", path]));
    assert_eq!((line, code), (format!("--mount {path}: not a directory"), Some(2)));

    let (line, code) = one_line(&run(&["check", "a.wasm", "--mount", "/no/such:/data:ro"]));
    assert_eq!((line.as_str(), code), ("--mount /no/such: no such file or directory", Some(2)));
}

#[test]
fn a_log_filter_that_cannot_be_parsed_is_refused() {
    let output =
        http_wasm().args(["serve", "--listen", "127.0.0.1:0"]).env("RUST_LOG", "a=b=c").output().unwrap();
    let (line, code) = one_line(&output);
    assert_eq!(code, Some(2));
    assert!(line.starts_with("RUST_LOG is not a valid log filter: "), "{line}");
}

#[test]
fn a_guest_that_cannot_be_read_exits_with_65() {
    let expected = ("guest /no/such.wasm: no such file or directory".to_owned(), Some(65));
    assert_eq!(one_line(&run(&["serve", "--guest", "/no/such.wasm"])), expected);
    assert_eq!(one_line(&run(&["check", "/no/such.wasm"])), expected);

    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_str().unwrap();
    assert_eq!(one_line(&run(&["check", path])), (format!("guest {path}: is a directory"), Some(65)));
}

#[test]
fn a_taken_port_exits_with_69() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (line, code) = one_line(&run(&["serve", "--listen", &address]));
    assert_eq!(code, Some(69));
    assert!(line.starts_with(&format!("cannot listen on {address}: the port is in use")), "{line}");
}

#[test]
fn a_non_local_listen_address_exits_with_69() {
    let (line, code) = one_line(&run(&["serve", "--listen", "192.0.2.1:0"]));
    let expected = "cannot listen on 192.0.2.1:0: this machine has no such address";
    assert_eq!((line.as_str(), code), (expected, Some(69)));
}

#[test]
fn every_option_is_explained() {
    for (command, options) in [
        ("serve", &["--listen", "--guest", "--guest-config", "--env", "--mount", "--upstream", "--log"][..]),
        ("check", &["--guest-config", "--env", "--mount", "--json"]),
        ("bench", &["--guest-config", "--env", "--mount", "--request", "--duration", "--json"]),
    ] {
        let output = run(&[command, "-h"]);
        let help = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success());
        for option in options {
            assert!(
                help.contains(&format!("{option} ")) || help.contains(&format!("{option}\n")),
                "{option}: {help}"
            );
        }
    }
}

#[test]
fn options_of_serve_are_listed_in_their_groups() {
    let output = run(&["serve", "-h"]);
    let help = String::from_utf8(output.stdout).unwrap();
    let (mut group, mut groups) = ("", Vec::new());
    for line in help.lines() {
        if let Some(heading) = line.strip_suffix(':').filter(|line| !line.starts_with(' ')) {
            group = heading;
        }
        let option = line.trim_start().split([' ', '[', '=']).find(|word| word.starts_with("--"));
        if let Some(option) = option.filter(|_| line.starts_with("      --") || line.starts_with("  -")) {
            groups.push((option, group));
        }
    }
    for (option, group) in [
        ("--config", "Options"),
        ("--access-log", "Options"),
        ("--help", "Options"),
        ("--max-requests", "Limits"),
        ("--guest-memory-budget", "Limits"),
        ("--shutdown-delay", "Limits"),
        ("--shutdown-timeout", "Limits"),
        ("--env", "Settings of each guest"),
        ("--deadline", "Settings of each guest"),
        ("--strict", "Settings of each guest"),
    ] {
        assert!(groups.contains(&(option, group)), "{option} in {group}: {groups:?}\n{help}");
    }
    assert!(!help.contains("SECONDS"), "durations have units:\n{help}");
}

#[test]
fn a_misspelt_value_is_refused_with_the_possible_values() {
    let (stderr, code) = failure(&run(&["serve", "--on-failure", "opne"]));
    assert_eq!(code, Some(2));
    assert!(stderr.contains("[possible values: closed, open]"), "{stderr}");
}

#[test]
fn environment_mount_and_configuration_flags_are_accepted() {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("config");
    fs::write(&config, [0xff, 0x00]).unwrap();
    let mount = format!("{}:/data:ro", directory.path().display());
    let config = format!("@{}", config.display());
    Server::start(&["--env", "A=1", "--env", "B=", "--mount", &mount, "--log", "json"]);
    // The guest is only read after the arguments have been accepted.
    let (_, code) = one_line(&run(&["check", "/no/such.wasm", "--guest-config", &config, "--mount", &mount]));
    assert_eq!(code, Some(65));
}

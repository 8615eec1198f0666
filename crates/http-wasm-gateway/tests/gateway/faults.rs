//! Invalid configurations: each message says where the error is, what was expected, and what to do.

mod configurations;

use std::fs;

use self::configurations::FAULTY;
use crate::files::Files;

/// The minimum that every configuration needs.
const BASE: &str = "listen = ['127.0.0.1:0']\n";
const ROUTE: &str = "[[routes]]\nbackend = 'echo'\n";

/// The file with the messages.
const REPORT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/faults.txt");

/// If this variable is set, the file is updated.
const WRITE: &str = "WRITE_FAULTS";

#[test]
fn each_error_is_reported_once_with_its_place_and_advice() {
    let files = Files::new();
    let (mut report, mut valid) = (String::new(), Vec::new());
    for text in FAULTY {
        let text = match text.strip_prefix('+') {
            Some(rest) if rest.contains("[[routes]]") || rest.contains("[routes.") => format!("{BASE}{rest}"),
            Some(rest) => format!("{BASE}{rest}{ROUTE}"),
            None => (*text).to_owned(),
        };
        let Err(faults) = files.load(&text) else {
            valid.push(text);
            continue;
        };
        let message = files.shown(&faults);
        // There are also warnings about guests that no route uses.
        let (head, errors) = message.split_once("\n\n").expect("each error follows an empty line");
        assert!(head.starts_with("configuration gateway.toml: 1 error"), "{message}\n\n{text}");
        let error = errors.split("\n\n").next().unwrap_or(errors);
        assert!(error.contains("--> gateway.toml:"), "{message}");
        report += error;
        report += "\n\n";
    }
    if std::env::var_os(WRITE).is_some() {
        fs::write(REPORT, &report).expect("the report can be written");
    }
    assert_eq!(valid, [""; 0], "they have no fault");
    let expected = fs::read_to_string(REPORT).unwrap_or_default();
    for (found, expected) in report.split("\n\n").zip(expected.split("\n\n")) {
        assert_eq!(found, expected, "if it is better, run this test with {WRITE}=1");
    }
    assert_eq!(report.len(), expected.len(), "run this test with {WRITE}=1");
}

#[test]
fn all_errors_in_a_file_are_reported_at_once_in_file_order() {
    let message = Files::new().fault(
        "listen = ['nope', 'a:1', 'a:1']\n[server]\nmax_requests = 0\n[guests.a]\npath = 'none'\ntypo = 1\n\
         [[routes]]\nguests = ['b']\nupstream = 'u'\n",
    );
    assert!(message.contains(": 7 errors\n"), "{message}");
    let order = [
        "invalid address \"nope\"",
        "two listeners have the address",
        "found the number 0",
        "`typo`",
        "unknown guest \"b\"",
        "unknown upstream",
    ];
    let places: Vec<_> = order.iter().map(|part| message.find(part)).collect();
    assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{places:?}\n{message}");
}

#[test]
fn a_listener_that_rejects_everyone_is_reported_unless_its_networks_are_invalid() {
    let inline =
        |trusted| format!("listen = [{{ address = '127.0.0.1:0', proxy_protocol = 'v2', {trusted} }}]\n");
    let table = |trusted| format!("[[listen]]\naddress = '127.0.0.1:0'\nproxy_protocol = 'v2'\n{trusted}\n");
    for trusted in ["", "trusted_proxies = []", "trusted_proxies = ['ten']", "trusted_proxies = 'ten'"] {
        for listen in [inline(trusted), table(trusted)] {
            let message = Files::new().fault(&format!("{listen}{ROUTE}[server]\nmax_requests = 0\n"));
            assert!(message.contains(": 2 errors\n"), "{message}");
            assert_eq!(message.contains("rejects every connection"), !trusted.contains("ten"), "{message}");
        }
    }
}

#[test]
fn an_unreachable_route_is_reported_unless_its_conditions_are_invalid() {
    for (all, last, unreachable) in [
        ("", "path = '/a'", true),
        ("", "path = 5", false),
        ("path_prefix = '/'", "host = 'a'", true),
        ("path_prefix = 5", "host = 'a'", false),
        ("metod = 'GET'", "host = 'a'", false),
    ] {
        let routes = format!("[[routes]]\n{all}\nbackend = 'echo'\n[[routes]]\n{last}\nupstream = 'u'\n");
        let message = Files::new().fault(&format!("{BASE}{routes}"));
        assert!(message.contains("unknown upstream"), "{message}");
        assert!(message.contains(": 2 errors\n"), "{message}");
        assert_eq!(message.contains("no request can reach"), unreachable, "{message}");
    }
}

#[test]
fn a_key_that_belongs_to_another_certificate_is_refused() {
    let files = Files::new();
    files.write("other.pem", include_str!("../fixtures/other.key.pem"));
    files.write(
        "locked.pem",
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
    );
    for (key, expected) in [
        ("other.pem", "doesn't match the certificate"),
        ("cert.pem", "no private key"),
        ("locked.pem", "has a password"),
    ] {
        let message = files.fault(&format!(
            "[[listen]]\naddress = '127.0.0.1:0'\ntls.certificates = [{{ certificate = 'cert.pem', key = '{key}' }}]\n\
             {ROUTE}"
        ));
        assert!(message.contains(expected) && message.contains(": 1 error\n"), "{message}");
    }
}

#[test]
fn a_missing_file_is_named() {
    let error =
        http_wasm_gateway::config::Config::load("/no/such.toml".as_ref()).expect_err("there is no such file");
    assert_eq!(error.to_string(), "configuration /no/such.toml: no such file or directory");
}

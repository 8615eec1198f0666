//! Configurations that are valid but probably not what was meant, and guests that can't be loaded.

use http_wasm_gateway::config::{Config, Faults};
use http_wasm_gateway::{Gateway, StartError};

use crate::files::Files;

const BASE: &str = "listen = ['127.0.0.1:0']\n";
const ROUTE: &str = "[[routes]]\nbackend = 'echo'\n";

async fn check(files: &Files, text: &str) -> Result<(Config, Faults), StartError> {
    Gateway::check(&files.write("gateway.toml", text)).await
}

/// The warnings about a usable configuration.
async fn warnings(files: &Files, text: &str) -> String {
    let (_, warnings) = check(files, text).await.unwrap_or_else(|error| panic!("{error}\n{text}"));
    if warnings.is_empty() { String::new() } else { warnings.to_string() }
}

#[tokio::test]
async fn unused_items_get_a_warning_with_their_place_and_advice() {
    let files = Files::new();
    for (text, parts) in [
        (
            format!("{BASE}[guests.auth]\npath = 'guest.wat'\n{ROUTE}"),
            ["no route uses the guest \"auth\"", "gateway.toml:2:9", "add it to the `guests` of a route"],
        ),
        (
            format!("{BASE}[upstreams.app]\naddresses = ['http://127.0.0.1:1']\n{ROUTE}"),
            ["no route uses the upstream \"app\"", "gateway.toml:2:12", "set upstream = \"app\" in a route"],
        ),
        (
            format!("{BASE}routes = []\n"),
            ["no route matches requests from this listener", "gateway.toml:1:11", "all of them get 404"],
        ),
        (
            format!("listen = [{{ address = '127.0.0.1:0', trusted_fields = ['x-real-ip'] }}]\n{ROUTE}"),
            ["`trusted_fields` has no effect", "gateway.toml:1:56", "trusted_proxies = [\"10.0.0.0/8\"]"],
        ),
        (
            "listen = ['127.0.0.1:0', '127.0.0.1:1']\n\
             [[routes]]\nlisten = '127.0.0.1:0'\nbackend = 'echo'\n"
                .to_owned(),
            ["no route matches requests from this listener", "gateway.toml:1:26", "all of them get 404"],
        ),
        (
            format!("{BASE}[[routes]]\nmethod = ['GET', 'CONNECT']\nbackend = 'echo'\n"),
            ["all CONNECT requests get 501", "gateway.toml:3:18", "isn't a forward proxy"],
        ),
        (
            format!("{BASE}[[routes]]\nmethod = 'CONNECT'\nrespond = {{ body = 'ok' }}\n"),
            ["all CONNECT requests get 501", "gateway.toml:3:10", "isn't a forward proxy"],
        ),
        (
            format!("{BASE}[[routes]]\nscheme = 'https'\nbackend = 'echo'\n{ROUTE}"),
            ["no listener receives requests for this route", "gateway.toml:2:1", "listener has `tls`"],
        ),
        (
            format!(
                "{BASE}[[listen]]\naddress = '127.0.0.1:1'\n\
                 tls.certificates = [{{ certificate = 'cert.pem', key = 'key.pem' }}]\n\
                 [[routes]]\nredirect = {{ to = 'https://{{host}}{{path}}' }}\n"
            )
            .replace("listen = ['127.0.0.1:0']", "[[listen]]\naddress = '127.0.0.1:0'"),
            [
                "this redirect leads https requests back to themselves",
                "gateway.toml:7:19",
                "add scheme = \"http\"",
            ],
        ),
    ] {
        let report = warnings(&files, &text).await;
        assert!(report.contains(": 1 warning\n"), "{report}");
        for part in parts {
            assert!(report.contains(part), "{part:?} is not in:\n{report}");
        }
    }
}

#[tokio::test]
async fn used_items_get_no_warning() {
    let files = Files::new();
    let text = format!(
        "{BASE}[guests.a]\npath = 'guest.wat'\n[upstreams.b]\naddresses = ['http://127.0.0.1:1']\n\
         [[routes]]\nguests = ['a']\nupstream = 'b'\n"
    );
    assert_eq!(warnings(&files, &text).await, "");
}

#[tokio::test]
async fn there_are_no_unused_warnings_while_routes_are_invalid() {
    let files = Files::new();
    let text = format!("{BASE}[guests.a]\npath = 'guest.wat'\n[[routes]]\nguests = 'a'\nbackend = 'echo'\n");
    let report = check(&files, &text).await.expect_err("a list is expected").to_string();
    assert!(report.contains(": 1 error\n") && !report.contains("no route uses"), "{report}");
}

#[tokio::test]
async fn a_guest_that_cannot_be_loaded_is_reported_at_its_path_with_the_other_errors() {
    let files = Files::new();
    files.write("broken.wat", "(module)");
    let guests = "[guests.one]\npath = 'broken.wat'\n[guests.two]\npath = 'broken.wat'\nsha256 = '1'\n";
    let routes = "[[routes]]\nguests = ['one', 'two']\nupstream = 'x'\n";
    let error = check(&files, &format!("{BASE}{guests}{routes}")).await.expect_err("guests are broken");
    let StartError::Config(faults) = &error else { panic!("{error}") };
    assert!(!faults.are_in_guests());
    let report = error.to_string();
    assert!(report.contains(": 3 errors\n"), "{report}");
    for part in
        ["guest one is not valid", "gateway.toml:3:8", "64 hexadecimal digits", "unknown upstream \"x\""]
    {
        assert!(report.contains(part), "{part:?} is not in:\n{report}");
    }
    assert!(!report.contains("guest two"), "it isn't loaded, since its pin is wrong:\n{report}");
}

#[tokio::test]
async fn an_optional_guest_that_cannot_be_loaded_is_a_warning() {
    let files = Files::new();
    files.write("broken.wat", "(module)");
    let text = format!(
        "{BASE}[guests.one]\npath = 'broken.wat'\noptional = true\n[[routes]]\nguests = ['one']\nbackend = 'echo'\n"
    );
    let report = warnings(&files, &text).await;
    assert!(report.contains(": 1 warning\n") && report.contains("guest one is not valid"), "{report}");
    assert!(report.contains("get 503"), "{report}");
}

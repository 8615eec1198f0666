//! Configuration files: `serve --config`, and `config`.

use std::fs;
use std::io::Write as _;
use std::process::Output;

use serde_json::Value;
use tempfile::TempDir;

use crate::support::{ADDS_CONFIG, Server, Upstream, echoed, exchange, http_wasm, run, values};

/// A directory with a guest and a configuration.
fn directory(config: &str) -> TempDir {
    let directory = tempfile::tempdir().expect("a temporary directory");
    fs::write(directory.path().join("guest.wat"), ADDS_CONFIG).expect("the guest can be written");
    let mut file = fs::File::create(directory.path().join("gateway.toml")).expect("the file can be made");
    file.write_all(config.as_bytes()).expect("the configuration can be written");
    directory
}

fn file(directory: &TempDir) -> String {
    directory.path().join("gateway.toml").to_str().expect("a path of ours is text").to_owned()
}

fn serve(config: &str) -> (Server, TempDir) {
    let directory = directory(config);
    let server = Server::of(http_wasm().args(["serve", "--config", &file(&directory)]));
    (server, directory)
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("messages are text")
}

async fn get(server: &Server, host: &str, path: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    exchange(server.addr, request).await
}

#[tokio::test]
async fn the_first_matching_route_handles_the_request() {
    let (server, _directory) = serve(
        r#"
        listen = ["127.0.0.1:0"]
        [guests.a]
        path = "guest.wat"
        config = { place = "admin" }
        [[routes]]
        host = "*.Example.com"
        path_prefix = "/admin"
        guests = ["a"]
        backend = "echo"
        [[routes]]
        path = "/old"
        redirect = { to = "https://new.example.com/", keep_path = true }
        [[routes]]
        path_pattern = "/users/{id}"
        method = ["GET", "HEAD"]
        respond = { status = 404, body = "nobody", headers = { "x-a" = "b" } }
        [[routes]]
        headers = { "host" = "special" }
        backend = "hello"
        "#,
    );
    let admin = echoed(&get(&server, "www.example.com:80", "/admin/users").await);
    assert_eq!(values(&admin, "x-config"), [r#"{"place":"admin"}"#]);
    let old = get(&server, "h", "/old?a=b").await;
    assert!(old.starts_with("HTTP/1.1 308 "), "{old}");
    assert!(old.contains("\r\nlocation: https://new.example.com/old?a=b\r\n"), "{old}");
    let user = get(&server, "h", "/users/7").await;
    assert!(user.starts_with("HTTP/1.1 404 ") && user.ends_with("\r\n\r\nnobody"), "{user}");
    assert!(user.contains("\r\nx-a: b\r\n") && user.contains("\r\ncontent-type: text/plain"), "{user}");
    assert!(get(&server, "special", "/x").await.ends_with("\r\n\r\nhello world"));
    for (host, path) in [("h", "/admin"), ("h", "/users/7/posts"), ("h", "/")] {
        let answer = get(&server, host, path).await;
        assert!(
            answer.starts_with("HTTP/1.1 404 ") && answer.ends_with("not found\n"),
            "{host} {path}: {answer}"
        );
    }
}

#[tokio::test]
async fn http_is_redirected_to_https_by_one_route() {
    let fixtures = concat!(env!("CARGO_MANIFEST_DIR"), "/../http-wasm-gateway/tests/fixtures");
    let (mut server, _directory) = serve(&format!(
        r#"
        [[listen]]
        address = "127.0.0.1:0"
        [[listen]]
        address = "localhost:0"
        tls.certificates = [{{ certificate = "{fixtures}/localhost.pem", key = "{fixtures}/localhost.key.pem" }}]
        [[routes]]
        scheme = "http"
        redirect = {{ to = "https://{{host}}{{path}}{{query}}" }}
        [[routes]]
        listen = "127.0.0.1:0"
        respond = {{ body = "never" }}
        [[routes]]
        listen = "localhost:0"
        backend = "hello"
        "#
    ));
    let second = server.ready_line();
    assert!(second.starts_with("listening on https://"), "{second}");
    for (host, path, location) in [
        ("a.example:8080", "/x?q=1&r", "https://a.example/x?q=1&r"),
        ("A.example", "/", "https://a.example/"),
        ("[::1]:80", "//evil.example", "https://[::1]//evil.example"),
    ] {
        let answer = get(&server, host, path).await;
        assert!(answer.starts_with("HTTP/1.1 308 "), "{answer}");
        assert!(answer.contains(&format!("\r\nlocation: {location}\r\n")), "{answer}");
    }
}

#[tokio::test]
async fn routes_match_the_listener_that_received_the_request() {
    let (mut server, _directory) = serve(
        "listen = ['127.0.0.1:0', 'localhost:0']\n[[routes]]\nlisten = 'localhost:0'\nrespond = { body = 'second' }\n\
         [[routes]]\nlisten = ['127.0.0.1:0']\nrespond = { body = 'first' }\n",
    );
    let second = server.ready_line();
    let second = second.strip_prefix("listening on http://").expect("a second ready line").parse().unwrap();
    for (addr, body) in [(server.addr, "first"), (second, "second")] {
        let answer = exchange(addr, "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").await;
        assert!(answer.ends_with(body), "{answer}");
    }
}

#[tokio::test]
async fn no_spelling_of_a_path_bypasses_the_route_with_its_guests() {
    let (server, _directory) = serve(
        r#"
        listen = ["127.0.0.1:0"]
        [guests.a]
        path = "guest.wat"
        config = "guarded"
        [[routes]]
        path_prefix = "/admin"
        guests = ["a"]
        backend = "echo"
        [[routes]]
        backend = "echo"
        "#,
    );
    for path in ["/admin", "/%61dmin/x", "//admin", "/x/../admin", "/x/%2e%2e/admin", "/./admin?q"] {
        let echo = echoed(&get(&server, "h", path).await);
        assert_eq!(values(&echo, "x-config"), ["guarded"], "{path}");
        assert_eq!(echo["uri"], path, "what goes on is the path as it came");
    }
    let other = echoed(&get(&server, "h", "/admins").await);
    assert!(values(&other, "x-config").is_empty());
}

#[tokio::test]
async fn requests_go_to_the_addresses_of_an_upstream_in_turn() {
    let (one, two) = (Upstream::bind().await, Upstream::bind().await);
    let (server, _directory) = serve(&format!(
        r#"
        listen = ["127.0.0.1:0"]
        [upstreams.app]
        addresses = ["http://{}", "http://{}/base"]
        [[routes]]
        upstream = "app"
        "#,
        one.addr(),
        two.addr()
    ));
    for (upstream, target) in [(&one, "GET /x HTTP"), (&two, "GET /base/x HTTP"), (&one, "GET /x HTTP")] {
        let answer = async {
            let mut connection = upstream.accept().await;
            let head = connection.read_until("\r\n\r\n").await;
            assert!(head.starts_with(target), "{head}");
            connection.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok").await;
        };
        let (got, ()) = tokio::join!(get(&server, "h", "/x"), answer);
        assert!(got.ends_with("\r\n\r\nok"), "{got}");
    }
}

#[tokio::test]
async fn the_server_listens_on_each_address() {
    let (mut server, _directory) = serve(
        "listen = ['127.0.0.1:0', '127.0.0.1:0']\nserver.drain_timeout = '5s'\n[[routes]]\nbackend = 'hello'\n",
    );
    let second = server.ready_line();
    let second = second.strip_prefix("listening on http://").expect("a second ready line").parse().unwrap();
    assert_ne!(server.addr, second);
    for addr in [server.addr, second] {
        let answer = exchange(addr, "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").await;
        assert!(answer.ends_with("hello world"), "{answer}");
    }
}

#[tokio::test]
async fn routes_of_an_optional_guest_that_fails_to_load_answer_503_while_others_serve() {
    let (server, directory) = serve(
        r#"
        listen = ["127.0.0.1:0"]
        [guests.broken]
        path = "gateway.toml"
        optional = true
        [[routes]]
        path = "/broken"
        guests = ["broken"]
        backend = "hello"
        [[routes]]
        backend = "hello"
        "#,
    );
    let broken = get(&server, "h", "/broken").await;
    assert!(broken.starts_with("HTTP/1.1 503 ") && broken.contains("\r\nretry-after: 1\r\n"), "{broken}");
    assert!(get(&server, "h", "/").await.ends_with("hello world"));
    drop(directory);
}

#[test]
fn a_configuration_with_errors_exits_with_2_and_names_all_of_them() {
    let directory =
        directory("listen = ['127.0.0.1:0']\n[server]\nmax_request = 1\n[[routes]]\nupstream = 'x'\n");
    for command in [&["serve", "--config"][..], &["config", "check"]] {
        let output = run(&[command, &[&file(&directory)]].concat());
        let stderr = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{stderr}");
        assert!(output.stdout.is_empty());
        for part in ["2 errors", "did you mean `max_requests`?", ":3:1", "unknown upstream \"x\"", ":5:12"] {
            assert!(stderr.contains(part), "{part}: {stderr}");
        }
    }
}

#[test]
fn invalid_guests_exit_with_65_and_are_all_named() {
    let directory = directory(
        "listen = ['127.0.0.1:0']\n[guests.one]\npath = 'gateway.toml'\n[guests.two]\npath = 'gateway.toml'\n\
         [[routes]]\nbackend = 'echo'\n",
    );
    let output = run(&["config", "check", &file(&directory)]);
    let stderr = stderr(&output);
    assert_eq!(output.status.code(), Some(65), "{stderr}");
    assert!(stderr.contains("guest one ") && stderr.contains("guest two "), "{stderr}");
}

#[test]
fn a_broken_guest_is_reported_beside_errors_in_the_file_by_check_and_by_serve() {
    let directory = directory(
        "listen = ['127.0.0.1:0']\n[guests.one]\npath = 'gateway.toml'\n[[routes]]\nguests = ['one']\n\
         upstream = 'x'\n",
    );
    for command in [&["serve", "--config"][..], &["config", "check"]] {
        let output = run(&[command, &[&file(&directory)]].concat());
        let stderr = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{stderr}");
        for part in ["2 errors", "guest one ", "gateway.toml:3:8", "unknown upstream \"x\""] {
            assert!(stderr.contains(part), "{part}: {stderr}");
        }
    }
}

#[test]
fn a_warning_is_shown_and_an_error_only_with_strict() {
    let directory =
        directory("listen = ['127.0.0.1:0']\n[guests.a]\npath = 'guest.wat'\n[[routes]]\nbackend = 'echo'\n");
    let output = run(&["config", "check", &file(&directory)]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(stderr(&output).contains("warning: no route uses the guest \"a\""), "{}", stderr(&output));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.ends_with("valid (1 guest, 0 upstreams, 1 route, 1 warning)\n"), "{text}");

    let output = run(&["config", "check", "--strict", &file(&directory)]);
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    assert!(stderr(&output).contains("warning: no route uses the guest \"a\""), "{}", stderr(&output));
    assert!(output.stdout.is_empty());
}

#[cfg(unix)]
#[test]
fn a_file_that_others_can_write_is_an_error_only_with_strict() {
    use std::os::unix::fs::PermissionsExt as _;

    let directory = directory("listen = ['127.0.0.1:0']\n[[routes]]\nbackend = 'echo'\n");
    fs::set_permissions(file(&directory), fs::Permissions::from_mode(0o666)).unwrap();
    for (args, code) in [(&["config", "check"][..], 0), (&["config", "check", "--strict"], 2)] {
        let output = run(&[args, &[&file(&directory)]].concat());
        assert_eq!(output.status.code(), Some(code), "{}", stderr(&output));
        assert!(stderr(&output).contains("is writable by everyone"), "{}", stderr(&output));
    }
}

#[tokio::test]
async fn a_gateway_logs_the_warnings_about_its_configuration() {
    let directory =
        directory("listen = ['127.0.0.1:0']\n[guests.a]\npath = 'guest.wat'\n[[routes]]\nbackend = 'echo'\n");
    let log = tempfile::NamedTempFile::new().expect("a temporary file");
    let target = fs::File::create(log.path()).expect("the log can be written");
    let server = Server::logged(http_wasm().args(["serve", "--config", &file(&directory)]).stderr(target));
    assert!(get(&server, "h", "/").await.starts_with("HTTP/1.1 200 "));
    let text = fs::read_to_string(log.path()).expect("the log");
    assert!(text.contains("gateway.toml:2:9: no route uses the guest \"a\"; add it to"), "{text}");
}

#[test]
fn a_log_filter_that_cannot_be_parsed_is_an_error_in_the_file() {
    let directory =
        directory("listen = ['127.0.0.1:0']\n[log]\nfilter = 'a=b=c'\n[[routes]]\nbackend = 'echo'\n");
    let output = run(&["config", "check", &file(&directory)]);
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    for part in ["invalid log filter \"a=b=c\"", "gateway.toml:3:10", "info,http_wasm_gateway=debug"] {
        assert!(stderr(&output).contains(part), "{}", stderr(&output));
    }
}

#[test]
fn config_check_reports_a_valid_configuration_with_its_counts() {
    let directory = directory(
        "listen = ['127.0.0.1:0']\n[guests.a]\npath = 'guest.wat'\n[[routes]]\nguests = ['a']\nbackend = 'echo'\n",
    );
    let output = run(&["config", "check", &file(&directory)]);
    assert!(output.status.success(), "{}", stderr(&output));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.ends_with("gateway.toml: valid (1 guest, 0 upstreams, 1 route)\n"), "{text}");
}

#[tokio::test]
async fn a_configuration_can_be_checked_while_a_gateway_uses_its_addresses() {
    let text = |admin: &str| {
        format!(
            "listen = ['127.0.0.1:0']\n[admin]\naddress = '{admin}'\n[access_log]\nfile = 'access.log'\n\
             [[routes]]\nbackend = 'hello'\n"
        )
    };
    let (mut server, _running) = serve(&text("127.0.0.1:0"));
    let line = server.ready_line();
    let taken = line.strip_prefix("status and metrics at http://").expect("the address for operators");
    let directory = directory(&text(taken));
    let output = run(&["config", "check", &file(&directory)]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(!directory.path().join("access.log").exists(), "a check leaves nothing behind");
}

#[test]
fn a_configuration_file_excludes_the_other_flags() {
    let output = run(&["serve", "--config", "x.toml", "--upstream", "echo"]);
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    assert!(stderr(&output).contains("--config"), "{}", stderr(&output));
}

#[test]
fn the_schema_is_json() {
    let output = run(&["config", "schema"]);
    let schema: Value = serde_json::from_slice(&output.stdout).expect("JSON on stdout");
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    assert!(schema["properties"]["routes"].is_object());
}

#[cfg(unix)]
#[tokio::test]
async fn a_configuration_is_reloaded_when_its_file_changes_and_on_sighup() {
    let text = |config: &str, watch: bool| {
        format!(
            "listen = [\"127.0.0.1:0\"]\n[server]\nwatch_files = {watch}\n[guests.a]\npath = \"guest.wat\"\n\
             config = \"{config}\"\n[[routes]]\nguests = [\"a\"]\nbackend = \"echo\"\n"
        )
    };
    let (server, directory) = serve(&text("one", true));
    let comes = async |expected: &str| {
        crate::support::soon(async {
            while values(&echoed(&get(&server, "h", "/").await), "x-config") != [expected] {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        })
        .await;
    };
    comes("one").await;
    fs::write(file(&directory), "listen = 1").unwrap();
    fs::write(file(&directory), text("two", false)).unwrap();
    comes("two").await;
    fs::write(file(&directory), text("three", false)).unwrap();
    server.signal("HUP");
    comes("three").await;
}

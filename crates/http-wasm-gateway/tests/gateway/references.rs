//! References in strings: `${NAME}`, `${NAME:-default}`, `${file:PATH}`.

use http_wasm_gateway::Gateway;
use http_wasm_gateway::config::Config;

use crate::files::Files;

const BASE: &str = "listen = ['127.0.0.1:0']\n";
const SECRET: &str = "s3cr3t-Value";

/// A directory with the secret in the file `secret`, which only its owner can read.
fn files() -> Files {
    let files = Files::new();
    let path = files.write("secret", &format!("{SECRET}\n"));
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
    }
    files
}

fn load(files: &Files, text: &str) -> Config {
    files.load(text).unwrap_or_else(|faults| panic!("{faults}"))
}

/// A configuration with a secret in each free-form string.
const EVERYWHERE: &str = r#"
listen = [{ address = '127.0.0.1:0', client_fields = ["x-${file:secret}"] }]
[guests.a]
path = 'guest.wat'
config = { token = "${file:secret}" }
env = { TOKEN = "a ${file:secret}" }
args = ["--token=${file:secret}"]
[guests.b]
path = 'guest.wat'
config = "${file:secret}"
[upstreams.app]
addresses = ["http://localhost/${file:secret}"]
[telemetry]
otlp_endpoint = "http://localhost/${file:secret}"
service_name = "${file:secret}"
[[routes]]
path = "/${file:secret}"
guests = ["a", "b"]
upstream = "app"
[[routes]]
path_prefix = "/${file:secret}/a"
headers = { authorization = "Bearer ${file:secret}" }
redirect = { to = "https://new.example/${file:secret}" }
[[routes]]
host = "${file:secret}.example.com"
path_pattern = "/${file:secret}/{a}"
respond = { body = "${file:secret}", headers = { x-token = "${file:secret}" } }
"#;

#[test]
fn references_are_resolved_in_all_strings_and_hidden_in_debug_and_json_output() {
    let text = format!("{EVERYWHERE}[admin]\nhosts = [\"${{file:secret}}.internal\"]\n");
    let config = load(&files(), &text);
    let guest = &config.guests["a"];
    assert_eq!(guest.env["TOKEN"].value, format!("a {SECRET}"));
    assert_eq!(guest.args[0].value, format!("--token={SECRET}"));
    assert_eq!(guest.config.as_ref().unwrap().value.0, format!("{{\"token\":\"{SECRET}\"}}"));
    assert_eq!(config.routes[2].respond.as_ref().unwrap().body.value, SECRET);

    let shown = format!("{config:?} {config:#?} {}", serde_json::to_string(&config).unwrap());
    assert!(!shown.to_lowercase().contains(&SECRET.to_lowercase()), "{shown}");
    assert!(
        shown.contains("a ${file:secret}") && shown.contains("http://localhost/${file:secret}"),
        "{shown}"
    );
}

#[tokio::test]
async fn neither_the_gateways_output_nor_its_status_shows_resolved_references() {
    let files = files();
    let text = format!("{EVERYWHERE}[admin]\naddress = '127.0.0.1:0'\n");
    let gateway = Gateway::build(load(&files, &text)).await.expect("it can be built");
    assert!(!format!("{gateway:?}").contains(SECRET));
    let admin = gateway.admin_address().expect("an admin listener");
    let bound = gateway.bind().await.expect("it can listen");
    for path in ["/status", "/metrics"] {
        let answer = crate::support::get(admin, path).await;
        assert!(answer.contains("localhost/${file:secret}"), "{path}: {answer}");
        assert!(!answer.contains(SECRET), "{path}: {answer}");
    }
    drop(bound);
}

#[test]
fn errors_in_a_resolved_value_do_not_contain_the_value() {
    let files = files();
    for text in [
        "listen = ['${file:secret}']\nroutes = []\n",
        "+[server]\ndrain_timeout = '${file:secret}'\n",
        "+[server]\nguest_memory_budget = '${file:secret}'\n",
        "+[server]\nmax_requests = '${file:secret}'\n",
        "+[log]\nformat = '${file:secret}'\n",
        "+[log]\nfilter = 'a=${file:secret}=b'\n",
        "+[telemetry]\notlp_endpoint = '${file:secret}'\n",
        "+[access_log]\nfile = '${file:secret}/log'\n",
        "+[guests.a]\npath = '${file:secret}'\n",
        "+[guests.a]\npath = 'guest.wat'\nsha256 = '${file:secret}'\n",
        "+[guests.a]\npath = 'guest.wat'\nmounts = ['${file:secret}']\n",
        "+[guests.a]\npath = 'guest.wat'\nconfig_file = '${file:secret}'\n",
        "+[guests.a]\npath = 'guest.wat'\nsnapshot = '${file:secret}'\n",
        "+[upstreams.a]\naddresses = ['${file:secret}']\n",
        "+[upstreams.a]\naddresses = ['http://h']\nhealth.active.path = '${file:secret}'\n",
        "+[upstreams.a]\naddresses = ['https://h']\ntls = { server_name = '${file:secret} x' }\n",
        "+[[routes]]\npath = '/a/../${file:secret}'\nbackend = 'echo'\n",
        "+[[routes]]\npath = '/%61${file:secret}'\nbackend = 'echo'\n",
        "+[[routes]]\nmethod = '${file:secret}'\nbackend = 'echo'\n",
        "+[[routes]]\nhost = '${file:secret}:80'\nbackend = 'echo'\n",
        "+[[routes]]\nguests = ['${file:secret}']\nbackend = 'echo'\n",
        "+[[routes]]\nupstream = '${file:secret}'\n",
        "+[[routes]]\nlisten = '${file:secret}:1'\nbackend = 'echo'\n",
        "+[[routes]]\nname = '${file:secret}'\nbackend = 'echo'\n",
        "+[[routes]]\nredirect = { to = '${file:secret}' }\n",
        "+[[routes]]\nrespond = { headers = { x = \"${file:secret}\\n\" } }\n",
        "+[[routes]]\npath_prefix = '/%2F${file:secret}'\nbackend = 'echo'\n",
    ] {
        let text = match text.strip_prefix('+') {
            Some(rest) if rest.contains("[[routes]]") => format!("{BASE}{rest}"),
            Some(rest) => format!("{BASE}{rest}[[routes]]\nbackend = 'echo'\n"),
            None => text.to_owned(),
        };
        let message = files.fault(&text).to_lowercase();
        assert!(!message.contains(&SECRET.to_lowercase()), "{message}");
        assert!(message.contains("${file:secret}"), "the line is shown as it is written: {message}");
    }
}

#[test]
fn an_unresolvable_reference_is_one_error_at_the_reference() {
    let files = files();
    for (value, at, parts) in [
        ("x${HTTP_WASM_NO_SUCH}", 12, ["HTTP_WASM_NO_SUCH isn't set", "${HTTP_WASM_NO_SUCH:-default}"]),
        ("${file:none}", 11, ["cannot read the file none: no such file", "directory of the configuration"]),
        ("${A B}", 11, ["invalid reference `${A B}`", "expected ${NAME}, ${NAME:-default} or ${file:PATH}"]),
        ("ab${A", 13, ["the closing `}` of this reference is missing", "a literal `${` is written `$${`"]),
    ] {
        let message = files.fault(&format!("listen = ['{value}']\nroutes = []\n"));
        for part in parts.iter().chain(&[": 1 error\n", &*format!("gateway.toml:1:{}", at + 1)]) {
            assert!(message.contains(part), "{part:?} is not in:\n{message}");
        }
    }
}

#[cfg(unix)]
#[tokio::test]
async fn a_world_readable_secret_gets_a_warning() {
    use std::os::unix::fs::PermissionsExt as _;

    let files = files();
    let secret = files.path("secret");
    std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o644)).unwrap();
    let text = format!("{BASE}[[routes]]\nrespond = {{ body = '${{file:secret}}' }}\n");
    let (_, warnings) = Gateway::check(&files.write("gateway.toml", &text)).await.expect("it is valid");
    let report = warnings.to_string();
    assert!(
        report.contains("is readable by everyone (mode 0644)") && report.contains("chmod 600"),
        "{report}"
    );
}

#[tokio::test]
async fn a_reload_sees_a_changed_secret_in_guests_upstreams_and_responses() {
    let files = files();
    let text = format!(
        "{BASE}[guests.a]\npath = 'config.wat'\nconfig = '${{file:secret}}'\n[[routes]]\nguests = ['a']\n\
         respond = {{ body = '${{file:secret}}' }}\n"
    );
    files.write("config.wat", CONFIG_IN_FIELD);
    let gateway = Gateway::build(load(&files, &text)).await.expect("it can be built");
    let bound = gateway.with_file(files.config_file()).bind().await.expect("it can listen");
    let address = bound.addresses().unwrap()[0].addr;
    let answer = crate::support::get(address, "/").await;
    assert!(answer.contains(&format!("x-config: {SECRET}\r\n")) && answer.ends_with(SECRET), "{answer}");

    files.write("secret", "other");
    let summary = bound.reloader().reload().await.expect("it can be reloaded");
    assert_eq!((summary.guests, summary.guests_kept), (1, 0));
    let answer = crate::support::get(address, "/").await;
    assert!(answer.contains("x-config: other\r\n") && answer.ends_with("other"), "{answer}");
}

/// A guest that sets `x-config` of the response to its configuration.
const CONFIG_IN_FIELD: &str = r#"(module
  (import "http_handler" "get_config" (func $get_config (param i32 i32) (result i32)))
  (import "http_handler" "set_header_value" (func $set (param i32 i32 i32 i32 i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "x-config")
  (func (export "handle_request") (result i64)
    (call $set (i32.const 1) (i32.const 0) (i32.const 8)
      (i32.const 64) (call $get_config (i32.const 64) (i32.const 1000)))
    i64.const 1)
  (func (export "handle_response") (param i32 i32)))"#;

//! Valid configurations.

use std::time::Duration;

use http_wasm_gateway::config::{Backtraces, Config, OnFailure, Size, Snapshot, schema};
use serde_json::Value;

use crate::files::Files;

const FULL: &str = r#"
listen = [
  "127.0.0.1:0",
  { address = "[::1]:8443", http = "2", tls = { certificates = [{ certificate = "cert.pem", key = "key.pem" }] } },
]

[server]
drain_timeout = "0s"
max_requests = 100
guest_memory_budget = "2GiB"
body_memory_budget = "1GiB"

[admin]
address = "127.0.0.1:9000"

[log]
format = "json"
filter = "info"

[request_id]
trust = true
respond = true

[access_log]
format = "combined"

[telemetry]
otlp_endpoint = "http://127.0.0.1:4318"
sample_ratio = 0.5

[guests.auth]
path = "guest.wat"
config = { realm = "x", users = ["a", "b"], limits = { n = 1, f = 1.5, on = true } }
args = ["auth"]
env = { A = "1" }
mounts = [".:/data:ro"]
limits = { deadline = "500ms", memory_bytes = "64MiB", header_count = 10, replay_bytes = 1000 }
pool = { min_warm = 1, max_idle = 8, idle_ttl = "1m 30s" }
on_failure = "open"
backtraces = "functions"
snapshot = "shared-seed"
optional = true

[upstreams.app]
addresses = ["http://127.0.0.1:1", "http://127.0.0.1:2/base"]
balance = "least_requests"
http = "1"
retries = 0

[upstreams.app.health.active]
path = "/healthz"

[upstreams.secure]
addresses = ["https://localhost:1"]
tls = { ca = "cert.pem", server_name = "localhost", identity = { certificate = "cert.pem", key = "key.pem" } }

[[routes]]
name = "admin"
host = ["example.com", "*.example.com"]
path_prefix = "/admin"
method = "GET"
headers = { "x-canary" = "1", "x-none" = false }
guests = ["auth", "auth"]
upstream = "app"
timeout = "10s"
max_request_body = "1MiB"
concurrency = { max = 10, queue = 5, queue_timeout = "1s" }

[[routes]]
path = "/old"
redirect = { to = "https://example.com/new", status = 301 }

[[routes]]
path_pattern = "/users/{id}"
respond = { status = 404, body = "no", headers = { "cache-control" = "no-store" } }

[[routes]]
path_prefix = "/s"
upstream = "secure"

[[routes]]
backend = "echo"
"#;

#[test]
fn a_configuration_with_every_section_is_parsed() {
    let config = Files::new().load(FULL).unwrap_or_else(|faults| panic!("{faults}"));
    assert_eq!(config.listen[0].address.as_str(), "127.0.0.1:0");
    assert_eq!(config.server.drain_timeout.0, Duration::ZERO);
    assert_eq!(config.server.guest_memory_budget, Some(Size(2 << 30)));
    assert_eq!(config.server.body_memory_budget, Some(Size(1 << 30)));
    let guest = &config.guests["auth"];
    let handed_over: Value =
        serde_json::from_str(&guest.config.as_ref().expect("a configuration").0).unwrap();
    let expected =
        serde_json::json!({ "realm": "x", "users": ["a", "b"], "limits": { "n": 1, "f": 1.5, "on": true } });
    assert_eq!(handed_over, expected);
    assert_eq!(guest.limits.deadline.0, Duration::from_millis(500));
    assert_eq!(guest.limits.memory_bytes, Size(64 << 20));
    assert_eq!(guest.pool.idle_ttl.map(|time| time.0), Some(Duration::from_secs(90)));
    assert_eq!((guest.on_failure, guest.snapshot), (OnFailure::Open, Snapshot::SharedSeed));
    assert_eq!(guest.backtraces, Backtraces::Functions);
    let route = &config.routes[0];
    assert_eq!(route.host.len(), 2);
    assert_eq!(route.guests.iter().map(|name| name.value.as_str()).collect::<Vec<_>>(), ["auth", "auth"]);
    assert_eq!(route.concurrency.as_ref().map(|c| (c.max.get(), c.queue)), Some((10, 5)));
}

#[test]
fn omitted_settings_have_their_defaults() {
    let text = "listen = ['127.0.0.1:0']\n[guests.a]\npath = 'guest.wat'\n[[routes]]\nbackend = 'hello'\n";
    let config = Files::new().load(text).unwrap_or_else(|faults| panic!("{faults}"));
    assert_eq!(config.server.max_requests.get(), 4096);
    assert_eq!(config.guests["a"].limits, Default::default());
    assert!(config.admin.is_none() && config.access_log.is_none() && config.telemetry.is_none());
}

#[test]
fn the_schema_explains_every_setting_and_gives_its_default() {
    let schema = serde_json::to_value(schema()).unwrap();
    let settings = |name: &str| schema["$defs"][name]["properties"].as_object().expect("a table").clone();
    let top = schema["properties"].as_object().expect("a table");
    assert_eq!(schema["additionalProperties"], false);
    let mut all = top.len();
    for table in ["Guest", "GuestLimits", "Listen", "Route", "Server", "Upstream"] {
        for (setting, explained) in settings(table) {
            assert!(explained["description"].is_string(), "{table}.{setting}");
            all += 1;
        }
    }
    assert!(all > 60, "{all}");
    assert_eq!(settings("GuestLimits")["memory_bytes"]["default"], "256MiB");
    assert_eq!(settings("Server")["drain_timeout"]["default"], "30s");
    assert_eq!(schema["$defs"]["Guest"]["required"], serde_json::json!(["path"]));
    assert!(!schema.to_string().contains("null"), "TOML has no null");
}

#[test]
fn relative_paths_are_relative_to_the_file() {
    let files = Files::new();
    let config = files.load(FULL).unwrap_or_else(|faults| panic!("{faults}"));
    let http_wasm_gateway::config::GuestSource::File(path) = &config.guests["auth"].path.value else {
        panic!("a file");
    };
    assert!(path.is_absolute() && path.ends_with("guest.wat"), "{}", path.display());
    let Config { listen, .. } = config;
    let tls = listen[1].tls.as_ref().expect("TLS");
    assert!(tls.certificates[0].key.is_absolute());
}

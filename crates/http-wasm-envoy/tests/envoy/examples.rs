//! The configurations in deploy/envoy.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{program, search_path};

const DEPLOY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/envoy");
const GUEST: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../guests/rewrite-headers/rewrite-headers.wat");

/// Validates a configuration with Envoy.
fn validate(program: &Path, config: &str) -> Result<(), String> {
    let files = tempfile::tempdir().unwrap();
    let path = files.path().join("envoy.yaml");
    std::fs::write(&path, config).unwrap();
    let output = Command::new(program)
        .env("ENVOY_DYNAMIC_MODULES_SEARCH_PATH", search_path(files.path()))
        .env("HTTP_WASM_ALLOWED_PATHS", PathBuf::from(GUEST).parent().unwrap())
        .args(["--mode", "validate", "--log-level", "warning", "-c"])
        .arg(&path)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() { Ok(()) } else { Err(said) }
}

fn example(name: &str) -> String {
    std::fs::read_to_string(Path::new(DEPLOY).join(name)).unwrap()
}

/// The filters in a manifest: the lines below each `value` that begins with a name.
fn filters(manifest: &str) -> Vec<Vec<&str>> {
    let lines: Vec<&str> = manifest.lines().collect();
    let depth = |line: &str| line.len() - line.trim_start().len();
    let starts = (1..lines.len())
        .filter(|&at| lines[at - 1].trim() == "value:" && lines[at].trim_start().starts_with("name: "));
    starts
        .map(|at| {
            let outer = depth(lines[at]);
            lines[at..].iter().take_while(|line| depth(line) >= outer).map(|line| &line[outer..]).collect()
        })
        .collect()
}

#[test]
fn the_examples_are_valid_configurations() {
    let Some(program) = program() else { return };
    let module = example("envoy.yaml").replace("/etc/http-wasm/guest.wasm", GUEST);
    for config in [module, example("ext-proc.yaml")] {
        validate(&program, &config).unwrap_or_else(|reason| panic!("{reason}\n{config}"));
    }
}

#[test]
fn the_filters_in_the_manifests_are_valid_configurations() {
    let Some(program) = program() else { return };
    let around = example("ext-proc.yaml");
    let (before, rest) = around.split_once("          - name: http-wasm\n").unwrap();
    let (_, after) = rest.split_once("          - name: envoy.filters.http.router\n").unwrap();
    for (name, number) in [("envoy-gateway.yaml", 1), ("istio.yaml", 2)] {
        let manifest = example(name);
        let filters = filters(&manifest);
        assert_eq!(filters.len(), number, "{name}");
        for filter in filters {
            let filter = filter.join("\n            ");
            let config =
                format!("{before}          - {filter}\n          - name: envoy.filters.http.router\n{after}");
            // Control planes create this cluster from the service.
            let config = config.replace("outbound|9002||http-wasm.default.svc.cluster.local", "http-wasm");
            let config = config.replace("/opt/http-wasm/rewrite-headers.wat", GUEST);
            validate(&program, &config).unwrap_or_else(|reason| panic!("{name}: {reason}\n{config}"));
        }
    }
}

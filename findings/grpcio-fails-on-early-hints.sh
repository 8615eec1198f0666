#!/usr/bin/env bash
# Expected: A gRPC client is an HTTP/2 client, and therefore skips interim responses (RFC 9113 section 8.1).
# Actual:   grpcio (gRPC's C-core, tested from Python) treats header fields with :status 103 as the response, and the
#           call fails with UNKNOWN "Received http2 header with status: 103", although the server's response is valid.
#           grpc-js skips them.
# Impact:   A proxy must forward interim responses. An HTTP/2 gateway that does so for browsers, or a guest that sends
#           hints on all routes, breaks gRPC clients on those routes. Don't send 1xx for requests whose content-type is
#           application/grpc.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"; export PATH="$work/venv/bin:$PATH"
pip install -q --disable-pip-version-check --no-compile grpcio==1.85.3 hpack==4.2.0
cd "$work"
npm install --silent --no-audit --no-fund --save-exact @grpc/grpc-js@1.14.7
cat > server.py <<'PY'
"""Answers every call soundly; before that come as many 103 as the path's last digit says."""
import socket, threading, hpack

def frame(kind, flags, stream, payload=b""):
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload

def serve(connection):
    decoder, encoder, data, paths = hpack.Decoder(), hpack.Encoder(), b"", {}
    preface = 24
    connection.sendall(frame(4, 0, 0))
    while piece := connection.recv(65536):
        data += piece
        skip, preface = min(preface, len(data)), preface - min(preface, len(data))
        data = data[skip:]
        while len(data) >= 9 and len(data) >= 9 + (length := int.from_bytes(data[:3], "big")):
            kind, flags, stream, payload = data[3], data[4], int.from_bytes(data[5:9], "big"), data[9 : 9 + length]
            data = data[9 + length :]
            if kind in (4, 6) and not flags & 1:  # SETTINGS, PING
                connection.sendall(frame(kind, 1, 0, b"" if kind == 4 else payload))
            if kind == 1:
                paths[stream] = dict(decoder.decode(payload[5:] if flags & 0x20 else payload))[":path"]
            if kind in (0, 1) and flags & 1:
                fields = lambda flag, *list: frame(1, 4 | flag, stream, encoder.encode(list))
                hints = [fields(0, (":status", "103"), ("link", "</style.css>")) for _ in range(int(paths[stream][-1]))]
                head = fields(0, (":status", "200"), ("content-type", "application/grpc"))
                connection.sendall(b"".join(hints) + head + frame(0, 0, stream, b"\0\0\0\0\5hello") + fields(1, ("grpc-status", "0")))

def accept(listener):
    while True:
        threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()

listener = socket.create_server(("127.0.0.1", 0))
port = listener.getsockname()[1]
threading.Thread(target=accept, args=(listener,), daemon=True).start()
PY
cat > client.js <<'JS'
const grpc = require('@grpc/grpc-js'), same = x => x
const client = new grpc.Client(`127.0.0.1:${process.argv[2]}`, grpc.credentials.createInsecure())
client.makeUnaryRequest(process.argv[3], same, same, Buffer.alloc(0), new grpc.Metadata(), { deadline: Date.now() + 30000 }, (error, value) => {
  console.log(error ? `${grpc.status[error.code]}: ${error.details}` : `OK: ${value}`)
  process.exit()
})
JS
cat > try.py <<'PY'
import subprocess, sys
import grpc
from server import port

def with_grpcio(path):
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        try:
            return "OK: " + channel.unary_unary(path)(b"", timeout=30).decode()
        except grpc.RpcError as error:
            return f"{error.code().name}: {error.details()}"

def with_grpc_js(path):
    return subprocess.run(["node", "client.js", str(port), path], capture_output=True, text=True, timeout=60).stdout.strip()

seen = {(name, n): call(f"/service/hints{n}") for name, call in (("grpcio", with_grpcio), ("grpc-js", with_grpc_js)) for n in (0, 1)}
for (name, n), answer in seen.items():
    print(f"seen:      {name:8} {'a 103 first' if n else 'no 103':12} {answer}")
sys.exit(seen != {("grpcio", 0): "OK: hello", ("grpcio", 1): "UNKNOWN: Received http2 header with status: 103",
                  ("grpc-js", 0): "OK: hello", ("grpc-js", 1): "OK: hello"})
PY
echo "tool:      grpcio 1.85.3, grpc-js 1.14.7 on Node $(node --version)"
echo "expected:  both skip a 103 before the answer"
echo "actual:    grpcio takes it for the answer"
timeout 100 python try.py && echo "stands" || { echo "changed"; exit 1; }

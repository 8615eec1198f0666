#!/usr/bin/env bash
# Expected: Two fields with the same name may be joined with a comma (RFC 9110 section 5.3). gRPC's protocol
#           (PROTOCOL-HTTP2) allows this for binary metadata too: values of names that end in "-bin" are split at commas
#           before they are decoded.
# Actual:   grpcio doesn't split them. A request with two joined x-bin fields is refused with INTERNAL "illegal base64
#           encoding" before it reaches a handler, while two separate fields arrive as two values. grpc-js splits them,
#           as the protocol says.
# Impact:   Proxies routinely join fields, and so does a guest that reads all values and sets one. For gRPC requests and
#           responses, keep "-bin" fields separate, one line per value.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"; export PATH="$work/venv/bin:$PATH"
pip install -q --disable-pip-version-check --no-compile grpcio==1.85.3 hpack==4.2.0
cd "$work"
npm install --silent --no-audit --no-fund --save-exact @grpc/grpc-js@1.14.7
cat > server.js <<'JS'
const grpc = require('@grpc/grpc-js'), same = x => x, server = new grpc.Server()
const method = { path: '/service/method', requestStream: false, responseStream: false, requestSerialize: same, requestDeserialize: same, responseSerialize: same, responseDeserialize: same }
server.addService({ method }, { method: (call, done) => done(null, Buffer.from(call.metadata.get('x-bin').map(String).join(' '))) })
server.bindAsync('127.0.0.1:0', grpc.ServerCredentials.createInsecure(), (error, port) => console.log(port))
setTimeout(() => process.exit(), 90000)
JS
cat > try.py <<'PY'
import socket, subprocess, sys
from concurrent import futures
import grpc, hpack

class Handler(grpc.GenericRpcHandler):
    def service(self, details):
        values = [value for name, value in details.invocation_metadata if name == "x-bin"]
        return grpc.unary_unary_rpc_method_handler(lambda request, context: b" ".join(values))

def frame(kind, flags, stream, payload=b""):
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload

def call(port, values):
    """The values that the server saw, or its error."""
    fields = [(":method", "POST"), (":scheme", "http"), (":path", "/service/method"), (":authority", "localhost"),
              ("content-type", "application/grpc"), ("te", "trailers"), *(("x-bin", value) for value in values)]
    decoder, data, body, answer = hpack.Decoder(), b"", b"", {}
    with socket.create_connection(("127.0.0.1", port), timeout=30) as s:
        s.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0) + frame(1, 4, 1, hpack.Encoder().encode(fields)) + frame(0, 1, 1, bytes(5)))
        while "grpc-status" not in answer:
            data += s.recv(65536)
            while len(data) >= 9 and len(data) >= 9 + (length := int.from_bytes(data[:3], "big")):
                kind, flags, payload, data = data[3], data[4], data[9 : 9 + length], data[9 + length :]
                if kind == 4 and not flags & 1:
                    s.sendall(frame(4, 1, 0))
                if kind == 0:
                    body += payload
                if kind == 1:
                    answer |= dict(decoder.decode(payload[5:] if flags & 0x20 else payload))
    return body[5:].decode() if answer["grpc-status"] == "0" else f"grpc-status {answer['grpc-status']}: {answer['grpc-message']}"

server = grpc.server(futures.ThreadPoolExecutor(2))
server.add_generic_rpc_handlers((Handler(),))
ports = {"grpcio": server.add_insecure_port("127.0.0.1:0")}
server.start()
node = subprocess.Popen(["node", "server.js"], stdout=subprocess.PIPE, text=True)
ports["grpc-js"] = int(node.stdout.readline())
seen = {}
for name, port in ports.items():
    for values in (["b25l", "dHdv"], ["b25l,dHdv"]):
        seen[name, len(values)] = call(port, values)
        print(f"seen:      {name:8} x-bin: {' and x-bin: '.join(values):22} {seen[name, len(values)]}")
node.kill()
server.stop(0)
joined = seen.pop(("grpcio", 1))
sys.exit(not (joined.startswith("grpc-status 13:") and "base64" in joined and set(seen.values()) == {"one two"}))
PY
echo "tool:      grpcio 1.85.3, grpc-js 1.14.7 on Node $(node --version)"
echo "expected:  joined and separate binary metadata mean the same"
echo "actual:    grpcio refuses the call if they are joined"
timeout 100 python try.py 2>/dev/null && echo "stands" || { echo "changed"; exit 1; }

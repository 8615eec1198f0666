#!/usr/bin/env bash
# Expected: Every HTTP client skips interim responses: RFC 9110 says that a client must be able to parse one or more 1xx
#           responses before the final one.
# Actual:   Python's http.client only skips 100. A 103 (Early Hints) or 102 (Processing) is returned as the final
#           response, with an empty body, so requests and urllib3 report status 103. httpx and aiohttp, which don't use
#           http.client, skip them.
# Impact:   A gateway that forwards an upstream's 103 to HTTP/1.1 clients, as a proxy must, or a guest that sets status
#           103 to send hints, breaks every Python client that is built on the standard library. RFC 8297 allows servers
#           not to send 103 in HTTP/1.1.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"; export PATH="$work/venv/bin:$PATH"
pip install -q --disable-pip-version-check --no-compile requests==2.34.2 urllib3==2.8.0 httpx==0.28.1 aiohttp==3.14.5
cat > "$work/try.py" <<'PY'
import asyncio, http.client, socket, sys, threading
import aiohttp, httpx, requests

INTERIM = {"100": b"100 Continue", "102": b"102 Processing", "103": b"103 Early Hints"}
FINAL = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello"

def serve(listener):
    while True:
        connection, _ = listener.accept()
        with connection:
            request = b""
            while b"\r\n\r\n" not in request:
                request += connection.recv(65536)
            kind = request.split(b" ")[1][1:].decode()
            connection.sendall(b"HTTP/1.1 " + INTERIM[kind] + b"\r\nLink: </style.css>; rel=preload\r\n\r\n" + FINAL)

listener = socket.create_server(("127.0.0.1", 0))
port = listener.getsockname()[1]
threading.Thread(target=serve, args=(listener,), daemon=True).start()

def with_http_client(path):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", path)
    response = connection.getresponse()
    return response.status, response.read()

def with_requests(path):
    response = requests.get(f"http://127.0.0.1:{port}{path}", timeout=30)
    return response.status_code, response.content

def with_httpx(path):
    response = httpx.get(f"http://127.0.0.1:{port}{path}", timeout=30)
    return response.status_code, response.content

def with_aiohttp(path):
    async def get():
        async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}{path}") as response:
            return response.status, await response.read()
    return asyncio.run(get())

clients = {"http.client": with_http_client, "requests": with_requests, "httpx": with_httpx, "aiohttp": with_aiohttp}
seen = {(name, kind): get("/" + kind) for name, get in clients.items() for kind in INTERIM}
for name in clients:
    print(f"seen:      {name:12}", *(f"{kind}, then 200: {seen[name, kind]}" for kind in INTERIM), sep="  ")
right = (200, b"hello")
wrong = {key for key, answer in seen.items() if answer != right}
sys.exit(wrong != {(name, kind) for name in ("http.client", "requests") for kind in ("102", "103")})
PY
echo "tool:      $(python --version), requests 2.34.2 with urllib3 2.8.0, httpx 0.28.1, aiohttp 3.14.5"
echo "expected:  all skip interim responses"
echo "actual:    http.client skips 100 only"
python "$work/try.py" && echo "stands" || { echo "changed"; exit 1; }

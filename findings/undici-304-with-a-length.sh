#!/usr/bin/env bash
# Expected: Content-Length on a 304 is the length that a 200 would have had (RFC 9110 section 8.6 allows it), and
#           clients handle this as they do for HEAD.
# Actual:   undici's request() resolves with the 304, but reading its body fails with
#           ResponseContentLengthMismatchError, because no bytes arrive. HEAD is handled correctly, and fetch() of the
#           same package reads the 304 as empty.
# Impact:   Frameworks keep or drop the length of a 304. A gateway that forwards it is right, but breaks revalidation
#           for these clients. Dropping Content-Length from an HTTP/1.1 304 costs nothing.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
cd "$work"
npm install --silent --no-audit --no-fund --save-exact undici@7.30.2
cat > try.js <<'JS'
const net = require('node:net'), { request, fetch: fetchOf } = require('undici')
const server = net.createServer(socket => {
  socket.on('error', () => {})
  socket.on('data', head => {
    const [method, path] = String(head).split(' ')
    const length = path === '/bare' ? '' : 'Content-Length: 1234\r\n'
    const status = method === 'HEAD' ? '200 OK' : '304 Not Modified'
    socket.write(`HTTP/1.1 ${status}\r\nETag: "a"\r\n${length}\r\n`)
  })
})
server.listen(0, '127.0.0.1', async () => {
  const base = `http://127.0.0.1:${server.address().port}/`, headers = { 'if-none-match': '"a"' }
  const by = async (method, path) => { const r = await request(base + path, { method, headers }); return `${r.statusCode}, ${(await r.body.text()).length} bytes` }
  const cases = {
    '304 with length, request()': [() => by('GET', 'length'), 'fails: ResponseContentLengthMismatchError'],
    '304 without, request()': [() => by('GET', 'bare'), '304, 0 bytes'],
    'HEAD with length, request()': [() => by('HEAD', 'length'), '200, 0 bytes'],
    '304 with length, fetch()': [async () => { const r = await fetchOf(base + 'length', { headers }); return `${r.status}, ${(await r.text()).length} bytes` }, '304, 0 bytes'],
  }
  let stands = true
  for (const [name, [get, expected]] of Object.entries(cases)) {
    const answer = await get().catch(error => `fails: ${error.name}`)
    console.log(`seen:      ${name.padEnd(28)} ${answer}`)
    stands &&= answer === expected
  }
  process.exit(stands ? 0 : 1)
})
JS
echo "tool:      undici 7.30.2 on Node $(node --version)"
echo "expected:  a 304 has no body, whatever its Content-Length"
echo "actual:    request() waits for one and reports a mismatch"
timeout 60 node try.js && echo "stands" || { echo "changed"; exit 1; }

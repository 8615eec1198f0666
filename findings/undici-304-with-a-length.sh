#!/usr/bin/env bash
# Guess:   Content-Length on a 304 tells how long the 200 would have been (RFC 9110 section 8.6 allows it), and clients that know that
#          of HEAD know it of 304.
# Reality: undici's request() resolves with the 304, then its body fails with ResponseContentLengthMismatchError, because no bytes
#          came. HEAD is understood, and fetch() of the same package reads the 304 as empty.
# Matters: frameworks keep the length on a 304 or drop it; a gateway that forwards what the upstream said is right, yet breaks
#          revalidation for these clients. Dropping Content-Length from an HTTP/1.1 304 costs nothing.
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
echo "guess:     a 304 has no body, whatever its Content-Length"
echo "behaviour: request() waits for one and reports a mismatch"
timeout 60 node try.js && echo "stands" || { echo "changed"; exit 1; }

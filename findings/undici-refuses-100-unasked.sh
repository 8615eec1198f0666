#!/usr/bin/env bash
# Expected: A client that handles 102 and 103 handles 100 (Continue) as well. RFC 9110 section 15.2.1: a client that
#           didn't send an Expect field may simply discard a 100.
# Actual:   undici, and Node's fetch, which is built on it, fail the request with "bad response" on an unsolicited 100
#           over HTTP/1.1. 102 and 103 are skipped. Node's own http module skips all three.
# Impact:   Some upstreams send 100 for every POST. A gateway that forwards all interim responses, or a guest that sets
#           status 100, turns these requests into "fetch failed" for clients that never sent Expect. Forward 100 only to
#           clients that sent Expect.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
cd "$work"
npm install --silent --no-audit --no-fund --save-exact undici@7.30.2
cat > try.js <<'JS'
const net = require('node:net'), http = require('node:http'), { request, fetch: fetchOf } = require('undici')
const interim = { 100: 'Continue', 102: 'Processing', 103: 'Early Hints' }
const server = net.createServer(socket => {
  socket.on('error', () => {})
  socket.once('data', head => {
    const kind = String(head).split(' ')[1].slice(1)
    socket.end(`HTTP/1.1 ${kind} ${interim[kind]}\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello`)
  })
})
server.listen(0, '127.0.0.1', async () => {
  const base = `http://127.0.0.1:${server.address().port}/`
  const clients = {
    'undici request': async kind => { const r = await request(base + kind); return `${r.statusCode} ${await r.body.text()}` },
    'undici fetch': async kind => { const r = await fetchOf(base + kind); return `${r.status} ${await r.text()}` },
    "Node's http": kind => new Promise((done, fail) => http.get(base + kind, { agent: false }, r => {
      let text = ''
      r.on('data', d => { text += d }).on('end', () => done(`${r.statusCode} ${text}`))
    }).on('error', fail)),
  }
  let stands = true
  for (const [name, get] of Object.entries(clients)) {
    for (const kind of Object.keys(interim)) {
      const answer = await get(kind).catch(error => `fails: ${error.cause?.message ?? error.message}`)
      console.log(`seen:      ${name.padEnd(15)} ${kind}, then 200: ${answer}`)
      stands &&= answer === (kind === '100' && name.startsWith('undici') ? 'fails: bad response' : '200 hello')
    }
  }
  process.exit(stands ? 0 : 1)
})
JS
echo "tool:      undici 7.30.2 on Node $(node --version)"
echo "expected:  an interim 100 is skipped like 102 and 103"
echo "actual:    it fails the request"
timeout 60 node try.js && echo "stands" || { echo "changed"; exit 1; }

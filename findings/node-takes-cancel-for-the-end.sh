#!/usr/bin/env bash
# Expected: A response that an HTTP/2 server resets before its end is an error, whatever the error code of RST_STREAM is,
#           and so is one whose connection is closed.
# Actual:   With CANCEL and with NO_ERROR, Node's http2 client emits `end` but neither `error` nor `aborted`, even if the
#           body is shorter than its Content-Length. undici's request() and fetch() over HTTP/2 resolve with the part of
#           the body that has arrived, unless there is a Content-Length. The http2 client also emits `end` if the
#           connection is closed. With INTERNAL_ERROR, all of them fail.
# Impact:   CANCEL is what many servers send when they drop a response, among them those that use the h2 crate and drop
#           the handle. A proxy that forwards this code, or cancels a response itself at a timeout, passes truncated
#           bodies to these clients as complete ones. To abort a response, reset with INTERNAL_ERROR, also before closing
#           the connection.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
cd "$work"
npm install --silent --no-audit --no-fund --save-exact node@26.10.0 undici@8.13.1
cat > try.mjs <<'JS'
import http2 from 'node:http2'
import net from 'node:net'
import { once } from 'node:events'
import { setTimeout as wait } from 'node:timers/promises'
import { H2CClient, fetch, request } from 'undici'

const frame = (type, flags, stream, ...payload) => {
  const length = payload.length
  return Buffer.from([length >> 16, length >> 8, length, type, flags, 0, 0, 0, stream, ...payload])
}
const DATA = 0, HEADERS = 1, RST_STREAM = 3, SETTINGS = 4, END_HEADERS = 4, ACK = 1
const endings = { INTERNAL_ERROR: 2, CANCEL: 8, NO_ERROR: 0, close: null }
let name, length

// Sends a 200 and three bytes of its body, and resets the stream or closes the connection.
const server = net.createServer(async socket => {
  socket.on('error', () => {})
  socket.write(frame(SETTINGS, 0, 0))
  let received = Buffer.alloc(0)
  socket.on('data', async data => {
    received = Buffer.concat([received, data])
    let at = 24 // the connection preface
    while (at + 9 <= received.length) {
      const end = at + 9 + received.readUIntBE(at, 3)
      if (received[at + 3] === HEADERS && end <= received.length && !socket.answered) {
        socket.answered = true
        socket.write(frame(SETTINGS, ACK, 0))
        const status = [0x88], contentLength = length ? [0x0f, 0x0d, 0x01, 0x39] : []
        socket.write(frame(HEADERS, END_HEADERS, 1, ...status, ...contentLength))
        socket.write(frame(DATA, 0, 1, ...Buffer.from('abc')))
        await wait(200)
        if (name === 'close') socket.end()
        else socket.write(frame(RST_STREAM, 0, 1, 0, 0, 0, endings[name]))
      }
      at = end
    }
  })
})
server.listen(0, '127.0.0.1')
await once(server, 'listening')
const origin = `http://127.0.0.1:${server.address().port}`
const clients = {
  http2: () => new Promise((resolve, reject) => {
    const stream = http2.connect(origin).on('error', () => {}).request({ ':path': '/' })
    let body = ''
    stream.on('data', data => body += data)
    stream.on('error', reject).on('aborted', () => reject(Error('aborted'))).on('end', () => resolve(body)).end()
  }),
  request: async () => (await request(origin, { dispatcher: new H2CClient(origin) })).body.text(),
  fetch: async () => (await fetch(origin, { dispatcher: new H2CClient(origin) })).text(),
}
for (length of [false, true]) {
  for (name of Object.keys(endings)) {
    const seen = []
    for (const [client, read] of Object.entries(clients)) {
      const result = await Promise.race([read(), wait(5000, 'nothing')]).catch(() => 'error')
      seen.push(`${client}: ${result}`)
    }
    console.log(`${name}${length ? ', with a length' : ''}: ${seen.join(', ')}`)
  }
}
process.exit()
JS
expected="INTERNAL_ERROR: http2: error, request: error, fetch: error
CANCEL: http2: abc, request: abc, fetch: abc
NO_ERROR: http2: abc, request: abc, fetch: abc
close: http2: abc, request: error, fetch: error
INTERNAL_ERROR, with a length: http2: error, request: error, fetch: error
CANCEL, with a length: http2: abc, request: error, fetch: error
NO_ERROR, with a length: http2: abc, request: error, fetch: error
close, with a length: http2: abc, request: error, fetch: error"
seen=$(node_modules/.bin/node try.mjs)
echo "tool:      Node 26.10.0, undici 8.13.1"
echo "expected:  a response that is broken off before its end is an error"
echo "actual:    one that is reset with CANCEL or NO_ERROR, or whose connection is closed, may look complete"
echo "seen:      ${seen//$'\n'/$'\n'           }"
[ "$seen" = "$expected" ] && echo "stands" || { echo "changed"; exit 1; }

#!/usr/bin/env bash
# Expected: String.UTF8.decode replaces bytes that aren't UTF-8 with U+FFFD, as TextDecoder does, or throws.
# Actual:   It doesn't validate. C1 A1, an overlong form, becomes "a". A byte above BF uses the next one to three bytes
#           as its continuation, whatever they are: E9 2F 61, Latin-1 for "é/a", becomes one character, without the
#           slash. At the end of the buffer, an incomplete sequence is dropped.
# Impact:   Clients choose the bytes of header values and URIs. A guest that compares decoded text sees "/admin" where
#           the next handler gets other bytes, or doesn't see a slash that exists. Validate first: bytes are UTF-8 if
#           encoding the decoded text gives the same bytes.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
cd "$work"
npm install --silent --no-audit --no-fund --save-exact assemblyscript@0.28.20
cat > guest.ts <<'TS'
export const memoryOfInput = new Uint8Array(64);
export function at(): usize { return memoryOfInput.dataStart; }
export function isText(len: i32, which: i32): bool {
  const text = String.UTF8.decode(memoryOfInput.buffer.slice(0, len));
  return which == 0 ? text == "/admin" : text.includes("/");
}
export function units(len: i32): i32 { return String.UTF8.decode(memoryOfInput.buffer.slice(0, len)).length; }
TS
npx --no-install asc guest.ts -O --use abort= -o guest.wasm
cat > try.js <<'JS'
WebAssembly.instantiate(require('node:fs').readFileSync('guest.wasm')).then(({ instance: { exports: x } }) => {
  const put = bytes => { new Uint8Array(x.memory.buffer).set(bytes, x.at()); return bytes.length }
  const slash = x.isText(put([...Buffer.from('/'), 0xc1, 0xa1, ...Buffer.from('dmin')]), 0)
  const latin1 = [0xe9, 0x2f, 0x61, 0x62]
  const hasSlash = x.isText(put(latin1), 1), units = x.units(put(latin1)), end = x.units(put([0x61, 0xe9]))
  console.log('seen:      2F C1 A1 64 6D 69 6E == "/admin":', !!slash)
  console.log('           E9 2F 61 62 includes("/"):', !!hasSlash, 'and has', units, 'characters')
  console.log('           61 E9 has', end, 'character')
  console.log('           TextDecoder:', new TextDecoder().decode(new Uint8Array([0xc1, 0xa1])).length, 'characters U+FFFD for C1 A1,',
    new TextDecoder().decode(new Uint8Array(latin1)).includes('/') ? 'with' : 'without', 'a slash for E9 2F 61 62')
  process.exit(slash && !hasSlash && units === 2 && end === 1 ? 0 : 1)
})
JS
echo "tool:      AssemblyScript 0.28.20, run by Node $(node --version)"
echo 'expected:  what is not UTF-8 becomes U+FFFD'
echo 'actual:    it becomes other text'
node try.js && echo "stands" || { echo "changed"; exit 1; }

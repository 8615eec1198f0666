#!/usr/bin/env bash
# Expected: An empty string is false in AssemblyScript, as in TypeScript: if (token) and if (!token) are opposites.
# Actual:   For an empty string, both branches are taken. A condition checks whether the reference is null, and an empty
#           string isn't null; but String overloads the operator "!", which checks the length. So if (s) is true, if
#           (!s) is true, if (!!s) is false, and s || "default" keeps the empty string.
# Impact:   An absent header is usually passed as "". In code that reads like TypeScript, if (token) then takes the
#           branch for a request with a token, whatever if (!token) does one line later. Compare lengths in guests.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
cd "$work"
npm install --silent --no-audit --no-fund --save-exact assemblyscript@0.28.20
cat > guest.ts <<'TS'
function header(length: i32): string { return "abc".substring(0, length); }
export function plain(n: i32): bool { const s = header(n); if (s) return true; return false; }
export function not(n: i32): bool { const s = header(n); if (!s) return true; return false; }
export function notNot(n: i32): bool { const s = header(n); if (!!s) return true; return false; }
export function ternary(n: i32): bool { const s = header(n); return s ? true : false; }
export function orDefault(n: i32): i32 { const s = header(n) || "default"; return s.length; }
TS
npx --no-install asc guest.ts -O --use abort= -o guest.wasm
cat > try.js <<'JS'
WebAssembly.instantiate(require('node:fs').readFileSync('guest.wasm')).then(({ instance: { exports: x } }) => {
  const names = { plain: 'if (s)', not: 'if (!s)', notNot: 'if (!!s)', ternary: 's ? true : false', orDefault: '(s || "default").length' }
  const seen = {}
  for (const [name, text] of Object.entries(names)) {
    seen[name] = [x[name](0), x[name](3)]
    console.log(`seen:      ${text.padEnd(24)} for "": ${seen[name][0]}, for "abc": ${seen[name][1]}`)
  }
  const expected = { plain: [1, 1], not: [1, 0], notNot: [0, 1], ternary: [1, 1], orDefault: [0, 3] }
  process.exit(JSON.stringify(seen) === JSON.stringify(expected) ? 0 : 1)
})
JS
echo "tool:      AssemblyScript 0.28.20, run by Node $(node --version)"
echo 'expected:  "" is false'
echo 'actual:    "" is true, and not "" is true as well'
node try.js && echo "stands" || { echo "changed"; exit 1; }

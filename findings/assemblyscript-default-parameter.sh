#!/usr/bin/env bash
# Expected: A default value for a parameter of an exported function is used if the caller omits the argument. A host
#           that calls the export passes all arguments, as WebAssembly requires, so defaults are never used.
# Actual:   The export is a wrapper that reads the number of arguments from a global, which is 0 until the export
#           __setArgumentsLength is called. A host's arguments are therefore replaced by defaults. If there are fewer
#           defaults than parameters, a count of 0 is out of range, and the wrapper traps with "unreachable". Only
#           AssemblyScript's own JavaScript glue sets the count.
# Impact:   "export function handle_response(ctx: u32, isError: u32 = 0)" has the right type and loads in every host,
#           but then traps on each call, or doesn't see an error. Such a guest can be recognised by its export
#           __setArgumentsLength.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
cd "$work"
npm install --silent --no-audit --no-fund --save-exact assemblyscript@0.28.20
cat > guest.ts <<'TS'
export function plain(ctx: i32, isError: i32): i32 { return ctx * 10 + isError; }
export function lastHasDefault(ctx: i32, isError: i32 = 0): i32 { return ctx * 10 + isError; }
export function allHaveDefaults(ctx: i32 = 9, isError: i32 = 0): i32 { return ctx * 10 + isError; }
TS
npx --no-install asc guest.ts -O --use abort= -o guest.wasm
cat > try.js <<'JS'
WebAssembly.instantiate(require('node:fs').readFileSync('guest.wasm')).then(({ instance: { exports: x } }) => {
  const call = f => { try { return String(f(4, 1)) } catch (error) { return `traps: ${error.message}` } }
  const seen = ['plain', 'lastHasDefault', 'allHaveDefaults'].map(name => [name, call(x[name])])
  x.__setArgumentsLength(2)
  seen.push(['lastHasDefault after __setArgumentsLength(2)', call(x.lastHasDefault)])
  for (const [name, answer] of seen) console.log(`seen:      ${name}, called with 4 and 1: ${answer}`)
  process.exit(seen.map(s => s[1]).join() === '41,traps: unreachable,90,41' ? 0 : 1)
})
JS
echo "tool:      AssemblyScript 0.28.20, run by Node $(node --version)"
echo "expected:  arguments that are passed are used"
echo "actual:    they are replaced by the defaults, or the call traps"
node try.js && echo "stands" || { echo "changed"; exit 1; }

// The conformance guest for the AssemblyScript binding. See ../README.md for scripts, operations and reports.
//
// The binding passes strings and buffers, so the memory of scripts is an array.
import * as http from "../../examples/assemblyscript/http_handler";
import { Feature, Kind, Level } from "../../examples/assemblyscript/http_handler";

const SCRIPT_AT: u32 = 0x11000;
const SCRIPT_SIZE: i32 = 32768;

// What the binding can pass. It has its own buffers and pointers, and strings are UTF-8.
const CAPABILITIES: u64 = 8;

const MEMORY = new Uint8Array(0x300000);
const arg = new StaticArray<u32>(8);
const registers = new StaticArray<u64>(16);
const late = new Map<u32, Uint8Array>();
let pc: u32 = 0;
let last: u64 = 0;
let report: u8[] = [];
let proceeds: u32 = 1;
let ctx: u32 = 0;
let requests: u32 = 0x1000;
let running = false;
let dirty = false;

function need(holds: bool): void { if (!holds) unreachable(); }

function pack(high: u32, low: u32): u64 { return u64(high) << 32 | u64(low); }

/** The memory at the address in the operand with this number. Its length is in the next one. */
function slice(i: i32): Uint8Array {
  need(u64(arg[i]) + arg[i + 1] <= u64(MEMORY.length));
  return MEMORY.subarray(arg[i], arg[i] + arg[i + 1]);
}

function bytes(i: i32): ArrayBuffer { return MEMORY.buffer.slice(arg[i], arg[i] + arg[i + 1]); }

function text(i: i32): string { return String.UTF8.decode(bytes(i)); }

/** The binding's names for the numbers in scripts; other numbers are passed as they are. */
function kindOf(number: u32): Kind {
  switch (number) {
    case 0: return Kind.Request;
    case 1: return Kind.Response;
    case 2: return Kind.RequestTrailers;
    case 3: return Kind.ResponseTrailers;
    default: return <Kind>number;
  }
}

function level(): Level {
  switch (<i32>arg[0]) {
    case -1: return Level.Debug;
    case 0: return Level.Info;
    case 1: return Level.Warn;
    case 2: return Level.Error;
    default: return <Level>arg[0];
  }
}

function featureSet(bits: u32): u32 {
  let set = bits & ~7;
  if (bits & 1) set |= Feature.BufferRequest;
  if (bits & 2) set |= Feature.BufferResponse;
  if (bits & 4) set |= Feature.Trailers;
  return set;
}

function byte(): u32 { return MEMORY[pc++]; }

function number(): u32 {
  const low = byte() | byte() << 8;
  return low | byte() << 16 | byte() << 24;
}

function operands(count: i32): void {
  for (let i = 0; i < count; i++) {
    switch (byte()) {
      case 0: arg[i] = number(); break;
      case 1: arg[i] = byte(); break;
      case 2: {
        const low = byte(), len = low | byte() << 8;
        arg[i++] = pc;
        arg[i] = len;
        pc += len;
        break;
      }
      case 3: arg[i] = u32(last); break;
      case 4: arg[i] = u32(last >> 32); break;
      case 5: arg[i] = u32(registers[byte()]); break;
      default: unreachable();
    }
  }
}

/** The number of operands of an operation; a string is two. */
function count(op: u32): i32 {
  if (op == 1 || op == 4 || op == 19 || op == 73 || op == 74 || op == 77 || op == 78 || op == 80) return 1;
  if (op == 2 || (op >= 5 && op <= 10) || op == 65 || op == 69 || op == 71 || op == 81) return 2;
  if (op == 3 || op == 11 || (op >= 15 && op <= 17) || op == 67 || op == 68) return 3;
  if (op == 70) return 4;
  return op >= 12 && op <= 14 ? 5 : 0;
}

/** Does with a value what the ABI does: it is written if it fits, and its length is the result. */
function give(value: ArrayBuffer, buf: i32): void {
  last = value.byteLength;
  if (last <= arg[buf + 1]) slice(buf).set(Uint8Array.wrap(value));
}

function giveText(value: string, buf: i32): void { give(String.UTF8.encode(value), buf); }

function giveList(values: ArrayBuffer[], buf: i32): void {
  let len = 0, at = 0;
  for (let i = 0; i < values.length; i++) len += values[i].byteLength + 1;
  const all = new Uint8Array(len);
  for (let i = 0; i < values.length; i++) {
    all.set(Uint8Array.wrap(values[i]), at);
    at += values[i].byteLength + 1;
  }
  give(all.buffer, buf);
  last |= u64(values.length) << 32;
}

/** The names as strings. */
function names(kind: Kind): ArrayBuffer[] {
  return http.headerNames(kind).map<ArrayBuffer>(name => String.UTF8.encode(name));
}

/** The values, as the binding's strings if they are UTF-8, otherwise as its bytes. */
function values(kind: Kind, name: string): ArrayBuffer[] {
  const texts = http.headers(kind, name);
  for (let i = 0; i < texts.length; i++) if (texts[i].includes("\ufffd")) return http.headerBytes(kind, name);
  return texts.map<ArrayBuffer>(value => String.UTF8.encode(value));
}

/** Whether these bytes are UTF-8. */
function isText(value: ArrayBuffer): bool {
  const again = String.UTF8.encode(String.UTF8.decode(value)), len = value.byteLength;
  return again.byteLength == len && memory.compare(changetype<usize>(again), changetype<usize>(value), len) == 0;
}

function hashed(hash: u32, bytes: Uint8Array, len: i32): u32 {
  for (let i = 0; i < len; i++) hash = (hash ^ bytes[i]) * 0x01000193;
  return hash;
}

/** Reads a body to its end, with a copy to another one if `to` is 0 or 1. */
function readAll(kind: Kind, buf: Uint8Array, to: u32): u64 {
  let hash: u32 = 0x811c9dc5, total = 0;
  if (to > 1 && buf.length >= 4096) {
    const all = http.body(kind, MEMORY.length);
    if (all === null) unreachable();
    return pack(hashed(hash, all!, all!.length), all!.length);
  }
  for (let reads = 0; reads < 200000; reads++) {
    const read = http.readBody(kind, buf);
    if (read.length > buf.length) return pack(0xbad00000, 1);
    if (read.length < buf.length && !read.end) return pack(0xbad00000, 2);
    hash = hashed(hash, buf, read.length);
    total += read.length;
    if (to < 2) http.writeBody(kindOf(to), buf.subarray(0, read.length));
    if (read.end) return pack(hash, total);
  }
  return pack(0xbad00000, 4);
}

function deliver(where: u32): void {
  const hex = new Uint8Array(report.length * 2), digits = "0123456789abcdef";
  for (let i = 0; i < report.length; i++) {
    hex[2 * i] = u8(digits.charCodeAt(report[i] >> 4));
    hex[2 * i + 1] = u8(digits.charCodeAt(report[i] & 15));
  }
  const encoded = String.UTF8.decode(hex.buffer);
  http.setHeader(where == 0 ? Kind.Request : Kind.Response, where == 2 ? "x-tck-report-r" : "x-tck-report", encoded);
}

function append(value: u64, len: i32): void {
  for (let i = 0; i < len; i++) report.push(u8(value >> (8 * i)));
}

let one: u32 = 1;
function deeper(depth: u32): u32 { return one != 0 ? deeper(depth + one) + one : depth; }

function run(script: Uint8Array): void {
  need(script.length <= SCRIPT_SIZE);
  MEMORY.set(script, SCRIPT_AT);
  pc = SCRIPT_AT;
  const end = pc + script.length;
  while (pc < end) {
    const op = byte();
    operands(count(op));
    const kind = kindOf(arg[0]);
    switch (op) {
      case 1: last = http.enableFeatures(featureSet(arg[0])); break;
      case 2: give(http.config(), 0); break;
      case 3: http.log(level(), text(1)); break;
      case 4: last = http.logEnabled(level()) ? 1 : 0; break;
      case 5: giveText(http.method(), 0); break;
      case 6: http.setMethod(text(0)); break;
      case 7: giveText(http.uri(), 0); break;
      case 8: http.setUri(text(0)); break;
      case 9: giveText(http.protocolVersion(), 0); break;
      case 10: giveText(http.sourceAddr(), 0); break;
      case 11: giveList(names(kind), 1); break;
      case 12: giveList(values(kind, text(1)), 3); break;
      case 13:
        if (isText(bytes(3))) http.setHeader(kind, text(1), text(3));
        else http.setHeaderBytes(kind, text(1), bytes(3));
        break;
      case 14:
        if (isText(bytes(3))) http.addHeader(kind, text(1), text(3));
        else http.addHeaderBytes(kind, text(1), bytes(3));
        break;
      case 15: http.removeHeader(kind, text(1)); break;
      case 16: {
        const read = http.readBody(kind, slice(1));
        last = pack(read.end ? 1 : 0, read.length);
        break;
      }
      case 17:
        if (arg[2] < 256 && isText(bytes(1))) http.writeText(kind, text(1));
        else http.writeBody(kind, slice(1));
        break;
      case 18: last = http.statusCode(); break;
      case 19: http.setStatusCode(arg[0]); break;

      case 64: append(0x56, 1); append(last, 8); break;
      case 65: {
        append(0x4d, 1);
        append(arg[1], 4);
        const held = slice(0);
        for (let i = 0; i < held.length; i++) report.push(held[i]);
        break;
      }
      case 66: {
        const low = number();
        need(last == pack(number(), low));
        break;
      }
      case 67: for (let i: u32 = 0; i < arg[2]; i++) need(MEMORY[arg[0] + i] == MEMORY[arg[1] + i]); break;
      case 68: for (let i: u32 = 0; i < arg[2]; i++) MEMORY[arg[0] + i] = u8(arg[1]); break;
      case 69: for (let i: u32 = 0; i < arg[1]; i++) MEMORY[arg[0] + i] = u8(i * 167 + (i >> 8)); break;
      case 70: last = readAll(kind, slice(1), arg[3]); break;
      case 71: proceeds = arg[0]; ctx = arg[1]; break;
      case 72: unreachable(); break;
      case 73: deliver(arg[0]); break;
      case 74: registers[arg[0]] = last; break;
      case 75: last = dirty ? 1 : 0; break;
      case 76: while (one != 0) {} break;
      case 77: last = u32(last) + arg[0]; break;
      case 78: last = last == registers[arg[0]] ? 1 : 0; break;
      case 80: last = load<u32>(MEMORY.dataStart + arg[0]); break;
      case 81: store<u32>(MEMORY.dataStart + arg[0], arg[1]); break;
      case 82: last = deeper(0); break;
      case 83: last = -u32(last); break;
      case 84: last = CAPABILITIES; break;
      default: unreachable();
    }
  }
}

function digit(code: i32): i32 { return code >= 0x61 ? code - 0x57 : code - 0x30; }

/** Decodes the script in a request header. */
function receive(name: string): Uint8Array {
  const value = http.header(Kind.Request, name);
  if (value === null) return new Uint8Array(0);
  const script = new Uint8Array(value.length / 2);
  for (let i = 0; i < script.length; i++) {
    script[i] = u8(digit(value.charCodeAt(2 * i)) << 4 | digit(value.charCodeAt(2 * i + 1)));
  }
  return script;
}

function enter(): void {
  // A script that didn't end has trapped.
  if (running) dirty = true;
  running = true;
  report = [];
  last = 0;
}

export function handle_request(): u64 {
  enter();
  requests++;
  proceeds = 1;
  ctx = requests;
  const after = receive("x-tck-script-r");
  run(receive("x-tck-script"));
  running = false;
  if (proceeds == 0) return http.stop();
  need(proceeds == 1);
  late.set(ctx, after);
  return http.next(ctx);
}

export function handle_response(req_ctx: u32, is_error: u32): void {
  enter();
  const script = late.get(req_ctx);
  late.delete(req_ctx);
  if (is_error == 0) run(script);
  running = false;
}

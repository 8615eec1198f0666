// The http-wasm HTTP handler ABI for AssemblyScript: https://http-wasm.io/http-handler-abi/
//
// A single file without dependencies, for any host. The guest itself exports two functions:
//
//   export function handle_request(): u64 { return next(0); }
//   export function handle_response(req_ctx: u32, is_error: u32): void {}
//
// Build it with `--use abort=`, or the module imports `env.abort`, which hosts don't have, and with the default
// runtime, `incremental`: with the others, memory is never freed.
//
// Strings are UTF-8: if bytes from the host aren't, each of them except ASCII becomes U+FFFD. For header values, there
// are functions that take and return bytes unchanged.

/** Kinds of headers. The first two are also kinds of bodies. */
export const enum Kind { Request = 0, Response = 1, RequestTrailers = 2, ResponseTrailers = 3 }
/** Features, to be combined with |. */
export const enum Feature { BufferRequest = 1, BufferResponse = 2, Trailers = 4 }
export const enum Level { Debug = -1, Info = 0, Warn = 1, Error = 2 }

@external("http_handler", "enable_features") declare function abi_enable_features(features: u32): u32;
@external("http_handler", "get_config") declare function abi_get_config(buf: usize, limit: u32): u32;
@external("http_handler", "log") declare function abi_log(level: i32, message: usize, len: u32): void;
@external("http_handler", "log_enabled") declare function abi_log_enabled(level: i32): u32;
@external("http_handler", "get_method") declare function abi_get_method(buf: usize, limit: u32): u32;
@external("http_handler", "set_method") declare function abi_set_method(method: usize, len: u32): void;
@external("http_handler", "get_uri") declare function abi_get_uri(buf: usize, limit: u32): u32;
@external("http_handler", "set_uri") declare function abi_set_uri(uri: usize, len: u32): void;
@external("http_handler", "get_protocol_version")
declare function abi_get_protocol_version(buf: usize, limit: u32): u32;
@external("http_handler", "get_source_addr") declare function abi_get_source_addr(buf: usize, limit: u32): u32;
@external("http_handler", "get_header_names")
declare function abi_get_header_names(kind: u32, buf: usize, limit: u32): u64;
@external("http_handler", "get_header_values")
declare function abi_get_header_values(kind: u32, name: usize, nameLen: u32, buf: usize, limit: u32): u64;
@external("http_handler", "set_header_value")
declare function abi_set_header_value(kind: u32, name: usize, nameLen: u32, value: usize, len: u32): void;
@external("http_handler", "add_header_value")
declare function abi_add_header_value(kind: u32, name: usize, nameLen: u32, value: usize, len: u32): void;
@external("http_handler", "remove_header")
declare function abi_remove_header(kind: u32, name: usize, nameLen: u32): void;
@external("http_handler", "read_body") declare function abi_read_body(kind: u32, buf: usize, limit: u32): u64;
@external("http_handler", "write_body") declare function abi_write_body(kind: u32, body: usize, len: u32): void;
@external("http_handler", "get_status_code") declare function abi_get_status_code(): u32;
@external("http_handler", "set_status_code") declare function abi_set_status_code(status: u32): void;

/** Passes the request to the next handler; handle_response gets `reqCtx`. */
export function next(reqCtx: u32): u64 { return u64(reqCtx) << 32 | 1; }

/** Answers the request with the response that the guest has set. */
export function stop(): u64 { return 0; }

/** Enables features, and returns those that the host supports. */
export function enableFeatures(features: u32): u32 { return abi_enable_features(features); }

/** The guest's configuration. */
export function config(): ArrayBuffer { return value((buf, limit) => abi_get_config(buf, limit)); }

export function log(level: Level, message: string): void {
  const bytes = String.UTF8.encode(message);
  abi_log(level, changetype<usize>(bytes), bytes.byteLength);
}

export function logEnabled(level: Level): bool { return abi_log_enabled(level) != 0; }

export function method(): string { return text(value((buf, limit) => abi_get_method(buf, limit))); }

export function setMethod(method: string): void {
  const bytes = String.UTF8.encode(method);
  abi_set_method(changetype<usize>(bytes), bytes.byteLength);
}

/** Path and query, percent-encoded. */
export function uri(): string { return text(value((buf, limit) => abi_get_uri(buf, limit))); }

export function setUri(uri: string): void {
  const bytes = String.UTF8.encode(uri);
  abi_set_uri(changetype<usize>(bytes), bytes.byteLength);
}

export function protocolVersion(): string { return text(value((buf, limit) => abi_get_protocol_version(buf, limit))); }

/** The client's IP:PORT, or empty. */
export function sourceAddr(): string { return text(value((buf, limit) => abi_get_source_addr(buf, limit))); }

/** The names of all headers, in lower case. */
export function headerNames(kind: Kind): string[] {
  let buf = new ArrayBuffer(1024);
  let len = u32(abi_get_header_names(kind, changetype<usize>(buf), buf.byteLength));
  if (len > u32(buf.byteLength)) {
    buf = new ArrayBuffer(len);
    len = u32(abi_get_header_names(kind, changetype<usize>(buf), len));
  }
  const all = list(buf, len), names = new Array<string>(all.length);
  for (let i = 0; i < all.length; i++) names[i] = text(all[i]);
  return names;
}

/** The values of all headers with this name. */
export function headers(kind: Kind, name: string): string[] {
  const all = headerBytes(kind, name), texts = new Array<string>(all.length);
  for (let i = 0; i < all.length; i++) texts[i] = text(all[i]);
  return texts;
}

/** The same as bytes. */
export function headerBytes(kind: Kind, name: string): ArrayBuffer[] {
  const bytes = String.UTF8.encode(name);
  const at = changetype<usize>(bytes), nameLen = bytes.byteLength;
  let buf = new ArrayBuffer(1024);
  let len = u32(abi_get_header_values(kind, at, nameLen, changetype<usize>(buf), buf.byteLength));
  if (len > u32(buf.byteLength)) {
    buf = new ArrayBuffer(len);
    len = u32(abi_get_header_values(kind, at, nameLen, changetype<usize>(buf), len));
  }
  return list(buf, len);
}

/** The only value of a header; null if there is none, or more than one. */
export function header(kind: Kind, name: string): string | null {
  const all = headers(kind, name);
  return all.length == 1 ? all[0] : null;
}

export function setHeader(kind: Kind, name: string, value: string): void {
  setHeaderBytes(kind, name, String.UTF8.encode(value));
}

export function setHeaderBytes(kind: Kind, name: string, value: ArrayBuffer): void {
  const bytes = String.UTF8.encode(name);
  abi_set_header_value(kind, changetype<usize>(bytes), bytes.byteLength, changetype<usize>(value), value.byteLength);
}

export function addHeader(kind: Kind, name: string, value: string): void {
  addHeaderBytes(kind, name, String.UTF8.encode(value));
}

export function addHeaderBytes(kind: Kind, name: string, value: ArrayBuffer): void {
  const bytes = String.UTF8.encode(name);
  abi_add_header_value(kind, changetype<usize>(bytes), bytes.byteLength, changetype<usize>(value), value.byteLength);
}

export function removeHeader(kind: Kind, name: string): void {
  const bytes = String.UTF8.encode(name);
  abi_remove_header(kind, changetype<usize>(bytes), bytes.byteLength);
}

/** How many bytes were read, and whether the body has ended. */
export class Read {
  constructor(public length: i32, public end: bool) {}
}

/** Fills `buf`, which must not be empty, from where the last call stopped; returns fewer bytes only at the end. */
export function readBody(kind: Kind, buf: Uint8Array): Read {
  const read = abi_read_body(kind, buf.dataStart, buf.length);
  return new Read(i32(u32(read)), read >> 32 != 0);
}

/** The entire body; null if it is longer than `limit`. */
export function body(kind: Kind, limit: i32): Uint8Array | null {
  let all = new Uint8Array(16384), len = 0;
  while (true) {
    if (len == all.length) {
      const more = new Uint8Array(all.length * 2);
      more.set(all);
      all = more;
    }
    const read = readBody(kind, all.subarray(len));
    len += read.length;
    if (len > limit) return null;
    if (read.end) return all.subarray(0, len);
  }
}

/** The first call replaces the body, later ones append to it. */
export function writeBody(kind: Kind, body: Uint8Array): void { abi_write_body(kind, body.dataStart, body.length); }

/** The same with a string. */
export function writeText(kind: Kind, body: string): void {
  const bytes = String.UTF8.encode(body);
  abi_write_body(kind, changetype<usize>(bytes), bytes.byteLength);
}

export function statusCode(): u32 { return abi_get_status_code(); }

export function setStatusCode(status: u32): void { abi_set_status_code(status); }

/** `String.UTF8.decode` doesn't validate: it makes "a" of C1 A1, and swallows the slash of E9 2F. */
function text(bytes: ArrayBuffer): string {
  const decoded = String.UTF8.decode(bytes), again = String.UTF8.encode(decoded);
  const len = bytes.byteLength;
  if (again.byteLength == len && memory.compare(changetype<usize>(again), changetype<usize>(bytes), len) == 0) {
    return decoded;
  }
  let replaced = "";
  for (let at = 0; at < len; at++) {
    const byte = load<u8>(changetype<usize>(bytes) + at);
    replaced += String.fromCharCode(byte < 0x80 ? byte : 0xfffd);
  }
  return replaced;
}

/** Calls `get` again with a larger buffer if the value didn't fit. */
function value(get: (buf: usize, limit: u32) => u32): ArrayBuffer {
  let buf = new ArrayBuffer(512);
  let len = get(changetype<usize>(buf), buf.byteLength);
  if (len > u32(buf.byteLength)) {
    buf = new ArrayBuffer(len);
    len = get(changetype<usize>(buf), len);
  }
  return buf.slice(0, len);
}

/** Splits values that are each followed by a NUL. */
function list(buf: ArrayBuffer, len: u32): ArrayBuffer[] {
  const bytes = Uint8Array.wrap(buf), all: ArrayBuffer[] = [];
  let start = 0;
  for (let at = 0; at < i32(len); at++) {
    if (bytes[at] != 0) continue;
    all.push(buf.slice(start, at));
    start = at + 1;
  }
  return all;
}

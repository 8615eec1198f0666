// Accepts requests with the right bearer token, passes the user's name to the next handler, and redacts a field in JSON
// responses. The configuration is one line: the token, the user, and the name of the field.
import * as http from "./http_handler";
import { Feature, Kind, Level } from "./http_handler";

const MAX_BODY: i32 = 1 << 20;

/** The words of the configuration. Traps if there aren't three, rather than let everything pass. */
function words(): string[] {
  const all = String.UTF8.decode(http.config()).split(" ");
  if (all.length != 3 || all.includes("")) unreachable();
  return all;
}

/** Compares in constant time, so that timing doesn't reveal how much of a token is right. */
function equal(a: string, b: string): bool {
  if (a.length != b.length) return false;
  let differs = 0;
  for (let i = 0; i < a.length; i++) differs |= a.charCodeAt(i) ^ b.charCodeAt(i);
  return differs == 0;
}

export function handle_request(): u64 {
  const config = words(), authorization = http.header(Kind.Request, "authorization");
  if (authorization === null || !equal(authorization, "Bearer " + config[0])) {
    http.log(Level.Warn, "denied");
    http.setStatusCode(401);
    http.setHeader(Kind.Response, "www-authenticate", "Bearer");
    http.writeText(Kind.Response, "unauthorized\n");
    return http.stop();
  }
  http.removeHeader(Kind.Request, "authorization");
  http.setHeader(Kind.Request, "x-user", config[1]);
  // Required for changing the response.
  http.enableFeatures(Feature.BufferResponse);
  return http.next(0);
}

function skipSpace(text: Uint8Array, at: i32): i32 {
  while (at < text.length && (text[at] == 0x20 || text[at] == 0x09 || text[at] == 0x0d || text[at] == 0x0a)) at++;
  return at;
}

/** The end of the string that begins with its quote at `at`. */
function stringEnd(text: Uint8Array, at: i32): i32 {
  for (at++; at < text.length; at++) {
    if (text[at] == 0x22) return at + 1;
    if (text[at] == 0x5c) at++;
  }
  return text.length;
}

function is(text: Uint8Array, start: i32, end: i32, word: Uint8Array): bool {
  if (end - start != word.length) return false;
  for (let i = 0; i < word.length; i++) if (text[start + i] != word[i]) return false;
  return true;
}

export function handle_response(req_ctx: u32, is_error: u32): void {
  const contentType = http.header(Kind.Response, "content-type");
  if (is_error || contentType === null || !contentType.startsWith("application/json")) return;
  const field = Uint8Array.wrap(String.UTF8.encode(words()[2]));
  const body = http.body(Kind.Response, MAX_BODY);
  if (body === null) {
    unreachable();
    return;
  }
  let written = 0;
  for (let at = 0; at < body.length;) {
    if (body[at] != 0x22) {
      at++;
      continue;
    }
    let end = stringEnd(body, at);
    const colon = skipSpace(body, end), start = skipSpace(body, colon + 1);
    if (start < body.length && body[colon] == 0x3a && body[start] == 0x22 && is(body, at + 1, end - 1, field)) {
      http.writeBody(Kind.Response, body.subarray(written, start + 1));
      http.writeText(Kind.Response, "***");
      end = stringEnd(body, start);
      written = end - 1;
    }
    at = end;
  }
  if (written > 0) http.writeBody(Kind.Response, body.subarray(written));
}

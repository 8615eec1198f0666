//! Accepts requests with the right bearer token, passes the user's name to the next handler, and redacts a field in
//! JSON responses. The configuration is one line: the token, the user, and the name of the field.

const std = @import("std");
const http = @import("http_handler.zig");

var config_buffer: [1024]u8 = undefined;
var value_buffer: [4096]u8 = undefined;
var body_buffer: [1 << 20]u8 = undefined;

const Config = struct { token: []const u8, user: []const u8, field: []const u8 };

/// Traps if something is missing, rather than let everything pass.
fn config() Config {
    var words = std.mem.tokenizeScalar(u8, http.config(&config_buffer).?, ' ');
    return .{ .token = words.next().?, .user = words.next().?, .field = words.next().? };
}

fn isAuthorized(token: []const u8) bool {
    const value = http.header(.request, "authorization", &value_buffer) orelse return false;
    const prefix = "Bearer ";
    if (value.len != prefix.len + token.len or !std.mem.startsWith(u8, value, prefix)) return false;
    // Compares in constant time, so that timing doesn't reveal how much of a token is right.
    var differs: u8 = 0;
    for (value[prefix.len..], token) |a, b| differs |= a ^ b;
    return differs == 0;
}

export fn handle_request() u64 {
    const settings = config();
    if (!isAuthorized(settings.token)) {
        http.log(.warn, "denied");
        http.setStatusCode(401);
        http.setHeader(.response, "www-authenticate", "Bearer");
        http.writeBody(.response, "unauthorized\n");
        return http.stop();
    }
    http.removeHeader(.request, "authorization");
    http.setHeader(.request, "x-user", settings.user);
    // Required for changing the response.
    _ = http.enableFeatures(http.buffer_response);
    return http.next(0);
}

fn skipSpace(text: []const u8, start: usize) usize {
    var at = start;
    while (at < text.len and std.ascii.isWhitespace(text[at])) at += 1;
    return at;
}

/// The end of the string that begins with its quote at `start`.
fn stringEnd(text: []const u8, start: usize) usize {
    var at = start + 1;
    while (at < text.len) : (at += 1) {
        if (text[at] == '"') return at + 1;
        if (text[at] == '\\') at += 1;
    }
    return text.len;
}

export fn handle_response(_: u32, is_error: u32) void {
    const content_type = http.header(.response, "content-type", &value_buffer) orelse return;
    if (is_error != 0 or !std.mem.startsWith(u8, content_type, "application/json")) return;
    const field = config().field;
    // Traps if the body is too long.
    const body = http.wholeBody(.response, &body_buffer).?;
    var written: usize = 0;
    var at: usize = 0;
    while (std.mem.indexOfScalarPos(u8, body, at, '"')) |quote| {
        at = stringEnd(body, quote);
        const colon = skipSpace(body, at);
        const start = skipSpace(body, colon + 1);
        if (start >= body.len or body[colon] != ':' or body[start] != '"') continue;
        if (!std.mem.eql(u8, body[quote + 1 .. at - 1], field)) continue;
        http.writeBody(.response, body[written .. start + 1]);
        http.writeBody(.response, "***");
        at = stringEnd(body, start);
        written = at - 1;
    }
    if (written > 0) http.writeBody(.response, body[written..]);
}

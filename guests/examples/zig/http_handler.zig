//! The http-wasm HTTP handler ABI for Zig: https://http-wasm.io/http-handler-abi/
//!
//! A single file that depends only on the standard library, for any host. The guest itself exports two functions:
//!
//!     export fn handle_request() u64 { return http.next(0); }
//!     export fn handle_response(req_ctx: u32, is_error: u32) void {}
//!
//! A function that fills a buffer returns null if the value doesn't fit.

/// The functions of the ABI.
pub const abi = struct {
    pub extern "http_handler" fn enable_features(features: u32) u32;
    pub extern "http_handler" fn get_config(buf: [*]u8, buf_limit: u32) u32;
    pub extern "http_handler" fn log(level: i32, message: [*]const u8, message_len: u32) void;
    pub extern "http_handler" fn log_enabled(level: i32) u32;
    pub extern "http_handler" fn get_method(buf: [*]u8, buf_limit: u32) u32;
    pub extern "http_handler" fn set_method(method: [*]const u8, method_len: u32) void;
    pub extern "http_handler" fn get_uri(buf: [*]u8, buf_limit: u32) u32;
    pub extern "http_handler" fn set_uri(uri: [*]const u8, uri_len: u32) void;
    pub extern "http_handler" fn get_protocol_version(buf: [*]u8, buf_limit: u32) u32;
    pub extern "http_handler" fn get_source_addr(buf: [*]u8, buf_limit: u32) u32;
    pub extern "http_handler" fn get_header_names(kind: u32, buf: [*]u8, buf_limit: u32) u64;
    pub extern "http_handler" fn get_header_values(kind: u32, name: [*]const u8, name_len: u32, buf: [*]u8, buf_limit: u32) u64;
    pub extern "http_handler" fn set_header_value(kind: u32, name: [*]const u8, name_len: u32, value: [*]const u8, value_len: u32) void;
    pub extern "http_handler" fn add_header_value(kind: u32, name: [*]const u8, name_len: u32, value: [*]const u8, value_len: u32) void;
    pub extern "http_handler" fn remove_header(kind: u32, name: [*]const u8, name_len: u32) void;
    pub extern "http_handler" fn read_body(kind: u32, buf: [*]u8, buf_limit: u32) u64;
    pub extern "http_handler" fn write_body(kind: u32, body: [*]const u8, body_len: u32) void;
    pub extern "http_handler" fn get_status_code() u32;
    pub extern "http_handler" fn set_status_code(status: u32) void;
};

/// Kinds of headers. The first two are also kinds of bodies.
pub const Kind = enum(u32) { request = 0, response = 1, request_trailers = 2, response_trailers = 3 };
pub const Level = enum(i32) { debug = -1, info = 0, warn = 1, err = 2 };
pub const buffer_request: u32 = 1;
pub const buffer_response: u32 = 2;
pub const trailers: u32 = 4;

/// Passes the request to the next handler; handle_response gets `req_ctx`.
pub fn next(req_ctx: u32) u64 {
    return @as(u64, req_ctx) << 32 | 1;
}

/// Answers the request with the response that the guest has set.
pub fn stop() u64 {
    return 0;
}

/// Enables features, to be combined with |, and returns those that the host supports.
pub fn enableFeatures(features: u32) u32 {
    return abi.enable_features(features);
}

/// The guest's configuration.
pub fn config(buf: []u8) ?[]u8 {
    return fitting(buf, abi.get_config(buf.ptr, @intCast(buf.len)));
}

pub fn log(level: Level, message: []const u8) void {
    abi.log(@intFromEnum(level), message.ptr, @intCast(message.len));
}

pub fn logEnabled(level: Level) bool {
    return abi.log_enabled(@intFromEnum(level)) != 0;
}

pub fn method(buf: []u8) ?[]u8 {
    return fitting(buf, abi.get_method(buf.ptr, @intCast(buf.len)));
}

pub fn setMethod(value: []const u8) void {
    abi.set_method(value.ptr, @intCast(value.len));
}

/// Path and query, percent-encoded.
pub fn uri(buf: []u8) ?[]u8 {
    return fitting(buf, abi.get_uri(buf.ptr, @intCast(buf.len)));
}

pub fn setUri(value: []const u8) void {
    abi.set_uri(value.ptr, @intCast(value.len));
}

pub fn protocolVersion(buf: []u8) ?[]u8 {
    return fitting(buf, abi.get_protocol_version(buf.ptr, @intCast(buf.len)));
}

/// The client's IP:PORT, or empty.
pub fn sourceAddr(buf: []u8) ?[]u8 {
    return fitting(buf, abi.get_source_addr(buf.ptr, @intCast(buf.len)));
}

/// Several values, each followed by a NUL: `std.mem.splitScalar(u8, values.bytes, 0)` ends with an empty one.
pub const Values = struct { count: u32, bytes: []u8 };

pub fn headerNames(kind: Kind, buf: []u8) ?Values {
    return values(buf, abi.get_header_names(@intFromEnum(kind), buf.ptr, @intCast(buf.len)));
}

pub fn headers(kind: Kind, name: []const u8, buf: []u8) ?Values {
    return values(buf, abi.get_header_values(@intFromEnum(kind), name.ptr, @intCast(name.len), buf.ptr, @intCast(buf.len)));
}

/// The only value of a header; null if there is none, or more than one, or if it doesn't fit.
pub fn header(kind: Kind, name: []const u8, buf: []u8) ?[]u8 {
    const all = headers(kind, name, buf) orelse return null;
    return if (all.count == 1) all.bytes[0 .. all.bytes.len - 1] else null;
}

pub fn setHeader(kind: Kind, name: []const u8, value: []const u8) void {
    abi.set_header_value(@intFromEnum(kind), name.ptr, @intCast(name.len), value.ptr, @intCast(value.len));
}

pub fn addHeader(kind: Kind, name: []const u8, value: []const u8) void {
    abi.add_header_value(@intFromEnum(kind), name.ptr, @intCast(name.len), value.ptr, @intCast(value.len));
}

pub fn removeHeader(kind: Kind, name: []const u8) void {
    abi.remove_header(@intFromEnum(kind), name.ptr, @intCast(name.len));
}

pub const Read = struct { bytes: []u8, eof: bool };

/// Continues where the last call stopped. Fills `buf`, which must not be empty, completely except at the end.
pub fn readBody(kind: Kind, buf: []u8) Read {
    const eof_len = abi.read_body(@intFromEnum(kind), buf.ptr, @intCast(buf.len));
    return .{ .bytes = buf[0..@as(u32, @truncate(eof_len))], .eof = eof_len >> 32 != 0 };
}

/// The entire body; null if it doesn't fit with one byte to spare.
pub fn wholeBody(kind: Kind, buf: []u8) ?[]u8 {
    var len: usize = 0;
    while (len < buf.len) {
        const read = readBody(kind, buf[len..]);
        len += read.bytes.len;
        if (read.eof) return buf[0..len];
    }
    return null;
}

/// The first call replaces the body, later ones append to it.
pub fn writeBody(kind: Kind, body: []const u8) void {
    abi.write_body(@intFromEnum(kind), body.ptr, @intCast(body.len));
}

pub fn statusCode() u32 {
    return abi.get_status_code();
}

pub fn setStatusCode(status: u32) void {
    abi.set_status_code(status);
}

fn fitting(buf: []u8, len: u32) ?[]u8 {
    return if (len <= buf.len) buf[0..len] else null;
}

fn values(buf: []u8, count_len: u64) ?Values {
    const bytes = fitting(buf, @truncate(count_len)) orelse return null;
    return .{ .count = @truncate(count_len >> 32), .bytes = bytes };
}

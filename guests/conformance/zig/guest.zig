//! The conformance guest for the Zig binding. See ../README.md for scripts, operations and reports.
//!
//! The binding takes slices, so the memory of scripts is an array.

const std = @import("std");
const http = @import("http_handler");

const script_at = 0x11000;
const script_size = 32768;

/// What the binding can pass. Kinds and levels are enums, and a value that doesn't fit has no length.
const capabilities = 4;

var memory: [0x300000]u8 = undefined;
var pc: u32 = 0;
var arg: [8]u32 = undefined;
var last: u64 = 0;
var registers: [16]u64 = undefined;
var report: [131072]u8 = undefined;
var reported: usize = 0;
var hex: [262144]u8 = undefined;

var proceeds: u32 = 1;
var ctx: u32 = 0;
var requests: u32 = 0x1000;
var running = false;
var dirty = false;

const Late = struct { used: bool = false, ctx: u32 = 0, len: usize = 0, bytes: [8192]u8 = undefined };
var late: [16]Late = @splat(.{});

fn require(holds: bool) void {
    if (!holds) @panic("the script requires otherwise");
}

fn pack(high: u32, low: u32) u64 {
    return @as(u64, high) << 32 | low;
}

/// The memory at the address in the operand with this number. Its length is in the next one.
fn slice(i: usize) []u8 {
    return memory[arg[i]..][0..arg[i + 1]];
}

/// The binding's names for the numbers in scripts.
fn kind(n: u32) http.Kind {
    return ([_]http.Kind{ .request, .response, .request_trailers, .response_trailers })[n];
}

fn level() http.Level {
    return ([_]http.Level{ .debug, .info, .warn, .err })[arg[0] +% 1];
}

fn featureSet(bits: u32) u32 {
    var set: u32 = bits & ~@as(u32, 7);
    if (bits & 1 != 0) set |= http.buffer_request;
    if (bits & 2 != 0) set |= http.buffer_response;
    if (bits & 4 != 0) set |= http.trailers;
    return set;
}

fn number(T: type) T {
    const bytes = memory[pc..][0..@sizeOf(T)];
    pc += @sizeOf(T);
    return std.mem.readInt(T, bytes, .little);
}

fn operands(n: usize) void {
    var i: usize = 0;
    while (i < n) : (i += 1) {
        switch (number(u8)) {
            0 => arg[i] = number(u32),
            1 => arg[i] = number(u8),
            2 => {
                arg[i + 1] = number(u16);
                arg[i] = pc;
                i += 1;
                pc += arg[i];
            },
            3 => arg[i] = @truncate(last),
            4 => arg[i] = @truncate(last >> 32),
            5 => arg[i] = @truncate(registers[number(u8)]),
            else => @panic("an unknown operand"),
        }
    }
}

/// The number of operands of an operation; a string is two.
fn count(op: u8) usize {
    return switch (op) {
        1, 4, 19, 73, 74, 77, 78, 80 => 1,
        2, 5...10, 65, 69, 71, 81 => 2,
        3, 11, 15...17, 67, 68 => 3,
        70 => 4,
        12...14 => 5,
        else => 0,
    };
}

/// The length of a value that fits. For one that doesn't, the binding returns none.
fn length(value: ?[]u8) u64 {
    return if (value) |bytes| bytes.len else std.math.maxInt(u32);
}

fn list(values: ?http.Values) u64 {
    const all = values orelse return std.math.maxInt(u32);
    return pack(all.count, @intCast(all.bytes.len));
}

fn put(bytes: []const u8) void {
    @memcpy(report[reported..][0..bytes.len], bytes);
    reported += bytes.len;
}

fn hashed(hash: u32, bytes: []const u8) u32 {
    var value = hash;
    for (bytes) |byte| value = (value ^ byte) *% 0x01000193;
    return value;
}

/// Reads a body to its end, with a copy to another one if `to` is 0 or 1.
fn readAll(from: http.Kind, buf: []u8, to: u32) u64 {
    var hash: u32 = 0x811c9dc5;
    var total: usize = 0;
    if (to > 1 and buf.len >= 4096) {
        // Scripts don't use this half of the memory.
        const all = http.wholeBody(from, memory[0x180000..]).?;
        return pack(hashed(hash, all), @intCast(all.len));
    }
    for (0..200000) |_| {
        const read = http.readBody(from, buf);
        if (read.bytes.len > buf.len) return pack(0xbad00000, 1);
        if (read.bytes.len < buf.len and !read.eof) return pack(0xbad00000, 2);
        hash = hashed(hash, read.bytes);
        total += read.bytes.len;
        if (to < 2) http.writeBody(kind(to), read.bytes);
        if (read.eof) return pack(hash, @intCast(total));
    }
    return pack(0xbad00000, 4);
}

fn deliver(where: u32) void {
    for (report[0..reported], 0..) |byte, i| {
        hex[2 * i] = "0123456789abcdef"[byte >> 4];
        hex[2 * i + 1] = "0123456789abcdef"[byte & 15];
    }
    const encoded = hex[0 .. reported * 2];
    switch (where) {
        0 => http.setHeader(.request, "x-tck-report", encoded),
        1 => http.setHeader(.response, "x-tck-report", encoded),
        else => http.setHeader(.response, "x-tck-report-r", encoded),
    }
}

var one: u32 = 1;

fn deeper(depth: u32) u32 {
    const more: *volatile u32 = &one;
    return if (more.* != 0) deeper(depth +% more.*) +% more.* else depth;
}

fn run(end: u32) void {
    while (pc < end) {
        const op = number(u8);
        operands(count(op));
        switch (op) {
            1 => last = http.enableFeatures(featureSet(arg[0])),
            2 => last = length(http.config(slice(0))),
            3 => http.log(level(), slice(1)),
            4 => last = @intFromBool(http.logEnabled(level())),
            5 => last = length(http.method(slice(0))),
            6 => http.setMethod(slice(0)),
            7 => last = length(http.uri(slice(0))),
            8 => http.setUri(slice(0)),
            9 => last = length(http.protocolVersion(slice(0))),
            10 => last = length(http.sourceAddr(slice(0))),
            11 => last = list(http.headerNames(kind(arg[0]), slice(1))),
            12 => last = list(http.headers(kind(arg[0]), slice(1), slice(3))),
            13 => http.setHeader(kind(arg[0]), slice(1), slice(3)),
            14 => http.addHeader(kind(arg[0]), slice(1), slice(3)),
            15 => http.removeHeader(kind(arg[0]), slice(1)),
            16 => {
                const read = http.readBody(kind(arg[0]), slice(1));
                last = pack(@intFromBool(read.eof), @intCast(read.bytes.len));
            },
            17 => http.writeBody(kind(arg[0]), slice(1)),
            18 => last = http.statusCode(),
            19 => http.setStatusCode(arg[0]),

            64 => {
                put("V");
                put(std.mem.asBytes(&last));
            },
            65 => {
                put("M");
                put(std.mem.asBytes(&arg[1]));
                put(slice(0));
            },
            66 => require(last == number(u64)),
            67 => require(std.mem.eql(u8, memory[arg[0]..][0..arg[2]], slice(1))),
            68 => @memset(memory[arg[0]..][0..arg[2]], @truncate(arg[1])),
            69 => for (slice(0), 0..) |*byte, i| {
                byte.* = @truncate(i *% 167 +% (i >> 8));
            },
            70 => last = readAll(kind(arg[0]), slice(1), arg[3]),
            71 => {
                proceeds = arg[0];
                ctx = arg[1];
            },
            72 => @panic("the script traps"),
            73 => deliver(arg[0]),
            74 => registers[arg[0]] = last,
            75 => last = @intFromBool(dirty),
            76 => while (@as(*volatile u32, &one).* != 0) {},
            77 => last = @as(u32, @truncate(last)) +% arg[0],
            78 => last = @intFromBool(last == registers[arg[0]]),
            80 => last = std.mem.readInt(u32, memory[arg[0]..][0..4], .little),
            81 => std.mem.writeInt(u32, memory[arg[0]..][0..4], arg[1], .little),
            82 => last = deeper(0),
            83 => last = 0 -% @as(u32, @truncate(last)),
            84 => last = capabilities,
            else => @panic("an unknown operation"),
        }
    }
}

/// Decodes the script in a request header.
fn receive(name: []const u8, to: []u8) usize {
    const value = http.header(.request, name, &hex) orelse return 0;
    return (std.fmt.hexToBytes(to, value) catch @panic("not a script")).len;
}

fn enter() void {
    // A script that didn't end has trapped.
    dirty = dirty or running;
    running = true;
    reported = 0;
    last = 0;
    pc = script_at;
}

export fn handle_request() u64 {
    enter();
    requests += 1;
    proceeds = 1;
    ctx = requests;
    // If all slots are used, a request was abandoned.
    var slot = &late[requests % late.len];
    for (&late) |*free| {
        if (!free.used) slot = free;
    }
    slot.len = receive("x-tck-script-r", &slot.bytes);
    run(@intCast(script_at + receive("x-tck-script", memory[script_at..][0..script_size])));
    running = false;
    slot.used = proceeds != 0;
    slot.ctx = ctx;
    require(proceeds < 2);
    return if (proceeds == 0) http.stop() else http.next(ctx);
}

export fn handle_response(req_ctx: u32, is_error: u32) void {
    enter();
    for (&late) |*slot| {
        if (!slot.used or slot.ctx != req_ctx) continue;
        slot.used = false;
        @memcpy(memory[script_at..][0..slot.len], slot.bytes[0..slot.len]);
        if (is_error == 0) run(@intCast(script_at + slot.len));
        running = false;
        return;
    }
    @panic("an unknown req_ctx");
}
